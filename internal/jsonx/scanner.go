package jsonx

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const whitespace = " \t\r\n"

// A scanner walks through a text that is known to be valid JSON, and so need not
// expect any other byte than those that the grammar allows.
type scanner struct {
	text string
	pos  int
}

// next skips white space and returns the byte behind it.
func (s *scanner) next() byte {
	for strings.IndexByte(whitespace, s.text[s.pos]) >= 0 {
		s.pos++
	}
	return s.text[s.pos]
}

// object passes over an object, checks it and puts its members into o unless
// that is nil. depth is its own, 1 for the outermost.
func (s *scanner) object(o Object, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++ // {
	if s.next() == '}' {
		s.pos++
		return nil
	}
	seen := make(map[string]struct{})
	for {
		s.next()
		key, err := unquote(s.string())
		if err != nil {
			return err
		}
		folded := fold(key)
		if _, twice := seen[folded]; twice {
			return errDuplicate
		}
		seen[folded] = struct{}{}

		s.next()
		s.pos++ // :
		raw, err := s.value(depth)
		if err != nil {
			return err
		}
		if o != nil {
			o[key] = raw
		}

		end := s.next() == '}'
		s.pos++ // } or ,
		if end {
			return nil
		}
	}
}

// array passes over an array, checks it and calls each, unless that is nil, with its elements.
func (s *scanner) array(depth int, each func(raw string) error) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++ // [
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for {
		raw, err := s.value(depth)
		if err != nil {
			return err
		}
		if each != nil {
			if err := each(raw); err != nil {
				return err
			}
		}

		end := s.next() == ']'
		s.pos++ // ] or ,
		if end {
			return nil
		}
	}
}

// value passes over a value inside an object or array of the given depth,
// checks it and returns its text.
func (s *scanner) value(depth int) (raw string, err error) {
	first := s.next()
	start := s.pos
	switch first {
	case '{':
		err = s.object(nil, depth+1)
	case '[':
		err = s.array(depth+1, nil)
	case '"':
		_, err = unquote(s.string())
	default: // a number, true, false or null
		for s.pos < len(s.text) && strings.IndexByte(",]}"+whitespace, s.text[s.pos]) < 0 {
			s.pos++
		}
	}
	return s.text[start:s.pos], err
}

// string passes over a string and returns it with its quotes.
func (s *scanner) string() (quoted string) {
	start := s.pos
	for s.pos++; s.text[s.pos] != '"'; s.pos++ {
		if s.text[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.text[start:s.pos]
}

// unquote decodes a string of valid JSON. Unlike encoding/json, which puts
// U+FFFD there and so makes one of several, it refuses half of a surrogate pair.
func unquote(quoted string) (string, error) {
	s := quoted[1 : len(quoted)-1]
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for ; i >= 0; i = strings.IndexByte(s, '\\') {
		b = append(b, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := unhex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
					return "", errText
				}
				if r = utf16.DecodeRune(r, unhex4(s[2:])); r == utf8.RuneError {
					return "", errText
				}
				s = s[6:]
			}
			b = utf8.AppendRune(b, r)
			continue
		}
		b = append(b, c) // what the letter stands for, or ", \ or / itself
	}
	return string(append(b, s...)), nil
}

// unhex4 returns the value of the four hexadecimal digits that s begins with.
func unhex4(s string) rune {
	n, _ := strconv.ParseUint(s[:4], 16, 16)
	return rune(n)
}
