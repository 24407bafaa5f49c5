package jsonx

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const whitespace = " \t\r\n"

// check walks through a text that is valid JSON and refuses what ParseObject
// refuses beyond that.
func check(text string) error {
	if hasHalfPair(text) {
		return errText
	}
	// What is open, outermost first: the folded keys that an object had so far, nil for an array.
	var open []map[string]bool
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // a float64 does not hold them all
	for key := false; ; {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errSyntax
		}
		switch token {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if key {
				seen, folded := open[len(open)-1], fold(token.(string))
				if seen[folded] {
					return errDuplicate
				}
				seen[folded] = true
				key = false
				continue
			}
		}
		if len(open) > maxDepth {
			return errDepth
		}
		key = len(open) > 0 && open[len(open)-1] != nil // after a brace or a value
	}
}

// hasHalfPair reports whether a string of the text escapes half of a surrogate
// pair. For that encoding/json puts U+FFFD, and so makes one of several.
func hasHalfPair(text string) bool {
	for {
		i := strings.IndexByte(text, '\\')
		if i < 0 {
			return false
		}
		text = text[i:]
		n := 2
		if r := escaped(text); utf16.IsSurrogate(r) {
			if utf16.DecodeRune(r, escaped(text[6:])) == utf8.RuneError {
				return true
			}
			n = 12
		}
		text = text[n:]
	}
}

// escaped returns the code unit of the \u escape that text begins with, 0 if it begins with none.
func escaped[T string | []byte](text T) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n)
}
