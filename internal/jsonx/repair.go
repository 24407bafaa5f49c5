package jsonx

import (
	"bytes"
	"unicode/utf16"
)

// Repair returns data with the broken text in its strings replaced, in a copy: a
// control character by a space, bytes that are not UTF-8 and half of a surrogate
// pair by U+FFFD. People paste all of these into names. A key is left as it is,
// so that [ParseObject] refuses a broken one; a value that decides anything must
// be checked for U+FFFD and blanks.
func Repair(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for len(data) > 0 {
		start := bytes.IndexByte(data, '"')
		if start < 0 {
			return append(out, data...)
		}
		end := start + stringLen(data[start:])
		out = append(out, data[:start]...)
		if rest := bytes.TrimLeft(data[end:], whitespace); len(rest) > 0 && rest[0] == ':' {
			out = append(out, data[start:end]...)
		} else {
			out = appendRepaired(out, data[start:end])
		}
		data = data[end:]
	}
	return out
}

// stringLen returns the length of the string that data begins with, quotes included.
func stringLen(data []byte) int {
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func appendRepaired(out, text []byte) []byte {
	text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < ' ':
			out = append(out, ' ')
		case c != '\\' || i+1 == len(text):
			out = append(out, c)
		case !utf16.IsSurrogate(escaped(text[i:])):
			out = append(out, c, text[i+1])
			i++
		case utf16.DecodeRune(escaped(text[i:]), escaped(text[i+6:])) != '\uFFFD':
			out = append(out, text[i:i+12]...)
			i += 11
		default:
			out = append(out, `\ufffd`...)
			i += 5
		}
	}
	return out
}
