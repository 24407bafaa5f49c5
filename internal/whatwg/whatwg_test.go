package whatwg_test

import (
	"testing"

	"github.com/wecomauth/wecom/internal/whatwg"
)

func TestResolve(t *testing.T) {
	base, _ := whatwg.Parse("https://app.example.com/wecom/callback?code=1")
	tests := []struct {
		ref, origin, path string // origin "" for a failure
	}{
		{"", "https://app.example.com", "/wecom/callback"},
		{"?x", "https://app.example.com", "/wecom/callback"},
		{"x", "https://app.example.com", "/wecom/x"},
		{"../x", "https://app.example.com", "/x"},
		{"/x/./y/%2e%2E/z?a/../b", "https://app.example.com", "/x/z"},
		{"/x/..", "https://app.example.com", "/"},
		{"/x/.", "https://app.example.com", "/x/"},
		{"/.//evil.example", "https://app.example.com", "//evil.example"},
		{`/..\/evil.example`, "https://app.example.com", "//evil.example"},
		{"/%2f/evil.example", "https://app.example.com", "/%2f/evil.example"},
		{"//evil.example", "https://evil.example", "/"},
		{`\\evil.example`, "https://evil.example", "/"},
		{`/\evil.example/x`, "https://evil.example", "/x"},
		{"/\t/evil.example", "https://evil.example", "/"},
		{"\x00 /\n\\evil.example", "https://evil.example", "/"},
		{"///evil.example", "https://evil.example", "/"},
		{"//a@b:c@EVIL.example:443", "https://evil.example", "/"},
		{"//evil.example:8443", "https://evil.example:8443", "/"},
		{"//evil%2eexample", "https://evil.example", "/"},
		{"//[0:0::1]:1", "https://[::1]:1", "/"},
		{"//app.example.com", "https://app.example.com", "/"},
		{"//app.example.com@evil.example", "https://evil.example", "/"},
		{`//app.example.com\@evil.example`, "https://app.example.com", "/@evil.example"},
		{"https:evil.example", "https://app.example.com", "/wecom/evil.example"},
		{"https:/evil.example", "https://app.example.com", "/evil.example"},
		{`https:\\evil.example`, "https://evil.example", "/"},
		{"http:evil.example", "http://evil.example", "/"},
		{"http:///evil.example", "http://evil.example", "/"},
		{"java\tscript:alert(1)", "javascript://", ""},
		{"data:,x", "data://", ""},
		{"//", "", ""},
		{"//a@", "", ""},
		{"//a b", "", ""},
		{"//evil.example:99999", "", ""},
		{"//evil.example:+1", "", ""},
		{"//[::1", "", ""},
		{"//[127.0.0.1]", "", ""},
		{"//%zz", "", ""},
	}
	for _, test := range tests {
		u, ok := base.Resolve(test.ref)
		if !ok {
			if test.origin != "" {
				t.Errorf("%q: failure, want %s", test.ref, test.origin)
			}
			continue
		}
		if u.Origin() != test.origin || u.Path() != test.path {
			t.Errorf("%q: %s %s, want %s %s", test.ref, u.Origin(), u.Path(), test.origin, test.path)
		}
	}
	if _, ok := whatwg.Parse("/x"); ok {
		t.Error("a path has no meaning without a base")
	}
}
