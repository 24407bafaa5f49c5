package vectors_test

import (
	"strings"
	"testing"

	"github.com/wecomauth/wecom/internal/vectors"
)

const base = "https://app.example.com/wecom/callback?code=1"

func TestRedirects(t *testing.T) {
	all := vectors.Redirects()
	if len(all) < 2000 {
		t.Errorf("%d vectors, want at least 2000", len(all))
	}
	seen := make(map[string]bool)
	leave := 0
	for _, v := range all {
		if seen[v] {
			t.Errorf("%q comes twice", v)
		}
		seen[v] = true
		if !vectors.SameOrigin(base, v) {
			leave++
		}
	}
	// A test whose vectors stay at home by themselves proves nothing.
	if leave < 1000 {
		t.Errorf("%d vectors leave the origin by themselves, want at least 1000", leave)
	}
	every := strings.Join(all, "")
	for b := range byte(' ' + 1) {
		if strings.IndexByte(every, b) < 0 {
			t.Errorf("no vector holds %q", b)
		}
	}
	t.Logf("%d vectors, of which %d leave the origin", len(all), leave)
}

func TestDeepLinks(t *testing.T) {
	for _, link := range vectors.DeepLinks() {
		if !vectors.SameOrigin(base, link) {
			t.Errorf("%q leaves the origin", link)
		}
	}
}

func TestResolve(t *testing.T) {
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
		u, ok := vectors.Resolve(base, test.ref)
		if !ok {
			if test.origin != "" {
				t.Errorf("%q: failure, want %s", test.ref, test.origin)
			}
			continue
		}
		if u.Origin() != test.origin || u.Path != test.path {
			t.Errorf("%q: %s %s, want %s %s", test.ref, u.Origin(), u.Path, test.origin, test.path)
		}
	}
	if _, ok := vectors.Resolve("about:blank", "/x"); ok {
		t.Error("a path has no meaning without a base")
	}
}
