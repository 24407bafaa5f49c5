package wecomtest_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wecomauth/wecom/wecomtest"
)

const api = "https://qyapi.weixin.qq.com/cgi-bin/"

// caller is a WeCom client with nothing clever about it.
type caller struct {
	t      *testing.T
	fake   *wecomtest.Fake
	client *http.Client
	token  string
}

func newCaller(t *testing.T, fake *wecomtest.Fake) *caller {
	t.Helper()
	c := &caller{t: t, fake: fake, client: fake.Client()}
	c.token = c.newToken(fake.CorpID(), fake.Secret())
	return c
}

func (c *caller) newToken(corp, secret string) string {
	c.t.Helper()
	v := get(c.client, api+"gettoken?corpid="+corp+"&corpsecret="+url.QueryEscape(secret))
	require.EqualValues(c.t, 0, v["errcode"], v)
	return v["access_token"].(string)
}

func (c *caller) get(path, query string) map[string]any {
	return get(c.client, api+path+"?access_token="+c.token+"&"+query)
}

func (c *caller) post(path, body string) map[string]any {
	return post(c.client, api+path+"?access_token="+c.token, body)
}

func post(client *http.Client, u, body string) map[string]any {
	res, err := client.Post(u, "application/json", strings.NewReader(body))
	return decode(res, err)
}

func TestErrcodes(t *testing.T) {
	type world struct {
		*caller
		code string
	}
	tests := []struct {
		name string
		set  func(*world)
		path string
		post string // the body, if it is a POST
		want int
	}{
		{"no corpid", nil, "gettoken?corpsecret=x", "", 41002},
		{"no secret", nil, "gettoken?corpid=x", "", 41004},
		{"wrong corpid", nil, "gettoken?corpid=wwnone&corpsecret=x", "", 40013},
		{"wrong secret", nil, "gettoken?corpid=ww0123456789abcdef&corpsecret=x", "", 40001},
		{"secret of another corp", func(w *world) {
			w.fake.AddApp(wecomtest.App{CorpID: "wwother", AgentID: "1", Secret: "other"})
		}, "gettoken?corpid=ww0123456789abcdef&corpsecret=other", "", 40091},
		{"app disabled", func(w *world) {
			a := w.fake.App()
			a.Disabled = true
			w.fake.AddApp(a)
		}, "gettoken?corpid=ww0123456789abcdef&corpsecret=$SECRET", "", 50003},

		{"no token", nil, "user/get?userid=lisi", "", 41001},
		{"token in the body", nil, "auth/getuserdetail", `{"access_token":"$TOKEN","user_ticket":"x"}`, 41001},
		{"invented token", nil, "user/get?access_token=x&userid=lisi", "", 40014},
		{"killed token", func(w *world) { w.fake.KillTokens() }, "user/get?access_token=$TOKEN&userid=lisi", "", 40014},
		{"expired token", func(w *world) { w.fake.ExpireTokens() }, "user/get?access_token=$TOKEN&userid=lisi", "", 42001},
		{"untrusted IP", func(w *world) { w.fake.TrustIP("198.51.100.0/24") }, "user/get?access_token=$TOKEN&userid=lisi", "", 60020},
		{"trusted IP", func(w *world) { w.fake.TrustIP("198.51.100.1", "203.0.113.0/24") }, "user/get?access_token=$TOKEN&userid=lisi", "", 0},

		{"no code", nil, "auth/getuserinfo?access_token=$TOKEN", "", 41008},
		{"invented code", nil, "auth/getuserinfo?access_token=$TOKEN&code=x", "", 40029},
		{"good code", nil, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 0},
		{"good code, legacy", nil, "user/getuserinfo?access_token=$TOKEN&code=$CODE", "", 0},
		{"legacy, any agentid", nil, "user/getuserinfo?access_token=$TOKEN&code=$CODE&agentid=1000003", "", 0},
		{"code of another corp", func(w *world) {
			w.fake.AddApp(wecomtest.App{CorpID: "wwother", AgentID: "1000002", Secret: "other"})
			w.fake.AddMember(wecomtest.Member{CorpID: "wwother", UserID: "zhangsan"})
			w.code = w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan", CorpID: "wwother"})
		}, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 40029},
		{"code of another app", func(w *world) {
			w.fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: "third"})
			w.code = w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan", AgentID: "1000003"})
		}, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 40029},
		{"code for an untrusted domain", func(w *world) {
			w.fake.TrustDomain("other.example.com")
			w.code = w.fake.IssueCode(wecomtest.Grant{Who: "zhangsan", RedirectURI: "https://app.example.com/cb"})
		}, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 50001},
		{"code by the contact-sync assistant", func(w *world) {
			w.fake.AddApp(wecomtest.App{Secret: "sync", ContactSync: true})
			w.token = w.newToken(w.fake.CorpID(), "sync")
		}, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 50001},
		{"member has left", func(w *world) { w.fake.RemoveMember("zhangsan") }, "auth/getuserinfo?access_token=$TOKEN&code=$CODE", "", 40029},

		{"detail without ticket", nil, "auth/getuserdetail?access_token=$TOKEN", `{}`, 84090},
		{"detail, invented ticket", nil, "auth/getuserdetail?access_token=$TOKEN", `{"user_ticket":"x"}`, 84015},
		{"detail by GET", nil, "auth/getuserdetail?access_token=$TOKEN", "", 40063},

		{"member", nil, "user/get?access_token=$TOKEN&userid=LiSi", "", 0},
		{"no userid", nil, "user/get?access_token=$TOKEN", "", 41009},
		{"long userid", nil, "user/get?access_token=$TOKEN&userid=" + strings.Repeat("x", 65), "", 40003},
		{"no such member", nil, "user/get?access_token=$TOKEN&userid=nobody", "", 60111},
		{"invisible member", nil, "user/get?access_token=$TOKEN&userid=sunqi", "", 60011},
		{"invisible member, other errcode", func(w *world) {
			w.fake.Configure(func(s *wecomtest.Settings) { s.InvisibleErrcode = 60111 })
		}, "user/get?access_token=$TOKEN&userid=sunqi", "", 60111},
		{"by mobile", nil, "user/getuserid?access_token=$TOKEN", `{"mobile":"13800000002"}`, 0},
		{"by unknown mobile", nil, "user/getuserid?access_token=$TOKEN", `{"mobile":"1"}`, 46004},
		{"by invisible mobile", nil, "user/getuserid?access_token=$TOKEN", `{"mobile":"13800000005"}`, 46004},
		{"by no mobile", nil, "user/getuserid?access_token=$TOKEN", `{}`, 40063},
		{"by no email", nil, "user/get_userid_by_email?access_token=$TOKEN", `x`, 40063},
		{"openid of no userid", nil, "user/convert_to_openid?access_token=$TOKEN", `{}`, 41009},
		{"openid of nobody", nil, "user/convert_to_openid?access_token=$TOKEN", `{"userid":"nobody"}`, 60111},
		{"openid of an invisible member", nil, "user/convert_to_openid?access_token=$TOKEN", `{"userid":"sunqi"}`, 60011},
		{"openid of a member without Weixin", func(w *world) {
			w.fake.AddMember(wecomtest.Member{UserID: "lisi", Departments: []int64{3}, NoWeixin: true})
		}, "user/convert_to_openid?access_token=$TOKEN", `{"userid":"lisi"}`, 43004},
		{"openid by GET", nil, "user/convert_to_openid?access_token=$TOKEN&userid=lisi", "", 40063},
		{"list_id by an ordinary app", nil, "user/list_id?access_token=$TOKEN", `{}`, 48002},

		{"department", nil, "department/get?access_token=$TOKEN&id=2", "", 0},
		{"department without id", nil, "department/get?access_token=$TOKEN", "", 60123},
		{"department, bad id", nil, "department/list?access_token=$TOKEN&id=x", "", 60123},
		{"no such department", nil, "department/simplelist?access_token=$TOKEN&id=99", "", 60003},
		{"invisible department", nil, "department/list?access_token=$TOKEN&id=5", "", 60011},
		{"members of invisible department", nil, "user/simplelist?access_token=$TOKEN&department_id=5", "", 60011},
		{"records of invisible department", nil, "user/list?access_token=$TOKEN&department_id=5", "", 60011},
		{"members of no department", nil, "user/simplelist?access_token=$TOKEN", "", 60123},
		{"members of unknown department", nil, "user/simplelist?access_token=$TOKEN&department_id=99", "", 60003},

		{"agent", nil, "agent/get?access_token=$TOKEN&agentid=1000002", "", 0},
		{"no agentid", nil, "agent/get?access_token=$TOKEN", "", 41011},
		{"agentid is no number", nil, "agent/get?access_token=$TOKEN&agentid=abc", "", 40056},
		{"wrong agentid", nil, "agent/get?access_token=$TOKEN&agentid=1000009", "", 40056},
		{"agent of another app", func(w *world) {
			w.fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: "third"})
		}, "agent/get?access_token=$TOKEN&agentid=1000003", "", 301002},
		{"tag", nil, "tag/get?access_token=$TOKEN&tagid=1", "", 0},
		{"no such endpoint", nil, "message/send?access_token=$TOKEN", `{}`, 48002},
		{"no such endpoint, no token", nil, "anything", "", 48002},
		{"tag is no number", nil, "tag/get?access_token=$TOKEN&tagid=x", "", 40068},
		{"no such tag", nil, "tag/get?access_token=$TOKEN&tagid=9", "", 40068},
		{"ticket", nil, "get_jsapi_ticket?access_token=$TOKEN", "", 0},
		{"app ticket", nil, "ticket/get?access_token=$TOKEN&type=agent_config", "", 0},
		{"app ticket without type", nil, "ticket/get?access_token=$TOKEN", "", 40063},
		{"callback IPs", nil, "getcallbackip?access_token=$TOKEN", "", 0},
		{"API IPs", nil, "get_api_domain_ip?access_token=$TOKEN", "", 0},
	}
	errmsg := regexp.MustCompile(`^[a-z_/ ]+, hint: \[\d{25}\], from ip: 203\.0\.113\.7, more info at https://open\.work\.weixin\.qq\.com/devtool/query\?e=(\d+)$`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := wecomtest.New()
			w := &world{newCaller(t, fake), fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})}
			if tt.set != nil {
				tt.set(w)
			}
			fill := strings.NewReplacer("$TOKEN", w.token, "$CODE", w.code, "$SECRET", fake.Secret())
			var res *http.Response
			var err error
			if tt.post == "" {
				res, err = w.client.Get(api + fill.Replace(tt.path))
			} else {
				res, err = w.client.Post(api+fill.Replace(tt.path), "application/json", strings.NewReader(fill.Replace(tt.post)))
			}
			require.NoError(t, err)
			assert.Equal(t, 200, res.StatusCode)
			v := decode(res, err)
			assert.EqualValues(t, tt.want, v["errcode"], v)
			if tt.want == 0 {
				assert.Equal(t, "ok", v["errmsg"])
				return
			}
			m := errmsg.FindStringSubmatch(fmt.Sprint(v["errmsg"]))
			require.NotNil(t, m, v["errmsg"])
			assert.Equal(t, fmt.Sprint(tt.want), m[1])
		})
	}
}

// Every byte of an answer counts: names, order, numbers that are numbers.
func TestAnswers(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	raw := func(path, query string) string {
		res, err := c.client.Get(api + path + "?access_token=" + c.token + "&" + query)
		require.NoError(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "application/json; charset=UTF-8", res.Header.Get("Content-Type"))
		assert.Equal(t, int64(len(b)), res.ContentLength)
		return string(b)
	}
	code := func(who string) string { return "code=" + fake.IssueCode(wecomtest.Grant{Who: who}) }

	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"zhangsan"}`, raw("auth/getuserinfo", code("ZhangSan")))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"sunqi"}`, raw("auth/getuserinfo", code("sunqi")), "invisible members do sign in")
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"wwfedcba9876543210/zhouba"}`, raw("auth/getuserinfo", code("wwfedcba9876543210/zhouba")))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","openid":"oFakeOutsider0000000000000001"}`, raw("auth/getuserinfo", code("oFakeOutsider0000000000000001")))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","openid":"oFakeCustomer0000000000000001","external_userid":"wmFakeCustomer000000000000000001"}`,
		raw("auth/getuserinfo", code("oFakeCustomer0000000000000001")))
	assert.Regexp(t, `^{"errcode":0,"errmsg":"ok","UserId":"lisi","DeviceId":"\d+"}$`, raw("user/getuserinfo", code("lisi")))
	assert.Regexp(t, `^{"errcode":0,"errmsg":"ok","OpenId":"oFakeOutsider0000000000000001","DeviceId":"\d+"}$`, raw("user/getuserinfo", code("oFakeOutsider0000000000000001")))

	fake.AddMember(wecomtest.Member{UserID: "OldStyle", Name: "老拼写", LegacySpelling: true})
	assert.Regexp(t, `^{"errcode":0,"errmsg":"ok","UserId":"OldStyle","DeviceId":"\d+"}$`, raw("auth/getuserinfo", code("oldstyle")))

	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userid":"zhangsan","name":"张三","department":[2],"order":[0],"position":"研发经理","gender":"0",`+
		`"is_leader_in_dept":[1],"direct_leader":[],"main_department":2,"telephone":"","alias":"","status":1,"enable":1,"isleader":1,"hide_mobile":0,"extattr":{"attrs":[]}}`,
		raw("user/get", "userid=zhangsan"))
	assert.Contains(t, raw("user/get", "userid=zhaoliu"), `"status":2,"enable":0`)
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","department":[{"id":2,"name":"研发部","name_en":"R&D","department_leader":["zhangsan"],"parentid":1,"order":300},`+
		`{"id":4,"name":"平台组","name_en":"Platform","department_leader":[],"parentid":2,"order":100}]}`, raw("department/list", "id=2"))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","department_id":[{"id":2,"parentid":1,"order":300},{"id":3,"parentid":1,"order":200},{"id":4,"parentid":2,"order":100}]}`,
		raw("department/simplelist", ""), "neither the root nor what is outside the visible range")
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","department":{"id":4,"name":"平台组","name_en":"Platform","department_leader":[],"parentid":2,"order":100}}`, raw("department/get", "id=4"))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userlist":[{"userid":"zhangsan","name":"张三","department":[2]}]}`, raw("user/simplelist", "department_id=2"))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userlist":[{"userid":"zhangsan","name":"张三","department":[2]},{"userid":"wangwu","name":"王五","department":[4]}]}`,
		raw("user/simplelist", "department_id=2&fetch_child=1"))
	one := strings.TrimPrefix(raw("user/get", "userid=zhangsan"), `{"errcode":0,"errmsg":"ok",`)
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","userlist":[{`+one+`]}`, raw("user/list", "department_id=2"))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","taglist":[{"tagid":1,"tagname":"值班"}]}`, raw("tag/list", ""))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","agentlist":[{"agentid":1000002,"name":"示例应用","square_logo_url":"https://wework.qpic.cn/wwpic/default/0"}]}`, raw("agent/list", ""))
	assert.Equal(t, `{"errcode":0,"errmsg":"ok","tagname":"值班","userlist":[{"userid":"wangwu","name":"王五"}],"partylist":[3]}`, raw("tag/get", "tagid=1"))
	assert.Contains(t, raw("agent/get", "agentid=1000002"), `"agentid":1000002,"name":"示例应用"`)
	assert.Contains(t, raw("agent/get", "agentid=1000002"), `"allow_userinfos":{"user":[]},"allow_partys":{"partyid":[2,3]},"allow_tags":{"tagid":[]}`)
	assert.Equal(t, map[string]any{"errcode": 0., "errmsg": "ok", "userid": "lisi"}, c.post("user/getuserid", `{"mobile":"13800000002"}`))
	assert.Equal(t, map[string]any{"errcode": 0., "errmsg": "ok", "userid": "lisi"}, c.post("user/get_userid_by_email", `{"email":"LiSi@corp.example.com"}`))
	assert.Equal(t, map[string]any{"errcode": 0., "errmsg": "ok", "userid": "lisi"}, c.post("user/get_userid_by_email", `{"email":"lisi@mail.example.net","email_type":2}`))

	openID := c.post("user/convert_to_openid", `{"userid":"LiSi"}`)["openid"]
	assert.Regexp(t, `^o[0-9A-Za-z_-]{27}$`, openID)
	assert.Equal(t, openID, c.post("user/convert_to_openid", `{"userid":"lisi"}`)["openid"])
	assert.NotEqual(t, openID, c.post("user/convert_to_openid", `{"userid":"wangwu"}`)["openid"])

	a := fake.App()
	a.LegacyFields = true
	fake.AddApp(a)
	v := c.get("user/get", "userid=lisi")
	assert.Equal(t, "2", v["gender"], "a string")
	assert.Equal(t, "lisi@corp.example.com", v["biz_mail"])
	assert.Equal(t, "13800000002", v["mobile"])
}

func TestListID(t *testing.T) {
	fake := wecomtest.New()
	fake.AddApp(wecomtest.App{Secret: "sync", ContactSync: true})
	c := newCaller(t, fake)
	c.token = c.newToken(fake.CorpID(), "sync")
	var seen []any
	cursor := ""
	for range 3 {
		v := c.post("user/list_id", fmt.Sprintf(`{"cursor":%q,"limit":2}`, cursor))
		require.EqualValues(t, 0, v["errcode"], v)
		seen = append(seen, v["dept_user"].([]any)...)
		cursor = v["next_cursor"].(string)
	}
	assert.Empty(t, cursor)
	assert.Len(t, seen, 5)
	assert.Equal(t, map[string]any{"userid": "zhangsan", "department": 2.}, seen[0])
	assert.EqualValues(t, 40058, c.post("user/list_id", `{"cursor":"x"}`)["errcode"])
	assert.EqualValues(t, 40063, c.post("user/list_id", `{`)["errcode"])
}

func TestTokenLife(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	c := newCaller(t, fake)
	first := c.token
	alive := func(token string) any {
		return get(c.client, api+"user/get?access_token="+token+"&userid=lisi")["errcode"]
	}

	now = now.Add(time.Hour)
	v := get(c.client, api+"gettoken?corpid="+fake.CorpID()+"&corpsecret="+fake.Secret())
	assert.Equal(t, first, v["access_token"], "the same while it lives")
	assert.EqualValues(t, 3600, v["expires_in"], "the rest of its life")

	now = now.Add(time.Hour)
	assert.EqualValues(t, 42001, alive(first))
	second := c.newToken(fake.CorpID(), fake.Secret())
	assert.NotEqual(t, first, second)
	assert.EqualValues(t, 0, alive(second))

	fake.KillTokens()
	assert.EqualValues(t, 40014, alive(second))
	third := c.newToken(fake.CorpID(), fake.Secret())
	assert.EqualValues(t, 0, alive(third))

	fake.Configure(func(s *wecomtest.Settings) { s.FreshTokens, s.TokenLifetime = true, time.Minute })
	fourth := c.newToken(fake.CorpID(), fake.Secret())
	assert.NotEqual(t, third, fourth)
	assert.EqualValues(t, 0, alive(third), "earlier ones go on")
	assert.EqualValues(t, 0, alive(fourth))
	now = now.Add(time.Minute)
	assert.EqualValues(t, 42001, alive(fourth))
	assert.EqualValues(t, 0, alive(third))
}

func TestWrongSecretsLockTheAddress(t *testing.T) {
	now := time.Now()
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	fake.Configure(func(s *wecomtest.Settings) { s.WrongSecretLimit = 3 })
	c := newCaller(t, fake)
	try := func(secret string) any {
		return get(c.client, api+"gettoken?corpid="+fake.CorpID()+"&corpsecret="+secret)["errcode"]
	}
	for range 3 {
		assert.EqualValues(t, 40001, try("wrong"))
	}
	assert.EqualValues(t, 45009, try(fake.Secret()), "the right one too")
	now = now.Add(time.Hour)
	assert.EqualValues(t, 0, try(fake.Secret()))
}

func TestCodeLife(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	c := newCaller(t, fake)
	use := func(code string) any { return c.get("auth/getuserinfo", "code="+url.QueryEscape(code))["errcode"] }

	code := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	assert.Len(t, code, 43)
	now = now.Add(5*time.Minute - time.Nanosecond)
	assert.EqualValues(t, 0, use(code))
	assert.EqualValues(t, 40029, use(code), "once")
	assert.Equal(t, 2, fake.Sent(code))

	late := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
	now = now.Add(5 * time.Minute)
	assert.EqualValues(t, 40029, use(late))

	for _, n := range []int{16, 512} {
		fake.Configure(func(s *wecomtest.Settings) { s.CodeLength = n })
		long := fake.IssueCode(wecomtest.Grant{Who: "zhangsan"})
		assert.Len(t, long, n)
		assert.EqualValues(t, 40029, use(strings.ToLower(long)))
		assert.EqualValues(t, 40029, use(long[:n-1]))
		assert.EqualValues(t, 0, use(long))
	}

	// A refused exchange does not use the code up.
	fake.TrustDomain("other.example.com")
	kept := fake.IssueCode(wecomtest.Grant{Who: "zhangsan", RedirectURI: "https://app.example.com/"})
	assert.EqualValues(t, 50001, use(kept))
	fake.TrustDomain("app.example.com")
	assert.EqualValues(t, 0, use(kept))

	codes := fake.Codes()
	require.Len(t, codes, 5)
	assert.Equal(t, code, codes[0].Value)
	assert.Equal(t, 2, codes[0].Sent)
	assert.True(t, codes[0].Used)
	assert.False(t, codes[1].Used)
	assert.Equal(t, "zhangsan", codes[0].Who)
}

func TestUserTicket(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	fake := wecomtest.New()
	fake.SetClock(func() time.Time { return now })
	c := newCaller(t, fake)
	ticket := func(g wecomtest.Grant) any {
		return c.get("auth/getuserinfo", "code="+fake.IssueCode(g))["user_ticket"]
	}
	const private = "snsapi_privateinfo"
	assert.Nil(t, ticket(wecomtest.Grant{Who: "zhangsan", Scope: private}), "web login")
	assert.Nil(t, ticket(wecomtest.Grant{Who: "zhangsan", InApp: true}), "snsapi_base")
	assert.Nil(t, ticket(wecomtest.Grant{Who: "sunqi", InApp: true, Scope: private}), "invisible")
	assert.Nil(t, ticket(wecomtest.Grant{Who: "wwfedcba9876543210/zhouba", InApp: true, Scope: private}), "linked corp")
	assert.Nil(t, ticket(wecomtest.Grant{Who: "oFakeOutsider0000000000000001", InApp: true, Scope: private}), "outsider")

	good := ticket(wecomtest.Grant{Who: "zhangsan", InApp: true, Scope: private})
	require.IsType(t, "", good)
	body := fmt.Sprintf(`{"user_ticket":%q}`, good)
	assert.Equal(t, map[string]any{
		"errcode": 0., "errmsg": "ok", "userid": "zhangsan", "gender": "1", "mobile": "13800000001",
		"avatar": "https://wework.qpic.cn/wwpic/fake_zhangsan/0", "qr_code": "https://open.work.weixin.qq.com/wwopen/userQRCode?vcode=fake_zhangsan",
		"email": "zhangsan@mail.example.net", "biz_mail": "zhangsan@corp.example.com", "address": "广州市海珠区新港中路",
	}, c.post("auth/getuserdetail", body))
	old := c.post("user/getuserdetail", body)
	assert.Equal(t, "张三", old["name"])
	assert.Equal(t, []any{2.}, old["department"])
	assert.Equal(t, "研发经理", old["position"])
	assert.Equal(t, "13800000001", old["mobile"])

	a := fake.App()
	a.SensitiveFields = []string{}
	fake.AddApp(a)
	assert.EqualValues(t, 92001, c.post("auth/getuserdetail", body)["errcode"])
	a.SensitiveFields = nil
	a.VisibleDepartments = []int64{3}
	fake.AddApp(a)
	assert.EqualValues(t, 92000, c.post("auth/getuserdetail", body)["errcode"])

	now = now.Add(30 * time.Minute)
	assert.EqualValues(t, 84014, c.post("auth/getuserdetail", body)["errcode"])
	assert.EqualValues(t, 84014, c.post("user/getuserdetail", body)["errcode"])
}

func TestVisibleRange(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	seen := func() (ids []string) {
		for _, id := range []string{"zhangsan", "lisi", "wangwu", "zhaoliu", "sunqi"} {
			if c.get("user/get", "userid="+id)["errcode"] == 0. {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for _, tt := range []struct {
		name string
		app  wecomtest.App
		want []string
	}{
		{"everybody", wecomtest.App{}, []string{"zhangsan", "lisi", "wangwu", "zhaoliu", "sunqi"}},
		{"users", wecomtest.App{VisibleUsers: []string{"SunQi"}}, []string{"sunqi"}},
		{"department and below", wecomtest.App{VisibleDepartments: []int64{2}}, []string{"zhangsan", "wangwu"}},
		{"tag of users and departments", wecomtest.App{VisibleTags: []int64{1, 99}}, []string{"lisi", "wangwu", "zhaoliu"}},
		{"nobody", wecomtest.App{VisibleUsers: []string{}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.app.AgentID, tt.app.Secret = fake.AgentID(), fake.Secret()
			fake.AddApp(tt.app)
			assert.Equal(t, tt.want, seen())
		})
	}
}

func TestContactsChange(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	fake.AddDepartment(wecomtest.Department{ID: 6, Name: "测试组", ParentID: 4})
	fake.AddMember(wecomtest.Member{UserID: "New.Hand", Name: "新人", Departments: []int64{6, 5}})
	v := c.get("user/get", "userid=new.hand")
	assert.Equal(t, "New.Hand", v["userid"])
	assert.Equal(t, []any{6.}, v["department"], "as far as the app may see")
	fake.AddMember(wecomtest.Member{UserID: "NEW.HAND", Name: "改名", Departments: []int64{6}})
	assert.Equal(t, "改名", c.get("user/get", "userid=new.hand")["name"])
	fake.DisableMember("new.hand")
	assert.EqualValues(t, wecomtest.Disabled, c.get("user/get", "userid=new.hand")["status"])
	fake.RemoveMember("New.hand")
	assert.EqualValues(t, 60111, c.get("user/get", "userid=new.hand")["errcode"])
	_, ok := fake.Member("new.hand")
	assert.False(t, ok)
}

func TestHandle(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	assert.EqualValues(t, 48002, c.post("message/send", "hi")["errcode"])
	assert.Contains(t, log.String(), "path=/cgi-bin/message/send")
	fake.Handle("message/send", func(r *http.Request) any {
		b, _ := io.ReadAll(r.Body)
		return map[string]any{"errcode": 0, "echo": string(b)}
	})
	assert.Equal(t, map[string]any{"errcode": 0., "echo": "hi"}, c.post("message/send", "hi"))
	assert.EqualValues(t, 41001, post(c.client, api+"message/send", "hi")["errcode"])
	assert.Equal(t, 3, fake.Calls("message/send"))
	assert.Panics(t, func() { fake.Calls("message/sent") })
}

func TestCounts(t *testing.T) {
	fake := wecomtest.New()
	c := newCaller(t, fake)
	c.get("user/get", "userid=lisi")
	c.get("user/get", "userid=lisi")
	assert.Equal(t, 1, fake.Calls("gettoken"))
	assert.Equal(t, 2, fake.Calls("/cgi-bin/user/get"))
	assert.Equal(t, 0, fake.Calls("/wwlogin/sso/login"))
	assert.Equal(t, 3, fake.TotalCalls())
	fake.ResetCalls()
	assert.Equal(t, 0, fake.TotalCalls()+fake.Calls("gettoken"))
}

func TestMisspellingsPanic(t *testing.T) {
	fake := wecomtest.New()
	assert.Panics(t, func() { fake.Calls("gettokens") })
	assert.Panics(t, func() { fake.Script("/gettoken", wecomtest.Fault{}) })
	assert.Panics(t, func() { fake.Always("/x", wecomtest.Fault{}) })
	assert.Panics(t, func() { fake.SignInAs("zhangsang") })
	assert.Panics(t, func() { fake.DisableMember("zhangsang") })
	assert.Panics(t, func() { fake.IssueCode(wecomtest.Grant{Who: "zhangsang"}) })
	assert.Panics(t, func() { fake.AddMember(wecomtest.Member{}) })
	assert.Panics(t, func() { fake.Browser("app.example.com", nil) })
	assert.Panics(t, func() { fake.Browser("https://app.example.com", nil).SignInAs("zhangsang") })
}
