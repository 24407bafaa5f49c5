package wecom_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/vectors"
	"github.com/wecomauth/wecom/internal/whatwg"
	"github.com/wecomauth/wecom/wecomtest"
)

// FuzzCallback: whatever stands in the query, a browser that holds an attempt is
// signed in only by that attempt's own state, and leaves for nowhere but WeCom or this site.
func FuzzCallback(f *testing.F) {
	for _, query := range []string{
		"", "code=1&state=STATE", "code=&state=STATE", "state=STATE", "code=1&code=2&state=STATE", "code=1&state=STATE&state=STATE", "code=1;state=STATE", "code[]=1&state=STATE",
		"code=1&state=STATE%23wechat_redirect", "code=1&state=STATE%00", "code=%zz&state=STATE", "error=access_denied&state=STATE", "code=1&state=%ff", "&&&=&=", "code=1&state=STATE#x",
		"code=" + strings.Repeat("1", 513) + "&state=STATE", "code=1&state=STATE&x=" + strings.Repeat("x", 5000), "state=STATE&code=a%26b%3dc", "STATE", "code=.1&state=STATE", "code=1&state=" + strings.Repeat("0", 76),
	} {
		f.Add(query)
	}
	m := fixed(f)
	h := m.Handler(hello())
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, query string) {
		start := do(h, request("GET", "/deep?x=1"))
		state := stateIn(start.Header().Get("Location"))
		query = strings.NewReplacer("STATE", state, "code=1", fmt.Sprintf("code=1x%d", n.Add(1))).Replace(query)
		r := request("GET", "/")
		r.URL = &url.URL{Path: "/wecom/callback", RawQuery: query}
		with(r, start.Result().Cookies())
		res := do(h, r)
		switch res.Code {
		case 303:
			require.Equal(t, "/deep?x=1", res.Header().Get("Location"))
			require.Equal(t, []string{state}, (&url.URL{RawQuery: query}).Query()["state"])
		case 302: // a code that came before: it starts over
			require.True(t, strings.HasPrefix(res.Header().Get("Location"), "https://idp.example/?state="))
		case 400, 403, 429, 503: // 503: the provider named nobody
			require.Empty(t, res.Header().Get("Location"))
			require.NotContains(t, fmt.Sprint(res.Header()["Set-Cookie"]), "Max-Age=43")
		default:
			t.Fatalf("%q: status %d", query, res.Code)
		}
	})
}

// FuzzSessionCookie: no Cookie header but the one that was given is a session, and none is a fault.
func FuzzSessionCookie(f *testing.F) {
	m := fixed(f)
	cookies := signInFixed(f, m, "zhangsan")
	var good *http.Cookie
	for _, c := range cookies {
		if good == nil || len(c.Name) < len(good.Name) {
			good = c
		}
	}
	for _, header := range []string{
		"", "NAME=VALUE", "NAME=VALUE; NAME=x", "x=y; NAME=VALUE", "NAME=", "NAME", "=VALUE", "NAME==VALUE", "NAME=VALUE=", "name=VALUE", " NAME =VALUE", "NAME=VALUE,NAME=VALUE", ";;;;", "NAME=\"VALUE\"",
		"NAME-00000000=x", "NAME-=; NAME-00000000", strings.Repeat("NAME-00000000=x; ", 100), "NAME=VALUE\x00", "NAME=VALUE\r\nX: y", "NAME=" + strings.Repeat("A", 43), "a=b;NAME=VALUE;c=d", "NAME-\xff=\xfe",
	} {
		f.Add(header)
	}
	h := m.Handler(hello())
	replace := strings.NewReplacer("NAME", good.Name, "VALUE", good.Value)
	f.Fuzz(func(t *testing.T, header string) {
		header = replace.Replace(header)
		for _, target := range []string{"/", "/wecom/session", "/wecom/callback?code=1&state=" + strings.Repeat("0", 76), "/wecom/login"} {
			r := request("GET", target)
			r.Header["Cookie"] = []string{header}
			res := do(h, r)
			require.Less(t, res.Code, 500, "%q", header)
			if strings.Contains(res.Body.String(), "zhangsan") {
				require.Contains(t, header, good.Name+"="+good.Value)
			}
			for _, line := range res.Header()["Set-Cookie"] {
				require.True(t, strings.HasPrefix(line, "__Host-wecom-"), "%q", line)
				require.Less(t, len(line), 4096)
			}
		}
	})
}

// FuzzClassify: an anonymous request is redirected only if it is a GET or HEAD,
// and is otherwise a 401 with JSON or a page, whatever it says about itself.
func FuzzClassify(f *testing.F) {
	for _, seed := range []struct{ method, headers string }{
		{"GET", "Accept: text/html"}, {"GET", "Accept: */*"}, {"POST", "Accept: text/html\nSec-Fetch-Mode: navigate"}, {"HEAD", "Accept: text/html"}, {"GET", "Accept: text/html;q=0"},
		{"GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: document"}, {"GET", "Sec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe"}, {"GET", "Upgrade: websocket\nAccept: text/html"}, {"GET", "X-Requested-With: XMLHttpRequest"},
		{"GET", "X-Requested-With: com.tencent.wework\nAccept: text/html"}, {"GET", "Sec-Purpose: prefetch\nAccept: text/html"}, {"OPTIONS", "Origin: https://evil.example"}, {"GET", "Accept: ;;;,,,q=;=q"}, {"", ""}, {"get", "Accept: text/html"},
		{"GET", "Accept: text/html; q=0.0000000; q=1"}, {"PROPFIND", "Accept: application/xhtml+xml"}, {"GET", "Accept-Language: \xff;q=x,,"}, {"GET", "User-Agent: wxwork/\nAccept: text/html"},
	} {
		f.Add(seed.method, seed.headers)
	}
	m := fixed(f)
	h := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the protected handler ran") }))
	f.Fuzz(func(t *testing.T, method, headers string) {
		r := request("GET", "/reports")
		r.Method, r.Header = method, http.Header{}
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			if !strings.EqualFold(name, "Cookie") {
				r.Header.Add(name, value)
			}
		}
		res := do(h, r)
		switch {
		case res.Code == 302 && method == "GET":
			require.True(t, strings.HasPrefix(res.Header().Get("Location"), "https://idp.example/?state="))
			require.Len(t, res.Header()["Set-Cookie"], 1)
		case res.Code == 302 && method == "HEAD":
			require.Equal(t, "/wecom/login?return_to=%2Freports", res.Header().Get("Location"))
			require.Empty(t, res.Header()["Set-Cookie"])
		default:
			require.Equal(t, 401, res.Code, "%q %q", method, headers)
			require.Empty(t, res.Header()["Location"])
			require.Empty(t, res.Header()["Set-Cookie"])
			page := res.Header().Get("Content-Type") == "text/html; charset=utf-8"
			if page { // for a form or a frame
				require.True(t, method == "POST" || r.Header.Get("Sec-Fetch-Dest") != "")
			} else if method != "HEAD" {
				var body struct {
					Error    string `json:"error"`
					LoginURL string `json:"login_url"`
				}
				require.NoError(t, json.Unmarshal(res.Body.Bytes(), &body))
				require.Equal(t, "login_required", body.Error)
				require.True(t, strings.HasPrefix(body.LoginURL+"?", "/wecom/login?"))
			}
		}
		require.Equal(t, "no-store", res.Header().Get("Cache-Control"))
	})
}

// FuzzReturnTo: wherever a return target comes in, what is emitted stays on this
// site by the rules that browsers follow, and is either the target byte for byte or the default page.
func FuzzReturnTo(f *testing.F) {
	for i, v := range vectors.Redirects() {
		if i%40 == 0 {
			f.Add(v)
		}
	}
	for _, v := range vectors.DeepLinks() {
		f.Add(v)
	}
	m := fixed(f)
	h := m.Handler(hello())
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, target string) {
		ends := func(start *httptest.ResponseRecorder) {
			if start.Code != 302 {
				t.Fatalf("%q: status %d", target, start.Code)
			}
			r := with(request("GET", fmt.Sprintf("/wecom/callback?code=f%d&state=%s", n.Add(1), stateIn(start.Header().Get("Location")))), start.Result().Cookies())
			done := do(h, r)
			require.Equal(t, 303, done.Code)
			location := done.Header().Get("Location")
			require.True(t, location == target || location == "/", "%q became %q", target, location)
			require.True(t, whatwg.SameOrigin(site+"/wecom/callback", location), "%q became %q", target, location)
		}
		r := request("GET", "/wecom/login")
		r.URL.RawQuery = url.Values{"return_to": {target}}.Encode()
		ends(do(h, r))

		r = request("GET", "/")
		r.RequestURI = target
		if target != "" {
			ends(do(h, r))
		}

		login := m.LoginURL(target)
		require.True(t, whatwg.SameOrigin(site+"/", login))
		u, err := url.Parse(login)
		require.NoError(t, err)
		require.Equal(t, "/wecom/login", u.Path)
		if back := u.Query().Get("return_to"); back != "" {
			require.Equal(t, target, back)
			require.True(t, whatwg.SameOrigin(site+"/", back))
		}
	})
}

// FuzzHeadersStaySmall: whatever a browser sends, our response headers stay under 3 KiB.
// nginx answers 502 past 4 KiB and then takes the server out for everybody.
func FuzzHeadersStaySmall(f *testing.F) {
	fake := wecomtest.New()
	built := func(panel bool) *wecom.Middleware {
		o := fake.Options(site + "/wecom/callback")
		o.Logger, o.LoginPanel = slog.New(slog.DiscardHandler), panel
		return must(wecom.New(o))
	}
	auths := []*wecom.Middleware{fixed(f), built(false), built(true)}
	many := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "NAME-%08x=%s; ", i, value)
		}
		return b.String()
	}
	for _, target := range []string{
		"/", "/" + strings.Repeat("x", 999), "/" + strings.Repeat("x", 1535), "/" + strings.Repeat("x", 8000),
		"/" + strings.Repeat("%2F", 330), "/?" + strings.Repeat("&", 990), "/?" + strings.Repeat("\u62a5", 330),
	} {
		for _, cookies := range []string{"", many(40, "x"), many(300, strings.Repeat("x", 130)), "NAME=" + strings.Repeat("A", 43) + "; " + many(60, "x")} {
			f.Add(target, cookies)
		}
	}
	var n atomic.Int64
	f.Fuzz(func(t *testing.T, target, cookies string) {
		for _, auth := range auths {
			h := auth.Handler(hello())
			first := do(h, request("GET", "/wecom/login?panel=no")).Result().Cookies()[0].Name
			cookies := strings.ReplaceAll(cookies, "NAME", first[:strings.LastIndexByte(first, '-')])
			ask := func(method, target, accept string, held ...*http.Cookie) *httptest.ResponseRecorder {
				r := httptest.NewRequest(method, site+"/", strings.NewReader(string(must(json.Marshal(map[string]string{"return_to": target})))))
				path, query, _ := strings.Cut(target, "?")
				r.URL, r.RequestURI = &url.URL{Path: path, RawQuery: query}, target
				r.Header = http.Header{"Accept": {accept}, "Content-Type": {"application/json"}, "Cookie": {cookies}}
				with(r, held)
				res := do(h, r)
				if size := headerBytes(res.Header()); size > 3<<10 {
					t.Fatalf("%s with a target of %d bytes and %d bytes of cookies: %d bytes of headers:\n%v", method, len(target), len(cookies), size, res.Header())
				}
				return res
			}
			login := "/wecom/login?" + url.Values{"return_to": {target}}.Encode()
			ask("HEAD", target, "text/html")
			ask("GET", target, "*/*")
			ask("GET", login, "text/html")
			ask("POST", "/wecom/attempt", "*/*")
			ask("POST", "/wecom/logout", "text/html")
			start := ask("GET", login+"&panel=no", "text/html")
			back := "/wecom/callback?state=" + stateIn(start.Header().Get("Location"))
			held := start.Result().Cookies()[:1]
			ask("GET", back, "text/html", held...)
			back += fmt.Sprintf("&code=h%d", n.Add(1))
			done := ask("GET", back, "text/html", held...)
			ask("GET", back, "text/html", done.Result().Cookies()...)
			ask("GET", target, "text/html", done.Result().Cookies()...)
		}
	})
}

// headerBytes is what h costs on the wire.
func headerBytes(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
