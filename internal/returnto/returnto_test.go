package returnto_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/wecomauth/wecom/internal/returnto"
	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/internal/whatwg"
)

const base = "https://app.example.com/wecom/callback?code=1&state=2"

// emitted returns the Location that a browser receives when net/http writes target.
func emitted(t *testing.T, target string) string {
	t.Helper()
	var b bytes.Buffer
	if err := (http.Header{"Location": {target}}).Write(&b); err != nil {
		t.Fatal(err)
	}
	value, ok := strings.CutPrefix(b.String(), "Location: ")
	value, ends := strings.CutSuffix(value, "\r\n")
	if !ok || !ends || strings.ContainsAny(value, "\r\n") {
		t.Fatalf("%q is not one header line", b.String())
	}
	return value
}

// checkSafe fails the test unless target, which Parse accepted, leads nowhere
// else: as it is emitted, and as a handler emits it that decodes or cleans the
// path and redirects.
func checkSafe(t *testing.T, target string) {
	t.Helper()
	if got := emitted(t, target); got != target {
		t.Errorf("%q is emitted as %q", target, got)
	}
	from, _ := whatwg.Parse(base)
	u, ok := from.Resolve(target)
	if !ok || u.Origin() != "https://app.example.com" {
		t.Errorf("%q leaves for %q", target, u.Origin())
	}
	if strings.HasPrefix(u.Path(), "//") {
		t.Errorf("%q has the path %q", target, u.Path())
	}

	path, _, _ := strings.Cut(target, "#")
	parsed, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", target, err)
	}
	r := httptest.NewRequest(http.MethodGet, "/wecom/callback", nil)
	for _, rewritten := range []string{target, parsed.Path, parsed.Path + "/", parsed.EscapedPath()} {
		w := httptest.NewRecorder()
		http.Redirect(w, r, rewritten, http.StatusSeeOther)
		if location := w.Header().Get("Location"); !whatwg.SameOrigin(base, location) {
			t.Errorf("%q, rewritten to %q, is emitted as %q by http.Redirect and leaves the origin", target, rewritten, location)
		}
	}
}

func TestT1_HostileTargetsStayInTheOrigin(t *testing.T) {
	accepted := 0
	for _, v := range vectors.Redirects() {
		got, ok := returnto.Parse(v)
		if !ok {
			if got != "" {
				t.Errorf("%q is refused, but %q returned", v, got)
			}
			continue
		}
		accepted++
		if got != v {
			t.Errorf("%q becomes %q", v, got)
		}
		checkSafe(t, got)
	}
	t.Logf("%d of %d are harmless and accepted", accepted, len(vectors.Redirects()))
}

func TestT2_HostileRequestTargetsStayInTheOrigin(t *testing.T) {
	for _, mount := range []string{"", "/app", "/"} {
		for _, v := range vectors.Redirects() {
			if got, ok := returnto.Parse(mount + v); ok {
				checkSafe(t, got)
				if !strings.HasPrefix(got, mount) {
					t.Errorf("%q under %q becomes %q", v, mount, got)
				}
			} else if got != "" {
				t.Errorf("%q is refused, but %q returned", v, got)
			}
		}
	}
}

func TestT4_DeepLinksSurviveByteForByte(t *testing.T) {
	for _, link := range vectors.DeepLinks() {
		if got, ok := returnto.Parse(link); !ok || got != link {
			t.Errorf("Parse(%q) = %q, %v", link, got, ok)
		}
		if got, ok := returnto.Parse("/app" + link); !ok || got != "/app"+link {
			t.Errorf("Parse(/app%s) = %q, %v", link, got, ok)
		}
		checkSafe(t, link)
	}
}

// The rules that others use must fail on the same vectors, or these prove nothing.
func TestB1_VectorsTellRulesApart(t *testing.T) {
	rules := []struct {
		name   string
		accept func(string) bool
	}{
		{"a slash first", func(s string) bool { return strings.HasPrefix(s, "/") }},
		{"one slash first", func(s string) bool { return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") }},
		{"no host", func(s string) bool { u, err := url.Parse(s); return err == nil && u.Host == "" }},
		{"no host, no scheme, one slash first", func(s string) bool {
			u, err := url.Parse(s)
			return err == nil && u.Host == "" && u.Scheme == "" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
		}},
	}
	r := httptest.NewRequest(http.MethodGet, "/wecom/callback", nil)
	for _, rule := range rules {
		raw, redirect := 0, 0
		for _, v := range vectors.Redirects() {
			if !rule.accept(v) {
				continue
			}
			if !whatwg.SameOrigin(base, emitted(t, strings.NewReplacer("\r", "", "\n", "").Replace(v))) {
				raw++
			}
			w := httptest.NewRecorder()
			http.Redirect(w, r, v, http.StatusSeeOther)
			if !whatwg.SameOrigin(base, w.Header().Get("Location")) {
				redirect++
			}
		}
		if raw == 0 || redirect == 0 {
			t.Errorf("rule %q: %d escape raw, %d through http.Redirect: want some of both", rule.name, raw, redirect)
		}
		t.Logf("rule %q: %d escape raw, %d through http.Redirect", rule.name, raw, redirect)
	}
}

func TestParse_Refuses(t *testing.T) {
	for _, target := range []string{
		"", "x", "?x", "#x", "*", " /x", "x/y", ".", "https://app.example.com/x", "javascript:alert(1)",
		"//", "//x", `/\`, `/\x`, `\/x`, "///x",
		"/ x", "/x ", "/\tx", "/x\n", "/x\r\ny", "/x\x00", "/\x7f", "/x?y z", "/x?\t", "/x#\n", "/x\x1f",
		"/\xff", "/x?\xc0\xaf", "/x#\xed\xa0\x80",
		`/a\b`, `/a\`, `/..\x`,
		"/%2fx", "/%2Fx", "/%5cx", "/%5C", "/%2f",
		"/.//x", "/..//x", "/a/..//x", "/a/%2e%2E//x", "/%2e%2fx%2f%2f", "/a%2f..%2f%2fx", "/a/..%5c/x", "/x//y/..", "/x//.", "//..", "/a/../%5Cx", "/a%5Cb/../%5Cx",
		"/%", "/%2", "/%zz", "/a%", "/%%20", "/%2g", "/%g2", "/%:0", "/%0:", "/%@0", "/%`0",
		"/%00", "/%09/x", "/a%0d%0ab", "/a%7f", "/%1F",
	} {
		if got, ok := returnto.Parse(target); ok || got != "" {
			t.Errorf("Parse(%q) = %q, %v", target, got, ok)
		}
	}
}

func TestParse_Allocations(t *testing.T) {
	for target, most := range map[string]float64{
		"/reports/2026?next=//x#y":                                     0,
		"/reports/" + strings.Repeat("%E6%8A%A5/", 50) + "?next=//x#y": 1, // the path, decoded
	} {
		if n := testing.AllocsPerRun(100, func() { returnto.Parse(target) }); n > most {
			t.Errorf("%v allocations for %q", n, target)
		}
	}
}

func FuzzReturnTo(f *testing.F) {
	for i, v := range vectors.Redirects() {
		if i%7 == 0 && len(v) < 100 { // all are tested above, seeds need only show the kinds
			f.Add(v)
		}
	}
	for _, link := range vectors.DeepLinks() {
		f.Add(link)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if got, ok := returnto.Parse(target); ok {
			if got != target {
				t.Errorf("%q becomes %q", target, got)
			}
			checkSafe(t, got)
		}
		for _, mount := range []string{"", "/app"} {
			if got, ok := returnto.Parse(mount + target); ok {
				checkSafe(t, got)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	target := "/reports/2026/%E6%8A%A5%E8%A1%A8?next=https://x.example/y//z&page=3"
	b.ReportAllocs()
	for b.Loop() {
		returnto.Parse(target)
	}
}
