// Package jsonx reads the JSON objects that WeCom answers, strictly.
//
// Package encoding/json fills a field named userid also from "UserId" and from
// "u\u017ferid", takes the last of several such keys, reads a missing errcode as 0 and puts
// U+FFFD for what is no text. Where an answer says who somebody is, each of these
// is a way to be somebody else. Here keys match exactly, two keys that differ in
// case alone are an error, absent is told from zero, and a value of the wrong
// type is an error.
package jsonx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays nest. WeCom's deepest answers nest six deep.
const maxDepth = 32

var (
	errSyntax    = errors.New("jsonx: not valid JSON")
	errObject    = errors.New("jsonx: not a JSON object")
	errDepth     = errors.New("jsonx: nested too deep")
	errDuplicate = errors.New("jsonx: an object has two keys that are the same or differ in case alone")
	errText      = errors.New("jsonx: a string holds half of a surrogate pair")
)

// An Object is a JSON object: for each key, decoded and in its own spelling,
// the text of its value, valid JSON. The zero Object is empty. It
// may be read concurrently.
type Object map[string]string

// ParseObject reads data, which must be one JSON object in UTF-8 with nothing
// but white space around it. In no object at any depth may two keys be equal
// under Unicode's simple case folding, and no string may hold half of a surrogate pair. The
// caller bounds the length of data; the work is linear in it. The Object does
// not refer to data. Errors say what is wrong and never quote the input.
func ParseObject(data []byte) (Object, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errSyntax
	}
	text := strings.Trim(string(data), whitespace)
	if text[0] != '{' {
		return nil, errObject
	}
	if err := check(text); err != nil {
		return nil, err
	}
	o, _ := nested(text)
	return o, nil
}

// Raw returns the JSON text of name's value. present is false if there is none
// or it is null.
func (o Object) Raw(name string) (text string, present bool) {
	text, present = o[name]
	if !present || text == "null" {
		return "", false
	}
	return text, true
}

// String returns the value of the first of the names that is present. It is an
// error if that is no string. A null counts as absent.
func (o Object) String(names ...string) (value string, present bool, err error) {
	for _, name := range names {
		if value, present, err = read(o, name, "a string", text); present {
			break
		}
	}
	return value, present, err
}

// Int returns the value of name. It is an error if that is not a number written
// as an integer, without fraction and exponent, that fits into 64 bits. A null
// counts as absent.
func (o Object) Int(name string) (value int64, present bool, err error) {
	return read(o, name, "an integer", integer)
}

// IntOrString returns the value of name, which may be a string or, as old
// answers have it, an integer; the integer in decimal digits. A null counts as absent.
func (o Object) IntOrString(name string) (value string, present bool, err error) {
	return read(o, name, "a string or an integer", func(raw string) (string, bool) {
		if n, ok := integer(raw); ok {
			return strconv.FormatInt(n, 10), true
		}
		return text(raw)
	})
}

// Strings returns the elements of name's value. It is an error if that is not an
// array of strings. A null counts as absent.
func (o Object) Strings(name string) (values []string, present bool, err error) {
	return read(o, name, "an array of strings", array(text))
}

// Ints returns the elements of name's value. It is an error if that is not an
// array of integers as [Object.Int] takes them. A null counts as absent.
func (o Object) Ints(name string) (values []int64, present bool, err error) {
	return read(o, name, "an array of integers", array(integer))
}

// Object returns the value of name. It is an error if that is no object. A null
// counts as absent.
func (o Object) Object(name string) (value Object, present bool, err error) {
	return read(o, name, "an object", nested)
}

// Objects returns the elements of name's value. It is an error if that is not an
// array of objects. A null counts as absent.
func (o Object) Objects(name string) (values []Object, present bool, err error) {
	return read(o, name, "an array of objects", array(nested))
}

// read returns what convert makes of name's value. The error names the field, which is
// the caller's word and not the input's.
func read[T any](o Object, name, want string, convert func(raw string) (T, bool)) (value T, present bool, err error) {
	raw, present := o.Raw(name)
	if !present {
		return value, false, nil
	}
	value, ok := convert(raw)
	if !ok {
		var none T
		return none, true, fmt.Errorf("jsonx: %q is not %s", name, want)
	}
	return value, true, nil
}

func text(raw string) (s string, ok bool) {
	ok = raw[0] == '"' && json.Unmarshal([]byte(raw), &s) == nil
	return s, ok
}

// array converts an array by its elements.
func array[T any](element func(raw string) (T, bool)) func(raw string) ([]T, bool) {
	return func(raw string) ([]T, bool) {
		var raws []json.RawMessage
		if raw[0] != '[' || json.Unmarshal([]byte(raw), &raws) != nil {
			return nil, false
		}
		values := make([]T, len(raws))
		for i, raw := range raws {
			var ok bool
			if values[i], ok = element(string(raw)); !ok {
				return nil, false
			}
		}
		return values, true
	}
}

// nested reads an object from a text that is checked.
func nested(raw string) (Object, bool) {
	if raw[0] != '{' {
		return nil, false
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &members); err != nil {
		return nil, false
	}
	o := make(Object, len(members))
	for key, value := range members {
		o[key] = string(value)
	}
	return o, true
}

// integer reads a JSON value. What ParseInt takes and JSON does not, such as a
// leading plus or zero, cannot occur in valid JSON.
func integer(raw string) (int64, bool) {
	n, err := strconv.ParseInt(raw, 10, 64)
	return n, err == nil
}

// fold returns a string that is equal for two keys exactly if strings.EqualFold
// says that they are. A key of lower-case ASCII is its own.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		if r < utf8.RuneSelf {
			return r
		}
		// The runes that fold together form a ring. Its least member stands for
		// all, in lower case if that is a letter of ASCII.
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		return least
	}, key)
}
