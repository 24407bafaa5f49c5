package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/wecomtest"
)

const deepLink = "/reports?from=2026-01-01&to=2026-02-01"

var openLine = regexp.MustCompile(`^Open (http://[^ ]+)/ in a browser`)

// startQuickstart runs the program and returns the origin of its site. Without
// a fake it runs as a newcomer runs it, but for the ports; env is added.
func startQuickstart(t *testing.T, fake *wecomtest.Fake, env ...string) string {
	t.Helper()
	program, err := quickstartProgram()
	require.NoError(t, err)
	if fake != nil {
		server, err := fake.Start("")
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Close() })
		at := server.Endpoints()
		env = append(env, "WECOM_CORP_ID="+fake.CorpID(), "WECOM_AGENT_ID="+fake.AgentID(), "WECOM_SECRET="+fake.Secret(),
			"WECOM_API_URL="+at.API, "WECOM_AUTHORIZE_URL="+at.Authorize, "WECOM_WEB_LOGIN_URL="+at.WebLogin)
	}
	cmd := exec.Command(program)
	cmd.Env = append([]string{"ADDR=127.0.0.1:0", "FAKE_ADDR=127.0.0.1:0"}, env...)
	var logs logtest.Buffer
	cmd.Stderr = &logs
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the quickstart logged\n%s", logs.String())
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found := openLine.FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return found[1]
		}
	}
	require.Fail(t, "the quickstart did not start", logs.String())
	return ""
}

// signedInAs asks the site who this browser is, "" for nobody.
func (p *page) signedInAs() string {
	p.Helper()
	got := p.fetch("/api/me")
	if got.Status != 200 {
		return ""
	}
	var me struct {
		CorpID string `json:"corp_id"`
		UserID string `json:"user_id"`
	}
	require.NoError(p, json.Unmarshal([]byte(got.Body), &me), got.Body)
	require.NotEmpty(p, me.CorpID)
	return me.UserID
}

func TestQuickstartWithoutConfiguration(t *testing.T) {
	site := startQuickstart(t, nil)
	p := newPage(t, "zh-CN")

	require.EqualValues(t, 200, p.open(site+deepLink))
	assert.Contains(t, p.href(), "/wwlogin/sso/login?login_type=CorpApp&", "the web-login page")
	assert.Contains(t, p.text(), "企业微信登录")
	require.EqualValues(t, 200, p.pick("zhangsan"))

	assert.Equal(t, site+deepLink, p.href(), "back at the very page")
	assert.Contains(t, p.text(), "zhangsan")
	assert.Contains(t, p.text(), deepLink)
	assert.Contains(t, p.text(), "2 研发部")
	assert.NotContains(t, p.href(), "code=")

	require.EqualValues(t, 200, p.open(site+"/api/me"))
	var me map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.text()), &me))
	assert.Equal(t, "zhangsan", me["user_id"])
	assert.NotEmpty(t, me["corp_id"])
	assert.Equal(t, 1, p.visits("/wecom/callback?"))
}

// Somebody leaves the company, by a button on the fake's page: the next click is over.
func TestQuickstartLeaver(t *testing.T) {
	site := startQuickstart(t, nil)
	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(site+deepLink))
	fake, _, _ := strings.Cut(p.href(), "/wwlogin/")
	require.EqualValues(t, 200, p.pick("zhangsan"))
	require.Equal(t, "zhangsan", p.signedInAs())

	other := p.tab()
	require.EqualValues(t, 200, other.open(fake+"/"))
	require.EqualValues(t, 200, other.click(`button[value=zhangsan]`))
	p.open(site + "/next")
	assert.NotContains(t, p.text(), "zhangsan")
}

// The button ends this person's sessions in every browser, and nobody else's.
func TestQuickstartSignsOutEverywhere(t *testing.T) {
	site := startQuickstart(t, nil)
	here, there, other := newPage(t, "zh-CN"), newPage(t, "zh-CN"), newPage(t, "en-US")
	for _, p := range []*page{here, there, other} {
		require.EqualValues(t, 200, p.open(site+"/"))
		who := "zhangsan"
		if p == other {
			who = "lisi"
		}
		require.EqualValues(t, 200, p.pick(who))
	}
	assert.Contains(t, here.text(), "你好，张三")
	assert.Contains(t, other.text(), "Hello, 李四")
	require.EqualValues(t, 200, here.click(`form[action="/wecom/logout?everywhere=1"] button`))
	assert.Equal(t, site+"/wecom/signed-out", here.href())
	assert.Empty(t, there.signedInAs())
	assert.Equal(t, "lisi", other.signedInAs())
}

func TestQuickstartInsideWeCom(t *testing.T) {
	site := startQuickstart(t, nil)
	p := newPage(t, "")
	p.pretend(wecomtest.UserAgentWeComAndroid, "zh-CN")

	require.EqualValues(t, 200, p.open(site+deepLink))
	assert.Regexp(t, `/connect/oauth2/authorize\?appid=[^&]+&redirect_uri=[^&]+&response_type=code&scope=snsapi_base&state=[0-9a-f]+&agentid=[0-9]+.*#wechat_redirect$`, p.href())
	require.EqualValues(t, 200, p.pick("lisi"))
	assert.Equal(t, site+deepLink, withoutFragment(p.href()))
	assert.Equal(t, "lisi", p.signedInAs())

	p.dropCookies()
	p.setCookie(site, "fake_wecom_member", "lisi")
	require.EqualValues(t, 200, p.open(site+"/again"), "WeCom's client knows who is signed in to it: nobody is asked")
	assert.Equal(t, site+"/again", withoutFragment(p.href()))
	assert.Equal(t, "lisi", p.signedInAs())
}

func withoutFragment(address string) string {
	address, _, _ = strings.Cut(address, "#")
	return address
}

func TestQuickstartPrivateInfo(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake, "WECOM_SCOPE=snsapi_privateinfo")

	t.Run("refused", func(t *testing.T) {
		p := newPage(t, "")
		p.pretend(wecomtest.UserAgentWeComAndroid, "zh-CN")
		require.EqualValues(t, 200, p.open(site+deepLink))
		assert.Contains(t, p.href(), "scope=snsapi_privateinfo")
		require.EqualValues(t, 200, p.pick("zhangsan"))
		require.EqualValues(t, 403, p.click(`button[value=refuse]`))
		assert.Contains(t, p.text(), "登录已取消")
		assert.Contains(t, p.href(), site+"/wecom/callback?")
		assert.Equal(t, 0, fake.Calls("auth/getuserinfo"))
	})
	t.Run("allowed", func(t *testing.T) {
		p := newPage(t, "")
		p.pretend(wecomtest.UserAgentWeComAndroid, "zh-CN")
		require.EqualValues(t, 200, p.open(site+deepLink))
		require.EqualValues(t, 200, p.pick("zhangsan"))
		require.EqualValues(t, 200, p.click(`button[value=allow]`))
		assert.Equal(t, site+deepLink, withoutFragment(p.href()))
		assert.Equal(t, "zhangsan", p.signedInAs())
	})
}

func TestT12_LogoutInABrowser(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	p.open(site + deepLink)
	require.EqualValues(t, 200, p.pick("zhangsan"))

	require.EqualValues(t, 200, p.click(`form[action="/wecom/logout"] button`))
	assert.Equal(t, site+"/wecom/signed-out", p.href())
	assert.Contains(t, p.text(), "已退出")
	for _, c := range p.cookies(site) {
		assert.False(t, isSessionCookie(c.Name), c.Name)
	}
	assert.Equal(t, 1, fake.Calls("auth/getuserinfo"), "nobody signed in again")

	require.EqualValues(t, 200, p.click(`main a`))
	assert.Contains(t, p.href(), "/wwlogin/sso/login", "the button asks WeCom again")
	require.EqualValues(t, 200, p.pick("lisi"))
	assert.Equal(t, "lisi", p.signedInAs())
}

// The first page of another site, cross-site or merely cross-origin, signs nobody out.
func TestT12_LogoutFromAnotherSite(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	p.open(site + "/")
	require.EqualValues(t, 200, p.pick("zhangsan"))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stranger := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!doctype html><form method="post" action="%s/wecom/logout"><button>win a prize</button></form>`, site)
	})}
	go func() { _ = stranger.Serve(listener) }()
	t.Cleanup(func() { _ = stranger.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	for _, host := range []string{"localhost", "127.0.0.1"} { // another site; the same site, another origin
		p.open("http://" + host + ":" + port + "/")
		assert.EqualValues(t, 403, p.click("button"), host)
		assert.Contains(t, p.href(), "/wecom/logout")
		require.EqualValues(t, 200, p.open(site+"/still"), host)
		assert.Equal(t, "zhangsan", p.signedInAs(), host)
	}
}

func TestF9_BackReloadAndOldCallbacks(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	p.open(site + deepLink)
	require.EqualValues(t, 200, p.pick("zhangsan"))
	require.Equal(t, site+deepLink, p.href())
	callback := p.last("/wecom/callback?")
	exchanged := func() int { return fake.Calls("auth/getuserinfo") }
	require.Equal(t, 1, exchanged())

	t.Run("back", func(t *testing.T) {
		p.back()
		assert.Contains(t, p.href(), "/wwlogin/sso/login", "the code's URL is not in the history")
		require.EqualValues(t, 200, p.pick("zhangsan"))
		assert.Equal(t, site+deepLink, p.href(), "to the page, by the session that there is")
		assert.Equal(t, 1, exchanged())
	})
	t.Run("the callback once more", func(t *testing.T) {
		require.EqualValues(t, 200, p.open(callback))
		assert.Equal(t, site+deepLink, p.href())
		assert.Equal(t, 1, exchanged())
	})
	t.Run("in a new tab", func(t *testing.T) {
		other := p.tab()
		require.EqualValues(t, 200, other.open(callback))
		assert.Equal(t, site+deepLink, other.href())
		assert.Equal(t, 1, exchanged())
	})
	t.Run("somebody else's browser", func(t *testing.T) {
		victim := newPage(t, "zh-CN")
		require.EqualValues(t, 200, victim.open(callback))
		assert.Contains(t, victim.href(), "/wwlogin/sso/login", "a sign-in of their own")
		assert.Equal(t, 1, exchanged())
		for _, c := range victim.cookies(site) {
			assert.False(t, isSessionCookie(c.Name))
		}
	})
	assert.Equal(t, "zhangsan", p.signedInAs())
}

func TestT7_Tabs(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake)
	first := newPage(t, "zh-CN")
	tabs := []*page{first, first.tab(), first.tab()}
	for i, p := range tabs {
		require.EqualValues(t, 200, p.open(fmt.Sprintf("%s/tab/%d?a=%%2F&b=//c", site, i)))
	}
	for _, i := range []int{1, 2, 0} {
		require.EqualValues(t, 200, tabs[i].pick("zhangsan"))
		assert.Equal(t, fmt.Sprintf("%s/tab/%d?a=%%2F&b=//c", site, i), tabs[i].href())
	}
	assert.Equal(t, "zhangsan", first.signedInAs())
}

func TestT28_ScriptsGetJSON(t *testing.T) {
	fake := wecomtest.New()
	site := startQuickstart(t, fake)
	p := newPage(t, "zh-CN")
	p.open(site + "/")
	require.EqualValues(t, 200, p.pick("zhangsan"))
	p.dropCookies()
	asked := fake.Calls("/wwlogin/sso/login")

	got := p.fetch("/api/me")
	assert.Equal(t, 401, got.Status)
	assert.Equal(t, "application/json; charset=utf-8", got.Type)
	assert.Equal(t, "no-store", got.Cache)
	var refused struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.Body), &refused))
	assert.Equal(t, "login_required", refused.Error)
	assert.Equal(t, asked, fake.Calls("/wwlogin/sso/login"))
	assert.Empty(t, p.cookies(site), "no attempt was made for a script")

	require.EqualValues(t, 200, p.open(site+refused.LoginURL))
	require.EqualValues(t, 200, p.pick("zhangsan"))
	assert.Equal(t, site+"/", p.href())
}
