package upstream_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/upstream"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hidden upstream.Hidden
		text   string
		want   string
	}{
		{"nothing to hide", nil, "plain", "plain"},
		{"as it is", upstream.Hidden{"s3cret"}, "x s3cret y s3cret", "x [REDACTED] y [REDACTED]"},
		{"in a query", upstream.Hidden{"a b/c+d"}, "?q=a+b%2Fc%2Bd", "?q=[REDACTED]"},
		{"in a path", upstream.Hidden{"a b/c+d"}, "/a%20b%2Fc+d", "/[REDACTED]"},
		{"in lower-case escapes", upstream.Hidden{"a b/c+d"}, "?q=a+b%2fc%2bd", "?q=[REDACTED]"},
		{"quoted", upstream.Hidden{`ab"cd`}, `"ab\"cd"`, `"[REDACTED]"`},
		{"in JSON", upstream.Hidden{"a&b<c\u2028\\"}, `{"ticket":"a\u0026b\u003cc\u2028\\"}`, `{"ticket":"[REDACTED]"}`},
		{"one within the other", upstream.Hidden{"s3cret", "s3cret-long"}, "s3cret-long", "[REDACTED]"},
		{"empty", upstream.Hidden{""}, "plain", "plain"},
		{"too short to be one", upstream.Hidden{"1"}, "errcode 11", "errcode 11"},
		{"control characters", nil, "a\r\nb\x00c\x1b[0m", "a  b c [0m"},
		{"no UTF-8", nil, "a\xff\xfeb", "a b"},
		{"right to left", nil, "a\u202eb", "a b"},
		{"Chinese", nil, "企业微信", "企业微信"},
	} {
		assert.Equal(t, tt.want, tt.hidden.Clean(tt.text, 100), tt.name)
	}
	for n := range 12 {
		cut := upstream.Hidden{}.Clean(strings.Repeat("企", 10), n)
		assert.True(t, utf8.ValidString(cut))
		assert.LessOrEqual(t, len(cut), n+len("…"))
	}
	assert.Equal(t, "[REDACTED]", upstream.Hidden{strings.Repeat("s", 200)}.Clean(strings.Repeat("s", 200), 100), "hidden before it is cut")
}

func FuzzClean(f *testing.F) {
	f.Add("CANARY+/= x", "?q=CANARY%2B%2F%3D+x", 40)
	f.Add("secret", "\xffsecret\x00", 3)
	f.Fuzz(func(t *testing.T, secret, text string, max int) {
		if max < 0 {
			t.Skip("no text is shorter than nothing")
		}
		got := upstream.Hidden{secret}.Clean(text, max)
		assert.True(t, utf8.ValidString(got))
		assert.LessOrEqual(t, len(got)-len("…"), max)
		if len(secret) >= 4 && !strings.Contains("[REDACTED]…   ", secret) && !strings.ContainsAny(secret, "[]…\ufffd ") {
			assert.NotContains(t, got, secret)
		}
	})
}
