package upstream

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const redacted = "[REDACTED]"

// Hidden lists values that must not show in a text: secrets, tokens, codes.
type Hidden []string

// Clean returns text fit for a log line: the hidden values, as they are or
// escaped as in a URL, in JSON or in a quoted string, replaced by [REDACTED], what does not
// print by a space, and the whole cut to about max bytes.
//
// Values shorter than four bytes are left alone: they are no secrets, and
// replacing them would only spoil the text.
func (h Hidden) Clean(text string, max int) string {
	var forms []string
	for _, v := range h {
		if len(v) < 4 {
			continue
		}
		quoted := strconv.Quote(v)
		encoded, _ := json.Marshal(v) // as in the body that we sent
		forms = append(forms, v, quoted[1:len(quoted)-1], string(encoded[1:len(encoded)-1]))
		for _, escaped := range []string{url.QueryEscape(v), url.PathEscape(v)} {
			forms = append(forms, escaped, lowerEscapes(escaped))
		}
	}
	// A value may hold another one: the longest goes first.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, redacted)
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, " "))
	if len(text) > max {
		for max > 0 && !utf8.RuneStart(text[max]) {
			max--
		}
		text = text[:max] + "…"
	}
	return text
}

// lowerEscapes turns %2F into %2f, which some programs prefer.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}
