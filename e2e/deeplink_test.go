package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/wecomtest"
)

// Every deep link, opened by somebody who is not signed in, is in the address bar afterwards,
// letter for letter as the browser spells it. The fragment never reaches the
// server: the browser carries it along, except where a sign-in page brings its own.
func TestT4_DeepLinksInABrowser(t *testing.T) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	targets := vectors.DeepLinks()
	if !full {
		targets = []string{
			"/a//b", "/a/%2F/b", `/files/C:%5CUsers%5Cx`, "/it's(fine)!*$,", `/"quoted"`, "/100%25", "/报表/二〇二六年", "/%e6%8a%a5?名=值", "/%B1%A8%B1%ED",
			"/reports?next=https://x.example/y//z", "/reports?next=//x.example/y", "/q?x=a%20b+c&y=", `/q?path=C:\Users\x`, `/q?x={"a":[1,2]}`,
			"/q?a=100%", "/q?text=a%0D%0Ab%00", "/q?x=1#/route//deep?x=y", "/login?return_to=/login?return_to=/",
		}
	}
	for _, target := range targets {
		p.dropCookies()
		p.open("about:blank") // from one fragment to the next there is no request
		// An empty fragment does not live through a redirect, and means nothing.
		want := strings.TrimSuffix(p.asBrowserWrites(site, target), "#")
		assert.EqualValues(t, 200, p.open(site+target), target)
		assert.Equal(t, want, p.href(), target)
	}
	assert.Equal(t, len(targets), fake.Calls("auth/getuserinfo"))
}

// Inside WeCom the address of the sign-in page ends in #wechat_redirect, which
// the browser carries to the page that was asked for, in place of its own fragment.
func TestT4_FragmentInsideWeCom(t *testing.T) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	site := startQuickstart(t, fake)
	p := newPage(t, "")
	p.pretend(wecomtest.UserAgentWeComIOS, "zh-CN")
	require.EqualValues(t, 200, p.open(site+"/q?x=1#/route"))
	assert.Equal(t, site+"/q?x=1#wechat_redirect", p.href())
}

// A person who picks somebody on the web-login page submits a form to it.
func TestT4_FragmentThroughThePicker(t *testing.T) {
	site := startQuickstart(t, wecomtest.New())
	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(site+"/q?x=1#/route"))
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, site+"/q?x=1#/route", p.href())
}

// The Location bytes that end a sign-in are read off the wire and judged by the
// browser's own URL parser.
func TestT1_RedirectsJudgedByABrowser(t *testing.T) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	p.open(site + "/")

	hostile := sampled(vectors.Redirects(), often(400, 1<<30))
	require.GreaterOrEqual(t, len(hostile), 200)
	locations := make([]string, len(hostile))
	for i, v := range hostile {
		locations[i] = landing(t, site, v)
	}
	type verdict struct {
		Left []int `json:"left"`
		Kept int   `json:"kept"`
	}
	got := eval[verdict](p, fmt.Sprintf(`(base => {
		const left = [];
		let kept = 0;
		%s.forEach((location, i) => {
			let origin = "none";
			try { origin = new URL(location, base).origin } catch {}
			if (origin === new URL(base).origin) kept++; else left.push(i);
		});
		return {left, kept};
	})(%s)`, quoted(locations), quoted(site+"/wecom/callback?code=1&state=2")))
	for _, i := range got.Left {
		t.Errorf("return_to %q: Location %q leaves the origin", hostile[i], locations[i])
	}
	assert.Equal(t, len(hostile), got.Kept)
	t.Logf("%d targets, %d leave the origin, %d lead to a page of their own", len(hostile), len(got.Left), len(locations)-count(locations, "/"))

	for _, v := range sampled(hostile, often(25, 200)) {
		p.open(site + "/wecom/login?return_to=" + url.QueryEscape(v))
		assert.Equal(t, site, eval[string](p, `location.origin`), "%q", v)
	}
	for _, target := range vectors.DeepLinks() {
		assert.Equal(t, target, landing(t, site, target), "an ordinary deep link")
	}
}

// landing goes through a sign-in that begins with return_to and returns the Location that ends it.
func landing(t *testing.T, site, returnTo string) string {
	t.Helper()
	get := func(address string, cookies []*http.Cookie) *http.Response {
		r, err := http.NewRequest(http.MethodGet, address, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "text/html")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		res, err := http.DefaultTransport.RoundTrip(r) // a client would parse Location
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res
	}
	start := get(site+"/wecom/login?return_to="+url.QueryEscape(returnTo), nil)
	require.Equal(t, 302, start.StatusCode)
	granted := get(start.Header.Get("Location"), nil)
	require.Equal(t, 302, granted.StatusCode)
	end := get(granted.Header.Get("Location"), start.Cookies())
	require.Equal(t, 303, end.StatusCode)
	require.Len(t, end.Header["Location"], 1)
	return end.Header["Location"][0]
}

// sampled returns at most n of list, evenly spread.
func sampled(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	out := make([]string, n)
	for i := range out {
		out[i] = list[i*len(list)/n]
	}
	return out
}

func count(list []string, s string) (n int) {
	for _, v := range list {
		if strings.TrimSpace(v) == s {
			n++
		}
	}
	return n
}
