package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Single-page applications: the login panel, the front-end helper and the routes
// for scripts, in a real browser.

const panelScript = "/node/open/js/wecom-jssdk-2.3.4.js"

// A spa is a single-page application whose shell everybody may see: a page that
// routes by its fragment, and an API for people who are signed in.
type spa struct {
	*testing.T
	fake *wecomtest.Fake
	at   wecom.Endpoints
	site string
	auth *wecom.Middleware
}

// shell imports the helper and gives the tests its functions.
const shell = `<!doctype html><meta charset="utf-8"><title>shell</title><link rel="icon" href="data:,">
<p id="out"></p><script type="module">
import * as wecom from "/wecom/wecom.js";
window.wecom = wecom;
document.getElementById("out").textContent = "ready";
</script>`

func newSPA(t *testing.T, change ...func(*wecom.Options)) *spa {
	t.Helper()
	s := &spa{T: t, fake: wecomtest.New()}
	fake, err := s.fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = fake.Close() })
	s.at = fake.Endpoints()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.site = "http://" + l.Addr().String()
	o := wecom.Options{
		CorpID: s.fake.CorpID(), AgentID: s.fake.AgentID(), Secret: wecom.NewSecret(s.fake.Secret()),
		CallbackURL: s.site + "/wecom/callback", Endpoints: s.at, Logger: slog.New(slog.DiscardHandler),
		SessionStore: memstore.NewWithCleanupInterval(0), JSSDK: true,
	}
	for _, c := range change {
		c(&o)
	}
	s.auth, err = wecom.New(o)
	require.NoError(t, err)

	mux := http.NewServeMux()
	mux.Handle("/wecom/", s.auth.Routes())
	mux.Handle("/api/", s.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		switch r.URL.Path {
		case "/api/teapot":
			http.Error(w, "short and stout", http.StatusTeapot)
		case "/api/401":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"wrong_password"}`))
		case "/api/elsewhere", "/api/script", "/api/blob", "/api/garbage":
			login := map[string]string{
				"/api/elsewhere": "https://evil.example/login", "/api/script": "javascript:document.title='owned'",
				"/api/blob": "blob:" + s.site + "/x", "/api/garbage": "https://",
			}[r.URL.Path]
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "login_required", "login_url": login})
		default:
			_ = json.NewEncoder(w).Encode(id)
		}
	})))
	mux.Handle("/private", s.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "<!doctype html><title>private</title><p>private page of %s", id.UserID)
	})))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(shell))
	})
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}
	server.Start()
	t.Cleanup(server.Close)
	return s
}

func withPanel(o *wecom.Options) { o.LoginPanel = true }

// until waits until an expression is true, across the pages that come meanwhile.
func (p *page) until(expression string) {
	p.Helper()
	look := chromedp.Evaluate[bool](fmt.Sprintf(`(() => { try { return Boolean(%s) } catch { return false } })()`, expression))
	require.Eventually(p, func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
		defer cancel()
		ok, err := chromedp.Run(ctx, look)
		return err == nil && ok // an error: the page is just leaving
	}, stepTimeout, 20*time.Millisecond, "%s", expression)
}

// arrives waits until the tab shows address, loaded.
func (p *page) arrives(address string) {
	p.Helper()
	p.until(fmt.Sprintf(`location.href === %s && document.readyState === "complete"`, quoted(address)))
}

func (p *page) load(address string) {
	p.Helper()
	p.open(address)
	p.until(`window.wecom`)
}

// expire takes the session's cookie away, as time does.
func (p *page) expire(s *spa) { p.Helper(); p.dropSession(s.site) }

func TestPanelSignIn(t *testing.T) {
	s := newSPA(t, withPanel)
	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(s.site+"/private?x=1"))
	assert.Equal(t, s.site+"/wecom/login?return_to=%2Fprivate%3Fx%3D1", p.href())
	p.panelIs("ready")
	assert.Contains(t, p.text(), "请用手机上的企业微信扫码")
	assert.Equal(t, 1, eval[int](p, `document.querySelectorAll("iframe").length`))
	assert.Equal(t, "企业微信扫码登录", eval[string](p, `document.querySelector("iframe").title`))
	frame := eval[string](p, `document.querySelector("iframe").src`)
	u, err := url.Parse(frame)
	require.NoError(t, err)
	assert.Equal(t, s.at.WebLogin, u.Scheme+"://"+u.Host+u.Path)
	q := u.Query()
	assert.Equal(t, []string{"CorpApp", s.fake.CorpID(), s.fake.AgentID(), s.site + "/wecom/callback", "callback", "zh", "auto"}, []string{
		q.Get("login_type"), q.Get("appid"), q.Get("agentid"), q.Get("redirect_uri"), q.Get("redirect_type"), q.Get("lang"), q.Get("color_scheme"),
	})
	assert.Regexp(t, `^[0-9a-f]{76}$`, q.Get("state"))

	p.scan("zhangsan")
	p.arrives(s.site + "/private?x=1")
	assert.Contains(t, p.text(), "private page of zhangsan")
	assert.Equal(t, 1, s.fake.Calls("auth/getuserinfo"))
	assert.Zero(t, p.visits("/wecom/callback"), "the code never stood in the address bar")
	for _, h := range p.hops() {
		assert.NotContains(t, h.URL, "code=")
	}
}

// inFrame runs a script in the login panel's frame, in a world of its own beside the frame's.
func (p *page) inFrame(expression string) {
	p.Helper()
	frames := call(p, cdppage.GetFrameTree, cdp.Empty{}).FrameTree.ChildFrames
	require.Len(p, frames, 1)
	world := call(p, cdppage.CreateIsolatedWorld, cdppage.CreateIsolatedWorldParams{FrameID: frames[0].Frame.ID})
	res := call(p, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, ContextID: world.ExecutionContextID})
	require.Nil(p, res.ExceptionDetails, "%v", res.ExceptionDetails)
}

// scan picks somebody in the panel.
func (p *page) scan(who string) {
	p.Helper()
	p.panelIs("ready")
	p.inFrame(fmt.Sprintf(`document.querySelector('button[value=%q]').click()`, who))
}

func (p *page) panelIs(state string) {
	p.Helper()
	p.until(fmt.Sprintf(`location.pathname === "/wecom/login" && document.querySelector("main").dataset.state === %q`, state))
}

// leave lets the page call the helper's fetch without waiting for it: the page leaves.
func (p *page) leave(path string) {
	p.Helper()
	eval[bool](p, fmt.Sprintf(`(window.before = true, setTimeout(() => wecom.fetch(%s), 0) > 0)`, quoted(path)))
}

// comesBack waits until the page is there anew.
func (p *page) comesBack(address string) {
	p.Helper()
	p.until(fmt.Sprintf(`!window.before && window.wecom && location.href === %s`, quoted(address)))
}

func TestPanelHashRoute(t *testing.T) {
	s := newSPA(t, withPanel)
	p := newPage(t, "en-US")
	p.load(s.site + "/app?v=2#/orders/7?tab=items")
	p.leave("/api/me")
	p.panelIs("ready")
	assert.Contains(t, p.text(), "Scan the code with WeCom")
	p.scan("lisi")
	p.arrives(s.site + "/app?v=2#/orders/7?tab=items")
	p.until(`window.wecom`)
	assert.Equal(t, "lisi", eval[string](p, `wecom.me().then(id => id.user_id)`))
}

// The page that was asked for may have a fragment, which only the browser knows.
func TestPanelKeepsTheFragment(t *testing.T) {
	s := newSPA(t, withPanel)
	const place = "/private?x=1#a"
	p := newPage(t, "zh-CN")
	p.open(s.site + place)
	p.scan("zhangsan")
	p.arrives(s.site + place)
	assert.Contains(t, p.text(), "private page of zhangsan")

	p = newPage(t, "zh-CN")
	p.open(s.site + place)
	p.panelIs("ready")
	p.click(`main a`)
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, s.site+place, p.href(), "by WeCom's own page")
}

// A phone cannot scan its own screen: the page offers a link to open in WeCom.
func TestPanelOnAPhone(t *testing.T) {
	const safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	for _, agent := range []string{safari, wecomtest.UserAgentWeixin} {
		s := newSPA(t, withPanel)
		p := newPage(t, "")
		p.pretend(agent, "zh-CN")
		require.EqualValues(t, 200, p.open(s.site+"/private?x=1#a"))
		p.until(`!document.getElementById("copy").hidden`)
		assert.Contains(t, p.text(), "请在企业微信中打开这个链接")
		assert.Equal(t, s.site+"/private?x=1#a", eval[string](p, `document.getElementById("link").textContent`))
		assert.Zero(t, s.fake.TotalCalls(), "no panel, no attempt")
		assert.Empty(t, p.cookies(s.site))
		eval[bool](p, `(navigator.clipboard.writeText = async (text) => { window.copied = text; }, document.getElementById("copy").click(), true)`)
		p.until(`document.getElementById("copy").textContent === "链接已复制"`)
		assert.Equal(t, s.site+"/private?x=1#a", eval[string](p, `window.copied`))

		p.click(`main a`)
		assert.Contains(t, p.href(), s.at.WebLogin, "the code stays reachable")
		require.EqualValues(t, 200, p.pick("lisi"))
		assert.Equal(t, s.site+"/private?x=1#a", p.href())
	}
}

// A frame whose session has ended shows a page whose button signs the whole tab in.
func TestFrameAfterExpiry(t *testing.T) {
	s := newSPA(t)
	p := newPage(t, "zh-CN")
	p.load(s.site + "/app?v=2")
	eval[bool](p, `new Promise((loaded) => {
		const frame = document.createElement("iframe");
		frame.src = "/private";
		frame.onload = () => loaded(true);
		document.body.append(frame);
	})`)
	p.inFrame(`document.querySelector("main a").click()`)
	p.until(`location.pathname === "/wwlogin/sso/login"`)
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, s.site+"/app?v=2", p.href())
}

func TestPanelBlocked(t *testing.T) {
	const frame = "/wwlogin/sso/login"
	tests := []struct {
		desc, path string
		fault      wecomtest.Fault
	}{
		{"the script", panelScript, wecomtest.Fault{Drop: wecomtest.DropBefore}},
		{"the script is another", panelScript, wecomtest.Fault{Body: []byte("void 0")}},
		{"the frame", frame, wecomtest.Fault{Drop: wecomtest.DropBefore}},
		{"the frame shows something else", frame, wecomtest.Fault{Status: 403}},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			s := newSPA(t, withPanel)
			s.fake.Always(tt.path, tt.fault)
			p := newPage(t, "zh-CN")
			require.EqualValues(t, 200, p.open(s.site+"/private"))
			p.panelIs("blocked")
			assert.Contains(t, p.text(), "如果没有看到登录面板，请点击下方按钮登录。")
			s.fake.ClearFaults()
			require.EqualValues(t, 200, p.click(`main a`))
			assert.Contains(t, p.href(), s.at.WebLogin+"?login_type=CorpApp&", "WeCom's own page")
			require.EqualValues(t, 200, p.pick("zhangsan"))
			assert.Equal(t, s.site+"/private", withoutFragment(p.href()))
			assert.Contains(t, p.text(), "private page of zhangsan")
		})
	}
}

func TestPanelWithoutJavaScript(t *testing.T) {
	s := newSPA(t, withPanel)
	p := newPage(t, "en-US")
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.EqualValues(t, 200, p.open(s.site+"/private"))
	assert.Contains(t, p.text(), "JavaScript is turned off in this browser.")
	assert.NotContains(t, p.text(), "Scan", "there is nothing to scan")
	require.EqualValues(t, 200, p.click(`main a`))
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, s.site+"/private", withoutFragment(p.href()))
	assert.Contains(t, p.text(), "private page of zhangsan")
}

// A page that was left open for an hour has an attempt that is over, or lost its cookie to newer ones.
func TestPanelLeftOpen(t *testing.T) {
	s := newSPA(t, withPanel)
	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(s.site+"/private"))
	p.panelIs("ready")
	p.dropCookies()
	p.scan("zhangsan")
	p.arrives(s.site + "/private")
	assert.Contains(t, p.text(), "private page of zhangsan")
	assert.Equal(t, 1, s.fake.Calls("auth/getuserinfo"))
}

func TestPanelFailures(t *testing.T) {
	t.Run("an outsider", func(t *testing.T) {
		s := newSPA(t, withPanel)
		p := newPage(t, "zh-CN")
		p.open(s.site + "/private")
		p.scan("oFakeOutsider0000000000000001")
		p.panelIs("failed")
		assert.Contains(t, p.text(), "当前登录的账号不是本企业的成员。")
		assert.Regexp(t, `参考编号 [0-9a-z]{10}`, p.text())
		assert.Zero(t, eval[int](p, `document.querySelectorAll("iframe").length`))
		p.click(`main a`)
		require.EqualValues(t, 200, p.pick("lisi"), "and another account")
		assert.Contains(t, p.text(), "private page of lisi")
	})
	t.Run("WeCom refuses the address", func(t *testing.T) {
		s := newSPA(t, withPanel)
		s.fake.TrustDomain("other.example.com")
		p := newPage(t, "en-US")
		p.open(s.site + "/private")
		p.panelIs("failed")
		assert.Contains(t, p.text(), "Sign-in did not succeed.")
		assert.Contains(t, p.text(), "WeCom -31020")
	})
	t.Run("WeCom is down", func(t *testing.T) {
		s := newSPA(t, withPanel)
		s.fake.Always("gettoken", wecomtest.Fault{Status: 502})
		p := newPage(t, "zh-CN")
		p.open(s.site + "/private")
		p.scan("zhangsan")
		p.panelIs("failed")
		assert.Contains(t, p.text(), "暂时无法连接企业微信")
	})
}

func TestPanelInsideWeCom(t *testing.T) {
	s := newSPA(t, withPanel)
	p := newPage(t, "")
	p.pretend(wecomtest.UserAgentWeComIOS, "zh-CN")
	require.EqualValues(t, 200, p.open(s.site+"/private"))
	assert.Contains(t, p.href(), s.at.Authorize+"?appid=", "no panel in WeCom's own web-view")
	assert.Zero(t, p.visits("/wecom/login"))
	require.EqualValues(t, 200, p.pick("lisi"))
	assert.Contains(t, p.text(), "private page of lisi")
	assert.Zero(t, s.fake.Calls(panelScript))
}

func TestPanelInTwoTabs(t *testing.T) {
	s := newSPA(t, withPanel)
	a := newPage(t, "zh-CN")
	b := a.tab()
	a.open(s.site + "/private?tab=a")
	b.open(s.site + "/private?tab=b")
	a.panelIs("ready")
	b.panelIs("ready")
	b.scan("zhangsan")
	b.arrives(s.site + "/private?tab=b")
	a.scan("lisi")
	a.arrives(s.site + "/private?tab=a")
	assert.Contains(t, a.text(), "private page of lisi")
	b.open(s.site + "/private?tab=b")
	assert.Contains(t, b.text(), "private page of lisi", "one browser, one person: the last who signed in")
	assert.Equal(t, 2, s.fake.Calls("auth/getuserinfo"))
}

// A request that fails for want of a session brings the page back to where it was.
func TestFetchAfterExpiry(t *testing.T) {
	s := newSPA(t)
	s.fake.SignInAs("zhangsan")
	p := newPage(t, "zh-CN")
	const place = "/app?v=2#/orders/7?tab=items"
	p.load(s.site + place)
	assert.True(t, eval[bool](p, `wecom.me().then(id => id === null)`))
	assert.Empty(t, p.said(), "asking is no error")
	p.leave("/api/me")
	p.comesBack(s.site + place)
	assert.Equal(t, "zhangsan", eval[string](p, `wecom.fetch("/api/me").then(r => r.json()).then(id => id.user_id)`))
	assert.Equal(t, 1, p.visits("/wecom/login?return_to="))

	// The session ends once more, right away: no second round by itself.
	p.expire(s)
	assert.Equal(t, 401, eval[int](p, `wecom.fetch("/api/me").then(r => r.status)`))
	assert.Equal(t, s.site+place, p.href())
	assert.Equal(t, 1, p.visits("/wecom/login?return_to="))

	// But a person may ask for one, and half a minute later it goes by itself again.
	eval[bool](p, `setTimeout(() => wecom.signIn("/app#/elsewhere"), 0) > 0`)
	p.arrives(s.site + "/app#/elsewhere")
	p.until(`window.wecom`)
	p.expire(s)
	eval[bool](p, `sessionStorage.setItem("wecom.left", String(Date.now() - 31000)) === undefined`)
	p.leave("/api/me")
	p.comesBack(s.site + "/app#/elsewhere")
	assert.Equal(t, "zhangsan", eval[string](p, `wecom.me().then(id => id && id.user_id)`))
	assert.Equal(t, 3, p.visits("/wecom/login?return_to="))
}

func TestFetchLeavesOnceForManyRequests(t *testing.T) {
	s := newSPA(t)
	p := newPage(t, "zh-CN")
	p.load(s.site + "/app#/x")
	eval[bool](p, `setTimeout(() => { for (let i = 0; i < 20; i++) wecom.fetch("/api/me?" + i); }, 0) > 0`)
	p.until(`location.pathname === "/wwlogin/sso/login"`)
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, s.site+"/app#/x", p.href())
	assert.LessOrEqual(t, p.visits("/wwlogin/sso/login?"), 2, "the page, and what somebody pressed on it")
}

func TestFetchLeavesOtherAnswersAlone(t *testing.T) {
	s := newSPA(t)
	p := newPage(t, "zh-CN")
	p.load(s.site + "/app")
	eval[bool](p, `wecom.attempt().then(a => true)`)
	s.signIn(p)
	assert.Equal(t, "418 short and stout", eval[string](p, `wecom.fetch("/api/teapot").then(async r => r.status + " " + (await r.text()).trim())`))
	assert.Equal(t, `401 {"error":"wrong_password"}`, eval[string](p, `wecom.fetch("/api/401").then(async r => r.status + " " + await r.text())`))
	for _, path := range []string{"/api/elsewhere", "/api/script", "/api/blob", "/api/garbage"} {
		assert.Equal(t, 401, eval[int](p, fmt.Sprintf(`wecom.fetch(%s).then(r => r.status)`, quoted(path))), "a sign-in is on this site")
	}
	assert.Equal(t, "TypeError", eval[string](p, `wecom.fetch("http://127.0.0.1:1/").catch(e => e.name)`))
	assert.Equal(t, "AbortError", eval[string](p, `(() => { const c = new AbortController(); c.abort(); return wecom.fetch("/api/me", { signal: c.signal }).catch(e => e.name); })()`))

	// Another site's 401 is none of ours, even if it looks like it.
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"login_required","login_url":"/wecom/login"}`))
	}))
	t.Cleanup(other.Close)
	assert.Equal(t, 401, eval[int](p, fmt.Sprintf(`wecom.fetch(%s).then(r => r.status)`, quoted(other.URL))))
	assert.Equal(t, s.site+"/app", p.href())
}

// signIn signs in with a code, as a page with a panel of its own does.
func (s *spa) signIn(p *page) {
	p.Helper()
	code := s.fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	who := eval[string](p, fmt.Sprintf(`wecom.attempt().then(a => wecom.exchange(%s, a.state)).then(id => id.user_id)`, quoted(code)))
	require.Equal(p, "zhangsan", who)
}

func TestHelper(t *testing.T) {
	s := newSPA(t)
	p := newPage(t, "en-US")
	p.load(s.site + "/app?x=1#/y")

	var a map[string]any
	require.NoError(t, json.Unmarshal([]byte(eval[string](p, `wecom.attempt().then(JSON.stringify)`)), &a))
	assert.Equal(t, "/app?x=1#/y", a["return_to"])
	panel := a["panel"].(map[string]any)
	assert.Equal(t, a["state"], panel["state"])
	assert.Equal(t, "callback", panel["redirect_type"])
	assert.Len(t, panel, 8)

	assert.Equal(t, "WeComError 400 bad_state", eval[string](p, `wecom.exchange("x", "y").catch(e => [e.name, e.status, e.code].join(" "))`))
	s.signIn(p)
	var signature map[string]any
	require.NoError(t, json.Unmarshal([]byte(eval[string](p, `wecom.jsConfig().then(JSON.stringify)`)), &signature))
	assert.Equal(t, s.fake.CorpID(), signature["appId"])
	assert.Regexp(t, `^[0-9a-f]{40}$`, signature["signature"])
	require.NoError(t, json.Unmarshal([]byte(eval[string](p, `wecom.jsAgentConfig().then(JSON.stringify)`)), &signature))
	assert.Equal(t, s.fake.AgentID(), signature["agentid"])
	assert.Equal(t, "WeComError 400 bad_request", eval[string](p, `wecom.jsConfig("https://evil.example/").catch(e => [e.name, e.status, e.code].join(" "))`))

	assert.True(t, eval[bool](p, `wecom.signOut(null).then(() => wecom.me()).then(id => id === null)`))
	assert.Equal(t, s.site+"/app?x=1#/y", p.href())
	s.signIn(p)
	eval[bool](p, `setTimeout(() => wecom.signOut(), 0) > 0`)
	p.arrives(s.site + "/wecom/signed-out")
	assert.Contains(t, p.text(), "You are signed out")

	// A copy of the module anywhere else.
	p.load(s.site + "/app")
	assert.Equal(t, "null", eval[string](p, `(async () => {
		const text = await (await fetch("/wecom/wecom.js")).text();
		const copy = await import(URL.createObjectURL(new Blob([text.replace('new URL("./", import.meta.url)', "null")], { type: "text/javascript" })));
		copy.configure({ base: "/wecom/" });
		return String(await copy.me());
	})()`))
}

// Inside WeCom the browser comes back with #wechat_redirect, which is nobody's route.
func TestHelperTakesWeComsFragmentAway(t *testing.T) {
	s := newSPA(t)
	s.fake.SignInAs("zhangsan")
	p := newPage(t, "")
	p.pretend(wecomtest.UserAgentWeComIOS, "zh-CN")
	p.load(s.site + "/app?x=1")
	p.leave("/api/me")
	p.comesBack(s.site + "/app?x=1")
	assert.Equal(t, "", eval[string](p, `location.hash`))

	assert.Equal(t, s.site+"//x?y", eval[string](p, `(async () => {
		history.replaceState(null, "", location.origin + "//x?y#wechat_redirect");
		await import("/wecom/wecom.js?again");
		return location.href;
	})()`), "a path that is another host, where it stands alone")
}

// Each of two tabs comes back to its own place.
func TestFetchAfterExpiryInTwoTabs(t *testing.T) {
	s := newSPA(t)
	a := newPage(t, "zh-CN")
	b := a.tab()
	a.load(s.site + "/app#/a")
	b.load(s.site + "/app#/b")
	a.leave("/api/me")
	b.leave("/api/me")
	a.until(`location.pathname === "/wwlogin/sso/login"`)
	b.until(`location.pathname === "/wwlogin/sso/login"`)
	require.EqualValues(t, 200, b.pick("zhangsan"))
	require.EqualValues(t, 200, a.pick("zhangsan"))
	assert.Equal(t, s.site+"/app#/a", a.href())
	assert.Equal(t, s.site+"/app#/b", b.href())
	for _, p := range []*page{a, b} {
		p.until(`window.wecom`)
		assert.Equal(t, "zhangsan", eval[string](p, `wecom.me().then(id => id.user_id)`))
	}
}

func TestSPAExample(t *testing.T) {
	site := startExample(t, "spa")
	p := newPage(t, "zh-CN")
	p.open(site + "/#/")
	p.until(`document.querySelector("main").innerText === "This page is for everybody."`)
	eval[string](p, `location.hash = "#/orders/7"`)
	p.scan("wangwu")
	p.until(fmt.Sprintf(`location.href === %s && document.querySelector("main").innerText === "Order 7, as wangwu sees it."`, quoted(site+"/#/orders/7")))
	p.until(`document.getElementById("out").checkVisibility()`)
	eval[bool](p, `setTimeout(() => document.getElementById("out").click(), 0) > 0`)
	p.arrives(site + "/wecom/signed-out")
	assert.Contains(t, p.text(), "已退出登录")
	p.open(site + "/")
	assert.Equal(t, 401, p.fetch("/api/me").Status)
}

func TestCallbackPageExample(t *testing.T) {
	site := startExample(t, "callbackpage")
	p := newPage(t, "zh-CN")
	p.open(site + "/")
	p.until(`document.getElementById("in").checkVisibility()`)
	eval[bool](p, `setTimeout(() => document.getElementById("in").click(), 0) > 0`)
	p.until(`location.pathname === "/wwlogin/sso/login"`)
	require.EqualValues(t, 200, p.pick("wangwu"))
	p.until(fmt.Sprintf(`location.href === %s && document.getElementById("who").innerText === "wangwu"`, quoted(site+"/")))
	eval[bool](p, `setTimeout(() => document.getElementById("out").click(), 0) > 0`)
	p.arrives(site + "/wecom/signed-out")
	p.open(site + "/wecom/callback?state=x")
	p.until(`document.getElementById("who").innerText.includes("登录已取消") && location.pathname === "/"`)
}

// startExample builds and runs an example and returns the origin of its site.
func startExample(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", program, "./examples/"+name)
	build.Dir = ".."
	built, err := build.CombinedOutput()
	require.NoError(t, err, "%s", built)
	cmd := exec.Command(program)
	cmd.Env = []string{"ADDR=127.0.0.1:0", "FAKE_ADDR=127.0.0.1:0"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := openLine.FindStringSubmatch(lines.Text()); found != nil {
			return found[1]
		}
	}
	require.Fail(t, "the program printed no address")
	return ""
}
