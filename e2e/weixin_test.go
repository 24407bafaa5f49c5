package e2e_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// startCompany serves a site for staff, who sign in with WeCom, and customers, who
// sign in with Weixin. The openid of its customer xiaoming is the staff's zhangsan.
func startCompany(t *testing.T) string {
	t.Helper()
	fake := wecomtest.New()
	fake.Configure(func(s *wecomtest.Settings) { s.RefusalStays = true })
	server, err := fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	shop := fake.WeixinWebsite()
	fake.AddWeixinUser(wecomtest.WeixinUser{ID: "xiaoming", Nickname: "小明", OpenIDs: map[string]string{shop.AppID: "zhangsan"}})

	site := httptest.NewUnstartedServer(nil)
	origin := "http://" + site.Listener.Addr().String()
	o := fake.Options(origin + "/wecom/callback")
	o.Endpoints, o.Transport, o.Logger = server.Endpoints(), nil, slog.New(slog.DiscardHandler)
	staff, err := wecom.New(o)
	require.NoError(t, err)
	secret := wecom.NewSecret(shop.Secret)
	website, err := weixin.NewWebsite(weixin.Options{
		AppID: shop.AppID, Secret: secret, Profile: true, Endpoints: weixin.Endpoints{API: server.URL(), Pages: server.URL()},
	})
	require.NoError(t, err)
	customers, err := wecom.New(wecom.Options{
		Provider: website, Secret: secret, CallbackURL: origin + "/weixin/callback", Logger: o.Logger,
	})
	require.NoError(t, err)

	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "%s: %s%s", r.URL.Path, id.Key(), id.Name)
	})
	mux := http.NewServeMux()
	mux.Handle("/wecom/", staff.Routes())
	mux.Handle("/weixin/", customers.Routes())
	mux.Handle("/staff", staff.Handler(hello))
	mux.Handle("/account", customers.Handler(hello))
	mux.Handle("/catalogue", wecom.AnyOf(staff, customers)(hello))
	site.Config.Handler = mux
	site.Start()
	t.Cleanup(site.Close)
	return origin
}

func TestStaffAndCustomersInABrowser(t *testing.T) {
	site := startCompany(t)
	const (
		member   = "wecom:ww0123456789abcdef:user:zhangsan"
		customer = "weixin:wx0123456789abcdef:openid:zhangsan"
	)

	p := newPage(t, "zh-CN")
	require.EqualValues(t, 401, p.open(site+"/catalogue?page=2"))
	assert.Contains(t, p.text(), "选择登录方式")
	assert.Contains(t, p.text(), "企业微信登录")
	require.EqualValues(t, 200, p.click(`a[href^="/weixin/login"]`))
	assert.Regexp(t, `/connect/qrconnect\?appid=wx0123456789abcdef&redirect_uri=[^&]+&response_type=code&scope=snsapi_login&state=[0-9a-f]{76}&lang=cn#wechat_redirect$`, p.href())
	assert.Contains(t, p.text(), "微信登录")
	require.EqualValues(t, 200, p.pick("xiaoming"))
	assert.Equal(t, site+"/catalogue?page=2", withoutFragment(p.href()))
	assert.Equal(t, "/catalogue: "+customer+"小明", p.text())

	require.EqualValues(t, 200, p.open(site+"/account"))
	assert.Equal(t, "/account: "+customer+"小明", p.text())
	assert.Equal(t, 401, p.fetch("/staff").Status, "a customer is nobody on the staff's page")
	require.EqualValues(t, 200, p.open(site+"/staff"))
	assert.Contains(t, p.href(), "/wwlogin/sso/login?", "and is asked to sign in with WeCom")

	q := newPage(t, "en-US")
	require.EqualValues(t, 401, q.open(site+"/catalogue"))
	assert.Contains(t, q.text(), "Sign in with Weixin")
	require.EqualValues(t, 200, q.click(`a[href^="/wecom/login"]`))
	require.EqualValues(t, 200, q.pick("zhangsan"))
	assert.Equal(t, "/catalogue: "+member, q.text())
	require.EqualValues(t, 200, q.open(site+"/staff"))
	assert.Equal(t, "/staff: "+member, q.text())
	assert.Equal(t, 401, q.fetch("/account").Status, "nor is the staff a customer")

	// Both in one browser: the staff's identity counts where either would do.
	require.EqualValues(t, 200, q.open(site+"/account"))
	require.EqualValues(t, 200, q.pick("xiaoming"))
	assert.Equal(t, "/account: "+customer+"小明", q.text())
	require.EqualValues(t, 200, q.open(site+"/catalogue"))
	assert.Equal(t, "/catalogue: "+member, q.text())
}

// Who declines on Weixin's page stays there, and can go back and try again.
func TestDecliningWithWeixinInABrowser(t *testing.T) {
	site := startCompany(t)
	p := newPage(t, "zh-CN")
	require.EqualValues(t, 200, p.open(site+"/account"))
	require.EqualValues(t, 200, p.click(`button[value=refuse]`))
	assert.Contains(t, p.text(), "已取消")
	assert.Zero(t, p.visits("/weixin/callback"))
	require.EqualValues(t, 200, p.open(site+"/account"))
	require.EqualValues(t, 200, p.pick("xiaohong"))
	assert.Contains(t, p.text(), "小红")
}
