package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/jsonx"
)

// An Answer is a platform's answer, read.
type Answer struct {
	jsonx.Object
	// Text is the body, broken text in it repaired.
	Text []byte
	// Code is the errcode, 0 if there is none.
	Code int
	// Judged says that there is an errcode. WeCom's answers always have one,
	// Weixin's only if something went wrong.
	Judged bool
	// Hint is the errmsg of a Code other than 0, fit for a log: without what is
	// in Hidden, without e-mail addresses and mobile numbers, 300 bytes at most.
	Hint string
}

// ReadAnswer reads the body that [Do] returned. Its errors never quote the body.
func ReadAnswer(body []byte, hide Hidden) (Answer, error) {
	body = jsonx.Repair(body) // a member whose name is broken must not be lost
	object, err := jsonx.ParseObject(body)
	if err != nil {
		return Answer{}, err
	}
	code, judged, err := object.Int("errcode")
	if err == nil && code != int64(int32(code)) { // as an int of 32 bits it could be 0
		err = errors.New("the errcode is out of range")
	}
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Object: object, Text: body, Code: int(code), Judged: judged}
	if code != 0 {
		hint, _, _ := object.String("errmsg")
		// What is hidden goes first and whole: a part of it may look like a number.
		hint = hide.Clean(hint, math.MaxInt)
		a.Hint = Hidden{}.Clean(personal.ReplaceAllStringFunc(hint, hidePersonal), 300)
	}
	return a, nil
}

var (
	// personal matches e-mail addresses and what may be a mobile number.
	personal = regexp.MustCompile(`[^\s"'<>()\[\],;:=]+@[^\s"'<>()\[\],;:=]+|[0-9]+`)
	mobile   = regexp.MustCompile(`^(86)?1[3-9][0-9]{9}$`)
)

// hidePersonal hides addresses and mobile numbers, which no errmsg needs to bring
// into a log. Longer runs of digits are the platform's own: they name the request.
func hidePersonal(match string) string {
	if strings.Contains(match, "@") || mobile.MatchString(match) {
		return redacted
	}
	return match
}

// Unreadable returns an error for an answer that is none of the platform's: the
// request reached somebody, and what became of it is not known. err must not quote the answer.
func Unreadable(err error) *Error { return newError(nil, true, foreign{err}) }

// Confidential returns the values of a request that must not show anywhere.
func Confidential(query url.Values, body []byte) []string {
	var values []string
	for name, value := range query {
		if isConfidential(name) {
			values = append(values, value...)
		}
	}
	var v any
	if json.Unmarshal(body, &v) == nil {
		values = appendConfidential(values, false, v)
	}
	return values
}

// appendConfidential appends the strings in v that stand under a confidential name, or all if v itself does.
func appendConfidential(values []string, all bool, v any) []string {
	switch v := v.(type) {
	case string:
		if all {
			values = append(values, v)
		}
	case []any:
		for _, element := range v {
			values = appendConfidential(values, all, element)
		}
	case map[string]any:
		for name, field := range v {
			values = appendConfidential(values, all || isConfidential(name), field)
		}
	}
	return values
}

func isConfidential(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"code", "ticket", "secret", "token", "mobile", "mail"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}

// BusyTries is how often a call is made while the platform is busy. WeCom asks
// to repeat at most so often.
const BusyTries = 3

// Pause waits before a repeat, longer each time, and reports whether ctx lasted.
func Pause(ctx context.Context, tries int) bool {
	return Sleep(ctx, time.Duration(tries)*200*time.Millisecond)
}

// Sleep waits for d, and reports whether ctx lasted.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	maxToken = 4096 // bytes; the platforms speak of 512

	minTokenLife = time.Minute
	maxTokenLife = 2 * time.Hour
)

// ReadToken returns the token of an answer, in the field of that name, and its life. A
// life that makes no sense is the shortest: if that is too long, the platform refuses
// the token and it is replaced.
func ReadToken(answer jsonx.Object, name string) (value string, life time.Duration, err error) {
	value, _, err = answer.String(name)
	if err != nil || !IsToken(value) {
		return "", 0, errors.New("there is no " + name)
	}
	seconds, _, _ := answer.Int("expires_in")
	shortest, longest := int64(minTokenLife/time.Second), int64(maxTokenLife/time.Second)
	return value, time.Duration(min(max(seconds, shortest), longest)) * time.Second, nil
}

// IsToken says whether s can be a token: printable ASCII without blanks, of a sensible length.
func IsToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= maxToken
}
