package wecom_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

// A company with staff in WeCom and customers in Weixin, on one site:
// /staff for the staff, /account for customers, /catalogue for both.
type company struct {
	fake             *wecomtest.Fake
	staff, customers *wecom.Middleware
	app              http.Handler
}

// customerOpenID is the user id of the staff's zhangsan.
const customerOpenID = "zhangsan"

func newCompany(t *testing.T) *company {
	t.Helper()
	c := &company{fake: wecomtest.New()}
	shop := c.fake.WeixinWebsite()
	c.fake.AddWeixinUser(wecomtest.WeixinUser{ID: "a customer", Nickname: "张三", OpenIDs: map[string]string{shop.AppID: customerOpenID}})
	log := slog.New(slog.NewTextHandler(io.Discard, nil))

	o := c.fake.Options(site + "/wecom/callback")
	o.Logger = log
	o.SessionStore = memstore.NewWithCleanupInterval(0) // one for both
	var err error
	c.staff, err = wecom.New(o)
	require.NoError(t, err)

	secret := wecom.NewSecret(shop.Secret)
	website, err := weixin.NewWebsite(weixin.Options{AppID: shop.AppID, Secret: secret, Transport: c.fake.Transport()})
	require.NoError(t, err)
	c.customers, err = wecom.New(wecom.Options{
		Provider: website, Secret: secret, CallbackURL: site + "/weixin/callback", Logger: log, SessionStore: o.SessionStore,
	})
	require.NoError(t, err)

	mux := http.NewServeMux()
	page := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, ok := wecom.FromContext(r.Context())
			fmt.Fprintf(w, "%s for %s %t", name, id.Key(), ok)
		})
	}
	mux.Handle("/wecom/", c.staff.Routes())
	mux.Handle("/weixin/", c.customers.Routes())
	mux.Handle("/staff/", c.staff.Handler(page("staff")))
	mux.Handle("/account/", c.customers.Handler(page("account")))
	mux.Handle("/catalogue/", wecom.AnyOf(c.staff, c.customers)(page("catalogue")))
	c.app = mux
	return c
}

func (c *company) browser(who string) *wecomtest.Browser {
	return c.fake.Browser(site, c.app).SignInAs(who)
}

const (
	staffKey    = "wecom:ww0123456789abcdef:user:zhangsan"
	customerKey = "weixin:wx0123456789abcdef:openid:zhangsan"
)

func TestStaffAndCustomersOnOneSite(t *testing.T) {
	c := newCompany(t)
	staff, guest := c.browser("zhangsan"), c.browser("a customer")

	assert.Equal(t, "staff for "+staffKey+" true", staff.Get("/staff/").Body)
	assert.Equal(t, "account for "+customerKey+" true", guest.Get("/account/").Body)
	assert.Equal(t, "catalogue for "+staffKey+" true", staff.Get("/catalogue/").Body)
	assert.Equal(t, "catalogue for "+customerKey+" true", guest.Get("/catalogue/").Body)

	// A customer whose openid is a member's user id is nobody on the staff's pages.
	for _, path := range []string{"/staff/", "/staff/salaries", "/staff/../staff/"} {
		res := guest.GetNoFollow(path)
		assert.Contains(t, res.Header.Get("Location"), "https://login.work.weixin.qq.com/", path)
		res = guest.Fetch("GET", path, "")
		assert.Equal(t, 401, res.Status, path)
		assert.NotContains(t, res.Body, "for ")
	}
	assert.Equal(t, 401, guest.Fetch("GET", "/wecom/session", "").Status)
	assert.Equal(t, 401, staff.Fetch("GET", "/weixin/session", "").Status)

	// Nor does it help to send the cookies under the other's names.
	for _, c1 := range guest.Cookies("/") {
		for _, c2 := range staff.Cookies("/") {
			r := request("GET", "/staff/")
			r.AddCookie(&http.Cookie{Name: c2.Name, Value: c1.Value})
			assert.NotEqual(t, 200, do(c.app, r).Code)
		}
	}

	t.Run("a callback of the other provider", func(t *testing.T) {
		b := c.browser("a customer")
		b.StopAt(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/callback") })
		held := b.Get("/account/")
		require.True(t, held.Held)
		b.StopAt(nil)
		res := b.Get(strings.Replace(held.URL, "/weixin/callback", "/wecom/callback", 1))
		assert.Equal(t, 400, res.Status)
		assert.Equal(t, 401, b.Fetch("GET", "/wecom/session", "").Status)
	})
	t.Run("a code of the other provider", func(t *testing.T) {
		b := c.browser("zhangsan")
		b.StopAt(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/callback") })
		held := b.Get("/staff/")
		require.True(t, held.Held)
		b.StopAt(nil)
		code := c.fake.IssueCode(wecomtest.Grant{Who: "a customer", WeixinAppID: "wx0123456789abcdef"})
		u := mustParse(t, held.URL)
		q := u.Query()
		q.Set("code", code)
		u.RawQuery = q.Encode()
		res := b.GetNoFollow(u.String())
		assert.Equal(t, 302, res.Status, "starts over")
		assert.Equal(t, 401, b.Fetch("GET", "/wecom/session", "").Status)
		assert.Equal(t, 1, c.fake.Sent(code), "WeCom has been asked, and knows no such code")
	})
}

func TestAnyOfAsksWhoNobodyKnows(t *testing.T) {
	c := newCompany(t)
	for lang, want := range map[string][]string{"zh": {"企业微信登录", "微信登录"}, "en": {"Sign in with WeCom", "Sign in with Weixin"}} {
		b := c.browser("zhangsan").SetLanguage(lang)
		res := b.Get("/catalogue/shoes?size=42")
		assert.Equal(t, 401, res.Status)
		assert.Contains(t, res.Body, `href="/wecom/login?return_to=%2Fcatalogue%2Fshoes%3Fsize%3D42"`)
		assert.Contains(t, res.Body, `href="/weixin/login?return_to=%2Fcatalogue%2Fshoes%3Fsize%3D42"`)
		for _, text := range want {
			assert.Contains(t, res.Body, ">"+text+"<")
		}
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		assert.Empty(t, res.Header["Set-Cookie"], "nothing has begun")
	}

	b := c.browser("a customer")
	b.Get("/catalogue/shoes")
	assert.Equal(t, "catalogue for "+customerKey+" true", b.Click("/weixin/login?return_to=%2Fcatalogue%2Fshoes").Body)

	b = c.browser("zhangsan")
	for _, answer := range []*wecomtest.Response{
		b.Fetch("GET", "/catalogue/", ""), b.Fetch("POST", "/catalogue/", "{}"),
	} {
		assert.Equal(t, 401, answer.Status)
		assert.Contains(t, answer.Body, `"error":"login_required"`)
		assert.Contains(t, answer.Body, `"login_url":"/wecom/login"`)
	}
	form := b.PostForm("/catalogue/", nil)
	assert.Equal(t, 401, form.Status)
	assert.Contains(t, form.Body, "选择登录方式")
	head := request("HEAD", "/catalogue/")
	res := do(c.app, head)
	assert.Equal(t, 401, res.Code)
	assert.Empty(t, res.Body.String())
}

func TestAnyOfTheFirstCounts(t *testing.T) {
	c := newCompany(t)
	b := c.browser("zhangsan")
	require.Equal(t, 200, b.Get("/staff/").Status)
	require.Equal(t, 200, b.SignInAs("a customer").Get("/account/").Status)
	assert.Equal(t, "catalogue for "+staffKey+" true", b.Get("/catalogue/").Body, "signed in with both")
	assert.Equal(t, 200, b.Post("/wecom/logout").Status)
	assert.Equal(t, "catalogue for "+customerKey+" true", b.Get("/catalogue/").Body)
	assert.Equal(t, 200, b.Post("/weixin/logout").Status)
	assert.Equal(t, 401, b.Get("/catalogue/").Status)
}

func TestAnyOfServesTheOwnRoutes(t *testing.T) {
	c := newCompany(t)
	all := wecom.AnyOf(c.staff, c.customers)(http.NotFoundHandler())
	for _, path := range []string{"/wecom/login", "/weixin/login"} {
		assert.Equal(t, 302, do(all, request("GET", path)).Code, path)
	}
	assert.Equal(t, 405, do(all, request("GET", "/weixin/logout")).Code)
}

// Only what one of its own middlewares put into the context counts.
func TestAnyOfTrustsNoIdentityInTheContext(t *testing.T) {
	c := newCompany(t)
	h := wecom.AnyOf(c.staff, c.customers)(hello())
	r := request("GET", "/")
	r = r.WithContext(wecom.NewContext(r.Context(), wecom.Identity{Provider: "wecom", CorpID: c.fake.CorpID(), AppID: c.fake.AgentID(), UserID: "zhangsan"}))
	assert.Equal(t, 401, do(h, r).Code)

	third := fixed(t)
	h = third.Handler(wecom.AnyOf(c.staff, c.customers)(hello()))
	r = request("GET", "/")
	for _, cookie := range signInFixed(t, third, "zhangsan") {
		r.AddCookie(cookie)
	}
	assert.Equal(t, 401, do(h, r).Code)
}

func TestAnyOfNoneLetsNobodyIn(t *testing.T) {
	c := newCompany(t)
	for name, ms := range map[string][]*wecom.Middleware{
		"none": {}, "nil": {nil}, "zero": {new(wecom.Middleware)}, "one good and one nil": {c.staff, nil},
	} {
		called := false
		h := wecom.AnyOf(ms...)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
		assert.Equal(t, 500, do(h, request("GET", "/")).Code, name)
		assert.False(t, called, name)
	}
}
