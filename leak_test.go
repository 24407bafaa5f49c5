package wecom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// T20 and B7: a wire listens to all that a middleware says and knows all that must not be said.
type wire struct {
	*world
	mu      sync.Mutex
	secrets map[string]string // what it is, by value
	said    []saying
	hostile func(r *http.Request, res *http.Response) (*http.Response, error) // in the place of WeCom's answer
}

// A saying is a piece of output: a log line, a header line, a body, an error's text.
type saying struct{ where, text string }

func newWire(t *testing.T, change ...func(*wecom.Options)) *wire {
	t.Helper()
	w := &wire{secrets: map[string]string{}}
	w.world = newWorld(t, append([]func(*wecom.Options){func(o *wecom.Options) {
		o.StateKey = wecom.NewSecret("canary-statekey-0123456789abcdef0123456789abcdef")
		o.Profile, o.Scope = true, "snsapi_privateinfo"
		o.Transport = &tap{w, o.Transport}
		o.Logger = slog.New(fanout{
			slog.NewTextHandler(saver{w, "text log"}, &slog.HandlerOptions{Level: slog.LevelDebug - 8, AddSource: true}),
			slog.NewJSONHandler(saver{w, "JSON log"}, &slog.HandlerOptions{Level: slog.LevelDebug - 8}),
		})
		o.Observe = func(_ context.Context, e wecom.Event) { w.say("event", fmt.Sprintf("%+v %#v", e, e)) }
		o.OnFailure = func(rw http.ResponseWriter, r *http.Request, f *wecom.Failure) {
			w.say("failure", fmt.Sprintf("%v %+v %#v %s %q", f, *f, f, f, f.Error()))
			var sent interface{ Timeout() bool }
			for err := error(f); err != nil; err = errors.Unwrap(err) {
				w.say("error", fmt.Sprintf("%v %+v %#v %v", err, err, err, errors.As(err, &sent)))
				o.Logger.Error("an application logs it", "error", err, "failure", f)
			}
			if text, err := json.Marshal(f.Err); err == nil {
				w.say("JSON error", string(text))
			}
			f.ServeHTTP(rw, r)
		}
		w.know("corp secret", o.Secret.Reveal())
		for _, private := range privateOf("zhangsan") {
			w.know("personal", private)
		}
		for _, refused := range []string{outsider, linkedMember} {
			w.know("person", refused)
		}
		w.know("state key", o.StateKey.Reveal())
	}}, change...)...)
	app := w.auth.Handler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		_ = json.NewEncoder(rw).Encode(id)
	}))
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.know("code", r.URL.Query().Get("code"))
		rec := httptest.NewRecorder()
		app.ServeHTTP(rec, r)
		w.hear(r, rec)
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(rec.Body.Bytes())
	})
	return w
}

func (w *wire) know(what, value string) {
	if len(value) < 8 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[value] = what
}

func (w *wire) say(where, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, saying{where, text})
}

// hear notes an answer of the application. State and cookies may stand where they belong.
func (w *wire) hear(r *http.Request, rec *httptest.ResponseRecorder) {
	for name, values := range rec.Header() {
		for _, v := range values {
			w.say(strings.ToLower(name), v)
		}
	}
	for _, c := range rec.Result().Cookies() {
		w.know("cookie", c.Value)
	}
	w.know("state", stateIn(rec.Header().Get("Location")))
	where := "body"
	if r.URL.Path == "/wecom/attempt" {
		where = "attempt"
		var minted struct{ State string }
		_ = json.Unmarshal(rec.Body.Bytes(), &minted)
		w.know("state", minted.State)
	}
	w.say(where, rec.Body.String())
}

// privateOf is what WeCom says about a member of the fake's in whom nobody but the page takes an interest.
func privateOf(userID string) []string {
	m, _ := wecomtest.New().Member(userID)
	return []string{m.Name, m.Mobile, m.Email, m.BizMail, m.Avatar}
}

func (s saying) allows(what string) bool {
	switch what {
	case "personal":
		return s.where == "body" && strings.HasPrefix(s.text, `{"provider":`) // the identity itself
	case "cookie":
		return s.where == "set-cookie"
	case "state":
		return s.where == "attempt" || s.where == "location" && (strings.HasPrefix(s.text, "https://open.weixin.qq.com/") || strings.HasPrefix(s.text, "https://login.work.weixin.qq.com/"))
	}
	return false
}

// leaks lists every secret that was said where it must not be.
func (w *wire) leaks() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for value, what := range w.secrets {
		for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), strings.ToUpper(value)} {
			for _, s := range w.said {
				if strings.Contains(s.text, form) && !s.allows(what) {
					list = append(list, what+" in "+s.where+": "+s.text[:min(len(s.text), 200)])
					if len(list) == 5 {
						return list
					}
				}
			}
		}
	}
	return list
}

func (w *wire) kinds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Values(w.secrets))
}

type saver struct {
	w     *wire
	where string
}

func (s saver) Write(p []byte) (int, error) { s.w.say(s.where, string(p)); return len(p), nil }

type fanout []slog.Handler

func (f fanout) Enabled(context.Context, slog.Level) bool { return true }
func (f fanout) Handle(ctx context.Context, r slog.Record) error {
	for _, h := range f {
		_ = h.Handle(ctx, r.Clone())
	}
	return nil
}
func (f fanout) WithAttrs(a []slog.Attr) slog.Handler {
	var g fanout
	for _, h := range f {
		g = append(g, h.WithAttrs(a))
	}
	return g
}
func (f fanout) WithGroup(name string) slog.Handler {
	var g fanout
	for _, h := range f {
		g = append(g, h.WithGroup(name))
	}
	return g
}

// A tap is the line to WeCom: it learns what passes, and may answer with something hostile.
type tap struct {
	w    *wire
	next http.RoundTripper
}

func (p *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	p.w.know("code", r.URL.Query().Get("code"))
	p.w.know("access token", r.URL.Query().Get("access_token"))
	res, err := p.next.RoundTrip(r)
	if err == nil {
		body, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(body))
		var secret struct {
			Token  string `json:"access_token"`
			Ticket string `json:"user_ticket"`
		}
		_ = json.Unmarshal(body, &secret)
		p.w.know("access token", secret.Token)
		p.w.know("user ticket", secret.Ticket)
	}
	if p.w.hostile != nil {
		return p.w.hostile(r, res)
	}
	return res, err
}

// useEverything does all that a browser can: pages, sign-ins, second deliveries, refusals, scripts, logout.
func (w *wire) useEverything() {
	b := w.browser().InApp()
	w.use(b)
	w.use(w.browser())
	b = w.browser().InApp().BlockCookies(true)
	b.Get("/reports")
	w.browser().Refuse().Get("/reports")
	w.browser().SignInAs("sunqi").Get("/reports")
	w.browser().SignInAs("oFakeOutsider0000000000000001").Get("/reports")
	w.browser().SignInAs(linkedMember).Get("/reports")
}

const linkedMember = "wwfedcba9876543210/zhouba"

func (w *wire) use(b *wecomtest.Browser) {
	b.StopAt(isCallback)
	callback := b.Get("/reports?x=1")
	b.StopAt(nil)
	if callback.Held {
		w.know("state", stateIn(callback.URL))
		b.GetNoFollow(strings.Replace(callback.URL, "state=", "state=0", 1))
		b.GetNoFollow(callback.URL + "&code=again")
		b.GetNoFollow(callback.URL + "&padding=" + strings.Repeat("x", 5000))
		b.GetNoFollow(strings.Replace(callback.URL, "/wecom/callback", "/elsewhere", 1))
		w.browser().Follow(callback)
		b.Follow(callback)
		b.GetNoFollow(callback.URL)
		b.Do(&http.Request{Method: "HEAD", URL: must(url.Parse(callback.URL))})
	}
	b.Get("/reports")
	b.Fetch("GET", "/wecom/session", "")
	b.Fetch("GET", "/api", "")
	json := "Content-Type: application/json"
	minted := b.Fetch("POST", "/wecom/attempt", `{"return_to":"/x"}`, json)
	var attempt struct{ State string }
	if minted.Status == 200 && minted.JSON(&attempt) == nil {
		code := w.fake.IssueCode(wecomtest.Grant{Who: "lisi", InApp: true, Scope: "snsapi_privateinfo"})
		w.know("code", code)
		body := fmt.Sprintf(`{"code":%q,"state":%q}`, code, attempt.State)
		b.Fetch("POST", "/wecom/session", body)
		w.browser().Fetch("POST", "/wecom/session", body, json)
		b.Fetch("POST", "/wecom/session", body, json)
		b.Fetch("POST", "/wecom/session", body, json)
		b.Fetch("POST", "/wecom/session", body[:len(body)-1], json)
	}
	b.Post("/wecom/logout")
	b.From("https://evil.example").Post("/wecom/logout")
	b.Get("/wecom/login?return_to=//evil.example")
	b.Fetch("DELETE", "/wecom/session", "")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestT20_B7_Canary(t *testing.T) {
	w := newWire(t)
	w.useEverything()
	assert.Empty(t, w.leaks())
	for _, kind := range []string{"access token", "code", "cookie", "corp secret", "state", "state key", "user ticket"} {
		assert.Contains(t, w.kinds(), kind, "the test knows what to look for")
	}
	var places []string
	for _, s := range w.said {
		places = append(places, s.where)
	}
	for _, where := range []string{"text log", "JSON log", "event", "failure", "error", "body", "location", "set-cookie"} {
		assert.Contains(t, places, where, "the test listens everywhere")
	}
}

func TestT20_B7_CanaryWithEveryFault(t *testing.T) {
	secret := wecomtest.New().Secret()
	faults := map[string]wecomtest.Fault{
		"dial":        {Drop: wecomtest.DropDial},
		"before":      {Drop: wecomtest.DropBefore},
		"after":       {Drop: wecomtest.DropAfter},
		"midway":      {Drop: wecomtest.DropMidway},
		"status 500":  {Status: 500},
		"status 302":  {Status: 302, Header: http.Header{"Location": {"https://evil.example/?" + secret}}},
		"HTML":        {Body: []byte("<html>" + secret + "</html>")},
		"not JSON":    {Body: []byte(`{"errcode":0,"x":"` + secret)},
		"empty":       {Body: []byte("")},
		"no errcode":  {Body: []byte(`{"errmsg":"` + secret + `"}`)},
		"its errmsg":  {ErrCode: 40001, ErrMsg: "invalid credential " + secret},
		"large":       {Size: 2 << 20},
		"an odd code": {ErrCode: 987654, ErrMsg: secret + "\n" + secret},
	}
	for _, code := range []int{-1, 40001, 40013, 40014, 40029, 40056, 40091, 42001, 45009, 48002, 50001, 60011, 60020, 60111, 84014, 301002} {
		faults[fmt.Sprint("errcode ", code)] = wecomtest.Fault{ErrCode: code}
	}
	for _, endpoint := range []string{"gettoken", "auth/getuserinfo", "user/get", "auth/getuserdetail"} {
		for name, fault := range faults {
			t.Run(endpoint+"/"+name, func(t *testing.T) {
				t.Parallel()
				for _, required := range []bool{false, true} {
					if required && endpoint != "user/get" && endpoint != "auth/getuserdetail" {
						continue
					}
					w := newWire(t, func(o *wecom.Options) { o.ProfileRequired = required })
					w.fake.Always(endpoint, fault)
					w.use(w.browser().InApp())
					assert.Empty(t, w.leaks())
				}
			})
		}
	}
}

func TestT20_B7_CanaryWithAHostileUpstream(t *testing.T) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status, " ", body), Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
	quoted := func(s string) string { return string(must(json.Marshal(s))) }
	hostile := map[string]func(r *http.Request, u string) (*http.Response, error){
		"errmsg": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":40013,"errmsg":`+quoted(u)+`}`)
		},
		"errmsg, restart": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":40029,"errmsg":`+quoted(u)+`}`)
		},
		"errmsg, escaped": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":40013,"errmsg":`+quoted(url.QueryEscape(u)+" "+url.PathEscape(u))+`}`)
		},
		"a page": func(_ *http.Request, u string) (*http.Response, error) { return answer(200, "<a href="+u+">") },
		"errcode as text": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":`+quoted(u)+`}`)
		},
		"as a key": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{`+quoted(u)+`:1,`+quoted(u)+`:2}`)
		},
		"as a user": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":0,"userid":`+quoted("x\x01"+u)+`}`)
		},
		"cut off": func(_ *http.Request, u string) (*http.Response, error) {
			return answer(200, `{"errcode":0,"errmsg":`+quoted(u)[:len(u)/2])
		},
		"status": func(_ *http.Request, u string) (*http.Response, error) { return answer(502, u) },
		"redirect": func(_ *http.Request, u string) (*http.Response, error) {
			res, _ := answer(302, u)
			res.Header.Set("Location", "https://evil.example/?"+u)
			return res, nil
		},
		"a *url.Error": func(_ *http.Request, u string) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: u, Err: errors.New("reset by " + u)}
		},
		"an error": func(_ *http.Request, u string) (*http.Response, error) {
			return nil, fmt.Errorf("GET %s: reset, %q", u, u)
		},
		"an error in dial": func(_ *http.Request, u string) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(u)}
		},
		"a reading error": func(_ *http.Request, u string) (*http.Response, error) {
			res, _ := answer(200, "")
			res.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), badReader{errors.New("read " + u)}))
			return res, nil
		},
		"a panic":          func(_ *http.Request, u string) (*http.Response, error) { panic("no route to " + u) },
		"an error's panic": func(_ *http.Request, u string) (*http.Response, error) { panic(fmt.Errorf("no route to %s", u)) },
	}
	for _, endpoint := range []string{"gettoken", "auth/getuserinfo", "user/get", "auth/getuserdetail"} {
		for name, answer := range hostile {
			t.Run(endpoint+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := newWire(t, func(o *wecom.Options) { o.ProfileRequired = true })
				w.hostile = func(r *http.Request, res *http.Response) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, endpoint) {
						return answer(r, r.URL.String())
					}
					return res, nil
				}
				w.use(w.browser().InApp())
				assert.Empty(t, w.leaks())
			})
		}
	}
}

type badReader struct{ err error }

func (f badReader) Read([]byte) (int, error) { return 0, f.err }

func TestT20_B7_CanaryWithChattyStores(t *testing.T) {
	for _, method := range []string{"Find", "Commit", "Delete"} {
		for carrier, carry := range carriers {
			for _, loud := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/loud %t", method, carrier, loud), func(t *testing.T) {
					store := newTestStore()
					w := newWire(t, func(o *wecom.Options) {
						carry(o, store)
						o.IdleTimeout = time.Hour
					})
					b := w.signedIn("zhangsan")
					store.set(func(m, key string, row []byte) error { // fails and tells everything that it was given
						err := fmt.Errorf("%s %s %q failed", m, key, row)
						switch {
						case m != method:
							return nil
						case loud:
							panic(err)
						}
						return err
					})
					b.Get("/reports")
					w.use(b)
					w.use(w.browser().InApp())
					assert.Empty(t, w.leaks())
				})
			}
		}
	}
	t.Run("a token store", func(t *testing.T) {
		type fn = func(context.Context, wecom.Token) (wecom.Token, error)
		for when, store := range map[string]faultyStore{ // which fail and tell the key and the token
			"load": {load: func(_ context.Context, key string) (wecom.Token, error) {
				return wecom.Token{}, errors.New("GET " + key + " failed")
			}},
			"update": {update: func(_ context.Context, key string, _ fn) (wecom.Token, error) {
				return wecom.Token{}, errors.New("LOCK " + key + " failed")
			}},
			"late": {update: func(ctx context.Context, key string, f fn) (wecom.Token, error) {
				token, err := f(ctx, wecom.Token{})
				return token, errors.Join(err, fmt.Errorf("SET %s %s %+v failed", key, token.Value.Reveal(), token))
			}},
		} {
			store.sharedStore = newSharedStore()
			w := newWire(t, func(o *wecom.Options) { o.TokenStore = &store })
			w.use(w.browser().InApp())
			assert.Empty(t, w.leaks(), when)
		}
	})
}

// T22: nothing that comes from outside is markup on our pages.

var markup = func() (list []string) {
	const mark = "wecomxss"
	for _, before := range []string{"", `"`, "'", `">`, "'>", "</title>", "</style>", "</textarea>", "-->", "]]>", "`", "}}", "\\\"", "\x00", "%00", "\u2028", "</a>", `" x="`} {
		for _, core := range []string{
			"<script>" + mark + "()</script>", "<ScRiPt src=//" + mark + ">", "<img src=x onerror=" + mark + "()>", "<svg/onload=" + mark + "()>", "<iframe srcdoc='" + mark + "'>", "<a href=javascript:" + mark + "()>x",
			" onmouseover=" + mark + "() ", `" autofocus onfocus="` + mark + "()", "javascript:" + mark + "()", "{{" + mark + "}}", "<!--" + mark, "<base href=//" + mark + ">", "<meta http-equiv=refresh content='0;url=//" + mark + "'>",
			"&lt;script&gt;" + mark, "&#60;script&#62;" + mark, "%3Cscript%3E" + mark, "%253Cscript%253E" + mark, "\\u003cscript\\u003e" + mark, "＜script＞" + mark, "+ADw-script+AD4-" + mark, "\xc0\xbcscript\xc0\xbe" + mark, "<\x00script>" + mark,
			"<math><mi//xlink:href=\"data:x,<script>" + mark + "\">", "<style>@import'//" + mark + "'</style>", "<form action=//" + mark + "><input>", "<link rel=stylesheet href=//" + mark + ">", "<object data=" + mark + ">", "<details open ontoggle=" + mark + "()>",
			"<b onbeforetoggle=" + mark + ">", "<x style=\"x:expression(" + mark + ")\">", "'-" + mark + "()-'", "\";" + mark + "();//", "${" + mark + "}",
		} {
			list = append(list, before+core)
		}
	}
	return list
}()

func TestT22_NothingIsMarkup(t *testing.T) {
	require.GreaterOrEqual(t, len(markup), 580)
	w := newWorld(t)
	state := stateOf(t, w.held(w.browser(), "/").URL)
	forged := forge(state)
	// shape is what of a page a browser takes for markup.
	shape := func(body string) [5]int {
		var n [5]int
		for i, c := range `<>"'&` {
			n[i] = strings.Count(body, string(c))
		}
		n[4] = 0 // an escape is what we want to see
		return n
	}
	page := func(target string, headers ...string) *httptest.ResponseRecorder {
		r := request("GET", "/")
		r.URL = &url.URL{Path: "/wecom/callback", RawQuery: target}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return do(w.app, r)
	}
	inputs := map[string]func(payload string) *httptest.ResponseRecorder{
		"state": func(p string) *httptest.ResponseRecorder { return page("code=x&state=" + url.QueryEscape(p)) },
		"code": func(p string) *httptest.ResponseRecorder {
			return page("code=" + url.QueryEscape(p) + "&state=" + forged)
		},
		"error": func(p string) *httptest.ResponseRecorder {
			return page("state=" + state + "&error=" + url.QueryEscape(p) + "&error_description=" + url.QueryEscape(p) + "&errmsg=" + url.QueryEscape(p))
		},
		"a raw query": func(p string) *httptest.ResponseRecorder { return page(p) },
		"headers": func(p string) *httptest.ResponseRecorder {
			return page("", "User-Agent", p, "Accept-Language", p, "Referer", p, "X-Requested-With", p, "Host", p)
		},
		"Accept-Language behind a known one": func(p string) *httptest.ResponseRecorder { return page("", "Accept-Language", "en, "+p) },
	}
	for name, input := range inputs {
		t.Run(name, func(t *testing.T) {
			want := shape(input("harmless").Body.String())
			for _, p := range markup {
				res := input(p)
				assert.Equal(t, want, shape(res.Body.String()), "%q", p)
				assert.NotContains(t, res.Body.String(), "wecomxss", "%q", p)
				assert.Equal(t, "text/html; charset=utf-8", res.Header().Get("Content-Type"))
			}
		})
	}
	t.Run("return_to, in a button", func(t *testing.T) {
		b := w.browser().Refuse()
		want := shape(b.Get("/wecom/login?return_to=/harmless").Body)
		for _, p := range markup {
			res := b.Get("/wecom/login?return_to=" + url.QueryEscape("/"+p))
			require.Equal(t, 403, res.Status)
			assert.Equal(t, want, shape(res.Body), "%q", p)
		}
	})
	t.Run("errmsg", func(t *testing.T) {
		w := newWorld(t)
		for i, p := range markup {
			if i%8 != 0 && i > 64 {
				continue // a sign-in each
			}
			w.fake.Always("auth/getuserinfo", wecomtest.Fault{ErrCode: 50001, ErrMsg: p})
			res := w.browser().Get("/")
			require.Equal(t, 500, res.Status)
			assert.NotContains(t, res.Body, "wecomxss")
			assert.NotContains(t, res.Body, "from ip")
		}
	})
	t.Run("what an application says", func(t *testing.T) {
		r := request("GET", "/")
		answer := func(p string) *httptest.ResponseRecorder {
			return do(&wecom.Failure{Status: 403, Code: p, Message: p, Reference: p, LoginURL: "/x?" + p}, r)
		}
		want := shape(answer("harmless").Body.String())
		without := shape(do(&wecom.Failure{Status: 403, Code: "x", Message: "m", Reference: "r", LoginURL: "javascript:x"}, r).Body.String())
		for _, p := range markup {
			got := shape(answer(p).Body.String())
			assert.True(t, got == want || got == without, "%q", p)
			r := request("GET", "/")
			r.Header.Set("Accept", "*/*")
			res := do(&wecom.Failure{Status: 403, Code: p, Message: p, Reference: p, LoginURL: p}, r)
			assert.NotContains(t, res.Body.String(), "<")
			assert.Equal(t, "application/json; charset=utf-8", res.Header().Get("Content-Type"))
		}
	})
}

// T23: no input ends a header or a log line.
func TestT23_LineBreaks(t *testing.T) {
	rows := []string{
		"\r\nX-Injected: 1", "\nX-Injected: 1", "\rX-Injected: 1", "\r\n\r\n<html>", "\r\n X-Injected: 1", "\r\n\tX-Injected: 1", "%0d%0aX-Injected:%201", "%0aX-Injected:1", "%0dX-Injected:1",
		"%250d%250aX-Injected:1", "\u560d\u560aX-Injected:1", "%e5%98%8d%e5%98%8aX-Injected:1", "\u2028X-Injected: 1", "\u0085X-Injected: 1", "\x00\r\nX-Injected: 1", "\\r\\nX-Injected: 1", "%%0a0aX-Injected:1", "\x0bX-Injected: 1", "\x1b[2J\x1b[31mX-Injected",
	}
	require.GreaterOrEqual(t, len(rows), 17)
	w := newWorld(t)
	l := newSocket(t, w.app)
	state := stateOf(t, w.held(w.browser(), "/").URL)
	get := func(target, headers string) string {
		return "GET " + target + " HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\n" + headers + "\r\n"
	}
	inputs := map[string]func(row string) string{
		"return_to":   func(row string) string { return get("/wecom/login?return_to="+url.QueryEscape("/x"+row), "") },
		"a path":      func(row string) string { return get("/x"+(&url.URL{Path: row}).EscapedPath(), "") },
		"a raw query": func(row string) string { return get("/x?y="+url.PathEscape(row), "") },
		"state":       func(row string) string { return get("/wecom/callback?code=x&state="+url.QueryEscape(row), "") },
		"code": func(row string) string {
			return get("/wecom/callback?state="+state[:75]+"&code="+url.QueryEscape(row), "")
		},
		"error": func(row string) string { return get("/wecom/callback?state="+state+"&error="+url.QueryEscape(row), "") },
		"headers": func(row string) string {
			return get("/wecom/callback", "User-Agent: a"+row+"\r\nAccept-Language: en"+row+"\r\nX-Forwarded-For: 1"+row+"\r\n")
		},
		"cookies":      func(row string) string { return get("/", "Cookie: __Host-wecom-"+row+"=x; a="+row+"\r\n") },
		"the raw path": func(row string) string { return get("/x"+row, "") },
	}
	for name, input := range inputs {
		for _, row := range rows {
			before := len(w.logs.String())
			res := l.send(t, input(row))
			assert.Empty(t, res.Header["X-Injected"], "%s: %q", name, row)
			for line := range strings.SplitSeq(res.head, "\r\n") {
				assert.False(t, strings.HasPrefix(strings.TrimSpace(line), "X-Injected"), "%s: %q: %q", name, row, res.head)
				assert.NotContains(t, line, "\n")
				assert.NotContains(t, line, "\x1b")
			}
			logged := w.logs.String()[before:]
			assert.LessOrEqual(t, strings.Count(logged, "\n"), 1, "%s: %q: one event is one line", name, row)
			assert.True(t, logged == "" || strings.HasPrefix(logged, "time="), "%s: %q", name, logged)
			assert.NotContains(t, logged, "X-Injected", "%s: %q", name, row)
		}
	}
	t.Run("errmsg", func(t *testing.T) {
		for _, row := range rows {
			w := newWorld(t)
			w.fake.Always("auth/getuserinfo", wecomtest.Fault{ErrCode: 50001, ErrMsg: row})
			res := w.browser().Get("/")
			assert.Empty(t, res.Header["X-Injected"])
			for line := range strings.SplitSeq(strings.TrimSuffix(w.logs.String(), "\n"), "\n") {
				assert.True(t, strings.HasPrefix(line, "time="), "%q", line)
			}
			assert.Equal(t, 1, strings.Count(w.logs.String(), "level=ERROR"))
		}
	})
}

// T31: the secret goes to a server that proved who it is, and nowhere else.
