package wecomtest_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/wecomtest"
)

// console asks for the fake's own page, or presses a button of it.
func console(fake *wecomtest.Fake, method, target string, form url.Values, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept-Language", "en")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res := httptest.NewRecorder()
	fake.ServeHTTP(res, r)
	return res
}

const consoleURL = "http://127.0.0.1:8081/"

func press(t *testing.T, fake *wecomtest.Fake, name, value string) {
	t.Helper()
	require.Equal(t, 303, console(fake, "POST", consoleURL, url.Values{name: {value}}).Code)
}

// tale returns the lines of what happened, without their times.
func tale(page string) (lines []string) {
	for _, m := range regexp.MustCompile(`(?s)<time>[0-9:]+</time><p>(.*?)</p>`).FindAllStringSubmatch(page, -1) {
		lines = append(lines, html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(strings.TrimSpace(m[1]), "")))
	}
	return lines
}

// newConsole returns a fake, and two browsers that are signed in to an application which receives its events.
func newConsole(t *testing.T) (fake *wecomtest.Fake, zhangsan, lisi *wecomtest.Browser) {
	const site, token, key = "https://app.example.com", "Tok3nForTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	fake = wecomtest.New()
	auth, err := wecom.New(fake.Options(site + "/wecom/callback"))
	require.NoError(t, err)
	receiver, err := events.New(events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), Middlewares: []*wecom.Middleware{auth}})
	require.NoError(t, err)
	require.NoError(t, fake.SaveEventReceiver(wecomtest.EventReceiver{AgentID: fake.AgentID(), URL: site + "/wecom/events", Handler: receiver, Token: token, EncodingAESKey: key}))
	app := auth.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	zhangsan, lisi = fake.Browser(site, app).SignInAs("zhangsan"), fake.Browser(site, app).SignInAs("lisi")
	require.Equal(t, 200, zhangsan.Get("/").Status)
	require.Equal(t, 200, lisi.Get("/").Status)
	return fake, zhangsan, lisi
}

// The fake's own page says who signed in where, and has buttons by which they leave and come back.
func TestConsoleLeavers(t *testing.T) {
	fake, zhangsan, lisi := newConsole(t)
	page := console(fake, "GET", consoleURL, nil).Body.String()
	assert.Contains(t, page, `name="leaves" value="zhangsan"`)
	assert.Contains(t, page, "lisi · app.example.com")
	assert.NotContains(t, page, "wangwu")

	var changes []string
	fake.OnChange(func() { changes = append(changes, string(fake.Contacts())) })
	press(t, fake, "leaves", "zhangsan")
	assert.NotEqual(t, 200, zhangsan.GetNoFollow("/").Status)
	assert.Equal(t, 200, lisi.GetNoFollow("/").Status)
	require.Len(t, changes, 1)
	assert.NotContains(t, changes[0], "zhangsan@")

	press(t, fake, "returns", "zhangsan")
	assert.Equal(t, 200, zhangsan.Get("/wecom/login?return_to=/").Status)
	press(t, fake, "disables", "lisi")
	assert.NotEqual(t, 200, lisi.GetNoFollow("/").Status)
	press(t, fake, "enables", "lisi")
	m, _ := fake.Member("lisi")
	assert.Equal(t, wecomtest.Active, m.Status)
	press(t, fake, "leaves", "nobody")
	assert.Len(t, changes, 5)
}

// A person has one button, however many applications they are signed in to; somebody who is no
// member cannot leave.
func TestConsoleButtons(t *testing.T) {
	fake, _, _ := newConsole(t)
	auth, err := wecom.New(fake.Options("https://other.example.com/wecom/callback"))
	require.NoError(t, err)
	for _, who := range []string{"zhangsan", "oFakeOutsider0000000000000001"} {
		fake.Browser("https://other.example.com", auth.Handler(http.NotFoundHandler())).SignInAs(who).Get("/")
	}
	const member, outsider = `value="zhangsan"`, `value="oFakeOutsider0000000000000001"`
	story := console(fake, "GET", consoleURL+"story", nil).Body.String()
	assert.Equal(t, 1, strings.Count(story, member))
	assert.NotContains(t, story, outsider)
	page := console(fake, "GET", consoleURL, nil).Body.String()
	assert.Equal(t, 4, strings.Count(page, member), "two rows of two buttons")
	assert.Contains(t, page, "oFakeOutsider0000000000000001 · other.example.com")
	assert.NotContains(t, page, outsider)
}

// No page of another site presses a button, also not one whose name leads to this address.
func TestConsoleFromElsewhere(t *testing.T) {
	fake, zhangsan, _ := newConsole(t)
	leaves := url.Values{"leaves": {"zhangsan"}}
	assert.Equal(t, 403, console(fake, "POST", consoleURL, leaves, "Sec-Fetch-Site", "cross-site").Code)
	assert.Equal(t, 403, console(fake, "POST", "http://rebound.example.com:8081/", leaves).Code)
	assert.Equal(t, 400, console(fake, "POST", consoleURL, url.Values{"leaves": {strings.Repeat("x", 1<<17)}}).Code)
	assert.Equal(t, 200, zhangsan.GetNoFollow("/").Status)
	for _, host := range []string{"localhost:8081", "[::1]:8081", "127.0.0.1"} {
		assert.Equal(t, 303, console(fake, "POST", "http://"+host+"/", url.Values{"tokens": {"kill"}}).Code, host)
	}
	assert.Contains(t, console(fake, "GET", consoleURL, nil).Header().Get("Content-Security-Policy"), "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*")
}

func TestConsoleStory(t *testing.T) {
	fake, _, _ := newConsole(t)
	story := func(header ...string) string {
		return console(fake, "GET", consoleURL+"story?who=zhangsan", nil, header...).Body.String()
	}
	assert.Equal(t, []string{
		"app.example.com redirected a browser here to sign in, with a state; the matching cookie stays on its own host",
		"张三 agreed: the browser returns to app.example.com with a code and the state, which is checked against the cookie before the code is used",
		"gettoken an access token was fetched and is cached",
		"auth/getuserinfo the code was exchanged: it is 张三. The code cannot be used again",
	}, tale(story())[:4])
	assert.NotContains(t, story(), `value="lisi"`)

	for range 3 {
		story("Sec-Fetch-Dest", "iframe")
	}
	lines := tale(story())
	assert.Equal(t, "A session was created: 3 pages opened since then, without a call to WeCom", lines[len(lines)-1])

	api, err := wecom.NewClient(fake.Options("https://app.example.com/wecom/callback"))
	require.NoError(t, err)
	_, err = api.Departments(t.Context(), 0)
	require.NoError(t, err)
	lines = tale(story())
	assert.Equal(t, "department/list the names of the departments were read", lines[len(lines)-1])

	press(t, fake, "tokens", "kill")
	press(t, fake, "mishap", "busy")
	fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	client := fake.Client()
	res, err := client.Get("https://qyapi.weixin.qq.com/cgi-bin/gettoken?corpid=" + fake.CorpID() + "&corpsecret=" + fake.Secret())
	require.NoError(t, err)
	_ = res.Body.Close()
	press(t, fake, "mishap", "")
	press(t, fake, "leaves", "zhangsan")
	lines = tale(story())
	assert.Equal(t, []string{
		"all access tokens were invalidated before they expired",
		"a fault was switched on",
		"张三 agreed: the browser returns to  with a code and the state, which is checked against the cookie before the code is used",
		"gettoken -1",
		"the fault was switched off",
		"张三 left the company",
		"sent the event unsubscribe to app.example.com, which answered 200",
	}, lines[len(lines)-7:])
	assert.Equal(t, 0, strings.Count(story(), fake.Secret()))

	for range 300 {
		press(t, fake, "tokens", "kill")
	}
	assert.Len(t, tale(story()), 8)
	assert.Len(t, tale(console(fake, "GET", consoleURL, nil).Body.String()), 100)
}

// A program of any language says in the console where it wants its events.
func TestConsoleEventReceiver(t *testing.T) {
	const token, key = "Tok3nForTests", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	require.NoError(t, err)
	receiver, err := events.New(events.Options{Token: wecom.NewSecret(token), EncodingAESKey: wecom.NewSecret(key), Middlewares: []*wecom.Middleware{auth}})
	require.NoError(t, err)
	app := httptest.NewServer(receiver)
	defer app.Close()
	form := url.Values{"receiver": {app.URL + "/wecom/events"}, "token": {token}, "key": {key}}
	assert.Equal(t, 303, console(fake, "POST", consoleURL, form).Code)
	assert.Contains(t, console(fake, "GET", consoleURL, nil).Body.String(), app.URL)
	press(t, fake, "leaves", "zhangsan")
	require.Len(t, fake.Deliveries(), 1)
	assert.Equal(t, 200, fake.Deliveries()[0].Status)

	form.Set("key", "short")
	assert.Equal(t, 400, console(fake, "POST", consoleURL, form).Code)
}

// A server has the demo corp's pictures at its own address.
func TestPictures(t *testing.T) {
	fake := wecomtest.New()
	a := fake.App()
	a.LegacyFields = true
	fake.AddApp(a)
	server, err := fake.Start("")
	require.NoError(t, err)
	defer server.Close()
	client, err := wecom.NewClient(server.Options("http://127.0.0.1:8080/wecom/callback"))
	require.NoError(t, err)
	m, err := client.User(t.Context(), "zhangsan")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(m.AvatarURL, server.URL()), m.AvatarURL)
	res := console(fake, "GET", m.AvatarURL, nil)
	assert.Equal(t, "image/svg+xml", res.Header().Get("Content-Type"))
	assert.Contains(t, res.Body.String(), ">张<")
	assert.Equal(t, 404, console(fake, "GET", strings.ReplaceAll(m.AvatarURL, "zhangsan", "nobody"), nil).Code)
}
