package vectors_test

import (
	"strings"
	"testing"

	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/internal/whatwg"
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
		if !whatwg.SameOrigin(base, v) {
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
		if !whatwg.SameOrigin(base, link) {
			t.Errorf("%q leaves the origin", link)
		}
	}
}
