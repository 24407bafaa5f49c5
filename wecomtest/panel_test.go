package wecomtest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

const panelPath = "/node/open/js/wecom-jssdk-2.3.4.js"

func frameURL(f *wecomtest.Fake, redirectType string) string {
	return "https://login.work.weixin.qq.com/wwlogin/sso/login?" + url.Values{
		"login_type": {"CorpApp"}, "appid": {f.CorpID()}, "agentid": {f.AgentID()}, "state": {"s1"},
		"redirect_uri": {"https://app.example.com/cb"}, "redirect_type": {redirectType},
	}.Encode()
}

// told reads what the frame's script is given.
func told(body string) map[string]string {
	tag := regexp.MustCompile(`<script ([^>]*)>`).FindStringSubmatch(body)
	if tag == nil {
		return nil
	}
	data := map[string]string{}
	for _, m := range regexp.MustCompile(`data-(\w+)="([^"]*)"`).FindAllStringSubmatch(tag[1], -1) {
		if m[2] != "" {
			data[m[1]] = html.UnescapeString(m[2])
		}
	}
	return data
}

func TestPanelScript(t *testing.T) {
	f := wecomtest.New()
	for _, host := range []string{"wwcdn.weixin.qq.com", "127.0.0.1:8081"} {
		r := httptest.NewRequest("GET", "https://"+host+panelPath, nil)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		assert.Equal(t, 200, w.Code, host)
		assert.Equal(t, "text/javascript; charset=utf-8", w.Header().Get("Content-Type"))
		assert.Contains(t, w.Body.String(), "createWWLoginPanel")
	}
	assert.Equal(t, 2, f.Calls(panelPath))
	assert.Zero(t, f.TotalCalls(), "it is no part of the API")
	for _, other := range []string{"https://qyapi.weixin.qq.com" + panelPath, "https://wwcdn.weixin.qq.com/cgi-bin/gettoken"} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", other, nil))
		assert.Equal(t, 404, w.Code, other)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("POST", "https://wwcdn.weixin.qq.com"+panelPath, nil))
	assert.Equal(t, 405, w.Code)

	f.Script(panelPath, wecomtest.Fault{Status: 503})
	w = httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", "https://wwcdn.weixin.qq.com"+panelPath, nil))
	assert.Equal(t, 503, w.Code)
}

func TestPanelFrame(t *testing.T) {
	f := wecomtest.New()
	b := f.Browser("https://app.example.com", http.NotFoundHandler())
	waiting := b.Get(frameURL(f, "callback"))
	assert.Equal(t, 200, waiting.Status)
	assert.Equal(t, map[string]string{"origin": "https://app.example.com"}, told(waiting.Body))

	script := regexp.MustCompile(`(?s)<script [^>]*>(.*?)</script>`).FindStringSubmatch(waiting.Body)
	require.NotNil(t, script)
	sum := sha256.Sum256([]byte(script[1]))
	assert.Contains(t, waiting.Header.Get("Content-Security-Policy"), "script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")

	picked := b.PostForm(frameURL(f, "callback"), url.Values{"who": {"lisi"}})
	assert.Equal(t, 200, picked.Status, "the frame stays where it is")
	codes := f.Codes()
	require.Len(t, codes, 1)
	assert.Equal(t, map[string]string{"origin": "https://app.example.com", "code": codes[0].Value}, told(picked.Body))
	assert.Equal(t, "lisi", codes[0].Who)
	assert.False(t, codes[0].InApp)

	refused := b.PostForm(frameURL(f, "callback"), url.Values{"action": {"refuse"}})
	assert.Equal(t, 200, refused.Status)
	assert.NotContains(t, told(refused.Body), "code")

	f.SignInAs("zhangsan")
	at := told(b.Get(frameURL(f, "callback")).Body)
	assert.NotEmpty(t, at["code"])

	top := told(b.Get(frameURL(f, "top")).Body)
	assert.True(t, strings.HasPrefix(top["top"], "https://app.example.com/cb?code="), top["top"])
	assert.True(t, strings.HasSuffix(top["top"], "&state=s1"), top["top"])
	self := b.GetNoFollow(frameURL(f, "self"))
	assert.Equal(t, 302, self.Status)
	assert.True(t, strings.HasPrefix(self.Location(), "https://app.example.com/cb?code="))

	f.TrustDomain("other.example.com")
	failed := told(b.Get(frameURL(f, "callback")).Body)
	assert.Equal(t, "-31020", failed["errcode"])
	assert.NotContains(t, failed, "code")
	assert.Nil(t, told(b.Get(strings.Replace(frameURL(f, ""), "&redirect_type=", "", 1)).Body), "outside of a panel there is no script")
}
