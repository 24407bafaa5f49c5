package wecom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// rawAPI answers each operation with a body as WeCom sends it, and gettoken by itself.
type rawAPI func(op string, r *http.Request) string

func (api rawAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"errcode":0,"errmsg":"ok","access_token":"raw-token","expires_in":7200}`
	if op := strings.TrimPrefix(r.URL.Path, "/cgi-bin/"); op != "gettoken" {
		body = api(op, r)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// rawClient is a client to which every operation answers body.
func rawClient(t *testing.T, body string) *wecom.Client {
	t.Helper()
	return clientOn(t, rawAPI(func(string, *http.Request) string { return body }))
}

func clientOn(t *testing.T, transport http.RoundTripper) *wecom.Client {
	t.Helper()
	c, err := wecom.NewClient(wecom.Options{CorpID: "ww0000000000000001", AgentID: "1000002", Secret: wecom.NewSecret("the-secret-of-raw"), Transport: transport})
	require.NoError(t, err)
	return c
}

func TestUserReadsEveryShape(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want wecom.Member
	}{
		"an app created before June 2022": {
			`{"errcode":0,"errmsg":"ok","userid":"ZhangSan","name":"张三","department":[1,2],"order":[1,4294967295],
			"position":"工程师","mobile":"13800000000","gender":"1","email":"zs@mail.example.net","biz_mail":"zs@corp.example.com",
			"is_leader_in_dept":[0,1],"direct_leader":["lisi"],"avatar":"https://wework.qpic.cn/a/0","thumb_avatar":"https://wework.qpic.cn/a/100",
			"telephone":"020-123456","alias":"jackzhang","address":"广州","open_userid":"xxxx","main_department":2,
			"extattr":{"attrs":[{"type":0,"name":"文本","text":{"value":"v"}}]},"status":1,"enable":1,"isleader":1,"hide_mobile":0,
			"qr_code":"https://open.work.weixin.qq.com/wwopen/userQRCode?vcode=x","external_profile":{"external_attr":[]}}`,
			wecom.Member{UserID: "ZhangSan", Name: "张三", Alias: "jackzhang", Position: "工程师",
				Departments: []int64{1, 2}, Orders: []int64{1, 4294967295}, LeaderOf: []int64{2}, MainDepartment: 2, DirectLeaders: []string{"lisi"},
				Status: 1, Gender: 1, BizMail: "zs@corp.example.com", Email: "zs@mail.example.net", Mobile: "13800000000",
				Telephone: "020-123456", Address: "广州", AvatarURL: "https://wework.qpic.cn/a/0",
				QRCodeURL: "https://open.work.weixin.qq.com/wwopen/userQRCode?vcode=x"},
		},
		"an app created after June 2022": {
			`{"errcode":0,"errmsg":"ok","userid":"zhangsan","name":"张三","department":[2],"order":[0],"position":"","is_leader_in_dept":[0],
			"direct_leader":[],"telephone":"","alias":"","status":1,"main_department":2,"extattr":{"attrs":[]}}`,
			wecom.Member{UserID: "zhangsan", Name: "张三", Departments: []int64{2}, Orders: []int64{0}, MainDepartment: 2, DirectLeaders: []string{}, Status: 1},
		},
		"nothing but the id": {`{"errcode":0,"userid":"zhangsan"}`, wecom.Member{UserID: "zhangsan"}},
		"gender as a number": {`{"errcode":0,"userid":"zhangsan","gender":2}`, wecom.Member{UserID: "zhangsan", Gender: 2}},
		"gender not granted": {`{"errcode":0,"userid":"zhangsan","gender":"0"}`, wecom.Member{UserID: "zhangsan"}},
		"gender empty":       {`{"errcode":0,"userid":"zhangsan","gender":""}`, wecom.Member{UserID: "zhangsan"}},
		"numbers as strings": {
			`{"errcode":0,"userid":"zhangsan","status":"2","department":["7","4294967295"],"order":["4294967295","0"],"main_department":"7"}`,
			wecom.Member{UserID: "zhangsan", Status: 2, Departments: []int64{7, 4294967295}, Orders: []int64{4294967295, 0}, MainDepartment: 7},
		},
		"a mobile number as a number": {`{"errcode":0,"userid":"zhangsan","mobile":13800000000}`, wecom.Member{UserID: "zhangsan", Mobile: "13800000000"}},
		"null":                        {`{"errcode":0,"userid":"zhangsan","name":null,"department":null,"status":null,"mobile":null}`, wecom.Member{UserID: "zhangsan"}},
		"the old spelling":            {`{"errcode":0,"UserId":"zhangsan"}`, wecom.Member{UserID: "zhangsan"}},
		"what nobody depends on is left out if it cannot be read": {
			`{"errcode":0,"userid":"zhangsan","name":{},"order":{"a":1},"is_leader_in_dept":"1","direct_leader":[1],"gender":[1],"avatar":7}`,
			wecom.Member{UserID: "zhangsan"},
		},
		"fewer leader marks than departments": {
			`{"errcode":0,"userid":"zhangsan","department":[4,5],"is_leader_in_dept":[1]}`,
			wecom.Member{UserID: "zhangsan", Departments: []int64{4, 5}, LeaderOf: []int64{4}},
		},
		"an avatar that is a script": {`{"errcode":0,"userid":"zhangsan","avatar":"javascript:alert(1)"}`, wecom.Member{UserID: "zhangsan"}},
		"line breaks in a name":      {`{"errcode":0,"userid":"zhangsan","name":"a\r\nb"}`, wecom.Member{UserID: "zhangsan", Name: "ab"}},
		"a broken name": {
			"{\"errcode\":0,\"userid\":\"zhangsan\",\"name\":\"a\x01\xffb\\ud83c\",\"department\":[2]}",
			wecom.Member{UserID: "zhangsan", Name: "a �b�", Departments: []int64{2}},
		},
		"a leader who is nobody": {
			"{\"errcode\":0,\"userid\":\"zhangsan\",\"direct_leader\":[\"li\x01si\",\"li\xffsi\",\"lisi\",\"\"]}",
			wecom.Member{UserID: "zhangsan", DirectLeaders: []string{"lisi"}},
		},
		"a status that is no status":       {`{"errcode":0,"userid":"zhangsan","status":4294967297}`, wecom.Member{UserID: "zhangsan", Status: math.MaxInt32}},
		"an emoji of several runes":        {`{"errcode":0,"userid":"zhangsan","name":"👩‍💻"}`, wecom.Member{UserID: "zhangsan", Name: "👩‍💻"}},
		"a mailbox that nobody can match":  {`{"errcode":0,"userid":"zhangsan","biz_mail":"a@b\u200b.com"}`, wecom.Member{UserID: "zhangsan"}},
		"an endless mailbox":               {`{"errcode":0,"userid":"zhangsan","email":"` + strings.Repeat("x", 2000) + `"}`, wecom.Member{UserID: "zhangsan"}},
		"an endless name":                  {`{"errcode":0,"userid":"zhangsan","name":"` + strings.Repeat("x", 2000) + `"}`, wecom.Member{UserID: "zhangsan"}},
		"the id in another spelling":       {`{"errcode":0,"userid":"ZHANGSAN"}`, wecom.Member{UserID: "ZHANGSAN"}},
		"fields that nobody has heard of":  {`{"errcode":0,"userid":"zhangsan","future":{"a":[{"b":1}]}}`, wecom.Member{UserID: "zhangsan"}},
		"departments that are not visible": {`{"errcode":0,"userid":"zhangsan","department":[]}`, wecom.Member{UserID: "zhangsan", Departments: []int64{}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rawClient(t, tt.body).User(t.Context(), "zhangsan")
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// What somebody's rights depend on is read strictly: nobody becomes somebody else.
func TestT17_UserRefusesWhatNamesNobodyOrSomebodyElse(t *testing.T) {
	for name, body := range map[string]string{
		"no id":                   `{"errcode":0,"name":"张三"}`,
		"an empty id":             `{"errcode":0,"userid":""}`,
		"null":                    `{"errcode":0,"userid":null}`,
		"a number":                `{"errcode":0,"userid":7}`,
		"another member":          `{"errcode":0,"userid":"lisi"}`,
		"of another corp":         `{"errcode":0,"userid":"ww1/zhangsan"}`,
		"two ids":                 `{"errcode":0,"userid":"zhangsan","UserId":"lisi"}`,
		"a key that folds to it":  "{\"errcode\":0,\"u\u017ferid\":\"zhangsan\"}",
		"a look-alike letter":     "{\"errcode\":0,\"userid\":\"zhang\u017fan\"}",
		"a control character":     `{"errcode":0,"userid":"zhangsan\u0000"}`,
		"too long":                `{"errcode":0,"userid":"` + strings.Repeat("z", 65) + `"}`,
		"no errcode":              `{"userid":"zhangsan"}`,
		"a status of words":       `{"errcode":0,"userid":"zhangsan","status":"active"}`,
		"a department of words":   `{"errcode":0,"userid":"zhangsan","department":["all"]}`,
		"departments of two kind": `{"errcode":0,"userid":"zhangsan","department":[1,"2"]}`,
		"departments as a number": `{"errcode":0,"userid":"zhangsan","department":1}`,
		"a fraction":              `{"errcode":0,"userid":"zhangsan","department":[1.5]}`,
		"beyond 64 bits":          `{"errcode":0,"userid":"zhangsan","department":[99999999999999999999]}`,
		"no object":               `["zhangsan"]`,
		"html":                    `<html>zhangsan</html>`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rawClient(t, body).User(t.Context(), "zhangsan")
			require.Error(t, err)
			assert.Zero(t, got)
			assert.NotContains(t, err.Error(), "lisi", "errors do not quote answers")
		})
	}
}

func TestUserDenied(t *testing.T) {
	for code, denied := range map[int]bool{
		60111: true, 60011: true, 60021: true, 50002: true, 92000: true, 46004: true,
		40003: false, 45009: false, 60020: false, 50001: false, 48002: false, 99999: false,
	} {
		_, err := rawClient(t, fmt.Sprintf(`{"errcode":%d,"errmsg":"x"}`, code)).User(t.Context(), "zhangsan")
		var api *wecom.APIError
		require.ErrorAs(t, err, &api)
		assert.Equal(t, code, api.Code)
		assert.Equal(t, denied, api.Denied(), "%d", code)
	}
}

func TestUserDetailReadsEveryShape(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want wecom.Member
	}{
		"all granted": {
			`{"errcode":0,"errmsg":"ok","userid":"lisi","gender":"1","avatar":"http://shp.qpic.cn/bizmp/x/0","qr_code":"https://wework.qpic.cn/wwpic/q/0",
			"mobile":"13800000001","email":"ls@mail.example.net","biz_mail":"ls@corp.example.com","address":"广州"}`,
			wecom.Member{UserID: "lisi", Gender: 1, AvatarURL: "http://shp.qpic.cn/bizmp/x/0", QRCodeURL: "https://wework.qpic.cn/wwpic/q/0",
				Mobile: "13800000001", Email: "ls@mail.example.net", BizMail: "ls@corp.example.com", Address: "广州"},
		},
		"nothing granted":             {`{"errcode":0,"userid":"lisi","gender":"0"}`, wecom.Member{UserID: "lisi"}},
		"gender as an old sample has": {`{"errcode":0,"userid":"lisi","gender":1}`, wecom.Member{UserID: "lisi", Gender: 1}},
		"the older endpoint's extras": {
			`{"errcode":0,"UserId":"lisi","name":"李四","department":[3],"position":"经理"}`,
			wecom.Member{UserID: "lisi", Name: "李四", Departments: []int64{3}, Position: "经理"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOn(t, rawAPI(func(op string, r *http.Request) string {
				sent, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, "auth/getuserdetail", op)
				assert.Equal(t, http.MethodPost, r.Method)
				assert.JSONEq(t, `{"user_ticket":"the-ticket"}`, string(sent))
				return tt.body
			}))
			got, err := c.UserDetail(t.Context(), wecom.NewSecret("the-ticket"))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestDepartmentsReadsBothLists(t *testing.T) {
	c := clientOn(t, rawAPI(func(op string, r *http.Request) string {
		switch op + "?" + r.URL.Query().Get("id") {
		case "department/list?":
			return `{"errcode":0,"department":[{"id":1,"name":"广州研发中心","name_en":"RDGZ","department_leader":["zhangsan"],"parentid":0,"order":4294967295},
				{"id":"2","name":"研发部","parentid":"1","order":"10"}]}`
		case "department/simplelist?":
			return `{"errcode":0,"department_id":[{"id":2,"parentid":1,"order":4294967295},{"id":3}]}`
		case "department/list?2":
			return `{"errcode":0,"department":[]}`
		}
		return `{"errcode":60003,"errmsg":"department not found"}`
	}))
	all, err := c.Departments(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, []wecom.Department{
		{ID: 1, Order: 4294967295, Name: "广州研发中心", NameEN: "RDGZ", Leaders: []string{"zhangsan"}},
		{ID: 2, ParentID: 1, Order: 10, Name: "研发部"},
	}, all)
	ids, err := c.DepartmentIDs(t.Context(), 0)
	require.NoError(t, err)
	assert.Equal(t, []wecom.Department{{ID: 2, ParentID: 1, Order: 4294967295}, {ID: 3}}, ids)
	none, err := c.Departments(t.Context(), 2)
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = c.DepartmentIDs(t.Context(), 9)
	var api *wecom.APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, 60003, api.Code)
}

func TestDepartmentsRefusesAListThatCannotBeRead(t *testing.T) {
	for name, body := range map[string]string{
		"none":           `{"errcode":0}`,
		"of words":       `{"errcode":0,"department":["a"]}`,
		"without id":     `{"errcode":0,"department":[{"parentid":1}]}`,
		"parent unknown": `{"errcode":0,"department":[{"id":2,"parentid":"top"}]}`,
		"twice the id":   `{"errcode":0,"department":[{"id":2,"Id":3}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rawClient(t, body).Departments(t.Context(), 0)
			assert.Error(t, err)
		})
	}
}

func TestUserIDByMobileAndEmail(t *testing.T) {
	fake := wecomtest.New()
	c, err := wecom.NewClient(fake.Options(""))
	require.NoError(t, err)

	id, err := c.UserIDByMobile(t.Context(), "13800000001")
	require.NoError(t, err)
	assert.Equal(t, "zhangsan", id)
	id, err = c.UserIDByEmail(t.Context(), "lisi@corp.example.com")
	require.NoError(t, err)
	assert.Equal(t, "lisi", id)

	_, err = c.UserIDByEmail(t.Context(), "lisi@mail.example.net")
	var api *wecom.APIError
	require.ErrorAs(t, err, &api, "the mailbox that a member may edit names nobody")
	assert.True(t, api.Denied())
}

func TestT17_LookUpsRefuseWhatIsNoMembersID(t *testing.T) {
	for _, body := range []string{`{"errcode":0}`, `{"errcode":0,"userid":""}`, `{"errcode":0,"userid":7}`, `{"errcode":0,"userid":"ww1/lisi"}`, `{"errcode":0,"userid":"a b"}`} {
		id, err := rawClient(t, body).UserIDByMobile(t.Context(), "13800000001")
		assert.Error(t, err, body)
		assert.Empty(t, id)
	}
}

// A mobile number and a mailbox are nothing for a log, even if WeCom echoes them.
func TestT20_LookUpsHideWhatTheyLookFor(t *testing.T) {
	c := clientOn(t, rawAPI(func(_ string, r *http.Request) string {
		sent, _ := io.ReadAll(r.Body)
		echo, _ := json.Marshal("not found: " + string(sent))
		return `{"errcode":46004,"errmsg":` + string(echo) + `}`
	}))
	_, byMobile := c.UserIDByMobile(t.Context(), "13812345678")
	_, byMail := c.UserIDByEmail(t.Context(), "canary@corp.example.com")
	_, byTicket := c.UserDetail(t.Context(), wecom.NewSecret("canary-ticket"))
	for _, err := range []error{byMobile, byMail, byTicket} {
		var api *wecom.APIError
		require.ErrorAs(t, err, &api)
		all := fmt.Sprintf("%v %+v %#v %s", err, err, api, api.LogValue())
		for _, canary := range []string{"13812345678", "canary@corp", "canary-ticket"} {
			assert.NotContains(t, all, canary)
		}
	}
}

func TestAgentReadsEveryShape(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want wecom.Agent
	}{
		"as documented": {
			`{"errcode":0,"errmsg":"ok","agentid":1000002,"name":"HR助手","square_logo_url":"https://p.qlogo.cn/bizmail/x/0","description":"HR服务小助手",
			"allow_userinfos":{"user":[{"userid":"zhangsan"},{"userid":"lisi"}]},"allow_partys":{"partyid":[1]},"allow_tags":{"tagid":[1,2]},
			"close":0,"redirect_domain":"open.work.weixin.qq.com","report_location_flag":0,"isreportenter":0,"home_url":"https://open.work.weixin.qq.com"}`,
			wecom.Agent{AgentID: "1000002", Name: "HR助手", Description: "HR服务小助手", LogoURL: "https://p.qlogo.cn/bizmail/x/0",
				HomeURL: "https://open.work.weixin.qq.com", RedirectDomain: "open.work.weixin.qq.com",
				VisibleUsers: []string{"zhangsan", "lisi"}, VisibleDepartments: []int64{1}, VisibleTags: []int64{1, 2}},
		},
		"nothing visible":    {`{"errcode":0,"agentid":"1000002","close":"1"}`, wecom.Agent{AgentID: "1000002", Closed: true}},
		"ranges that are {}": {`{"errcode":0,"agentid":1000002,"allow_userinfos":{},"allow_partys":{},"allow_tags":null}`, wecom.Agent{AgentID: "1000002"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rawClient(t, tt.body).Agent(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	for name, body := range map[string]string{
		"another app": `{"errcode":0,"agentid":1000003}`,
		"no app":      `{"errcode":0}`,
		"close":       `{"errcode":0,"agentid":1000002,"close":"no"}`,
		"users":       `{"errcode":0,"agentid":1000002,"allow_userinfos":{"user":[{"userid":7}]}}`,
		"parties":     `{"errcode":0,"agentid":1000002,"allow_partys":[1]}`,
		"tags":        `{"errcode":0,"agentid":1000002,"allow_tags":{"tagid":["x"]}}`,
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			_, err := rawClient(t, body).Agent(t.Context())
			assert.Error(t, err)
		})
	}
}

func TestTypedCallsOverTheFake(t *testing.T) {
	fake := wecomtest.New()
	app := fake.App()
	app.LegacyFields = true
	fake.AddApp(app)
	c, err := wecom.NewClient(fake.Options(""))
	require.NoError(t, err)

	m, err := c.User(t.Context(), "ZHANGSAN")
	require.NoError(t, err)
	assert.Equal(t, "zhangsan", m.UserID)
	assert.Equal(t, "zhangsan@corp.example.com", m.BizMail)
	assert.Equal(t, []int64{2}, m.LeaderOf)
	assert.Equal(t, 1, m.Gender)

	app.LegacyFields = false
	fake.AddApp(app)
	m, err = c.User(t.Context(), "zhangsan")
	require.NoError(t, err)
	assert.Equal(t, "张三", m.Name)
	assert.Empty(t, m.BizMail+m.Email+m.Mobile+m.AvatarURL)

	list, err := c.Departments(t.Context(), 2)
	require.NoError(t, err)
	assert.Len(t, list, 2)
	a, err := c.Agent(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int64{2, 3}, a.VisibleDepartments)

	for _, gone := range []string{"sunqi", "nobody"} { // not visible, and not there
		_, err = c.User(t.Context(), gone)
		var api *wecom.APIError
		require.ErrorAs(t, err, &api)
		assert.True(t, api.Denied())
	}
}

func TestTypedCallsAskForWhatIsMissing(t *testing.T) {
	c := clientOn(t, rawAPI(func(op string, _ *http.Request) string {
		t.Errorf("%s was called", op)
		return `{}`
	}))
	_, err := c.User(t.Context(), "")
	assert.Error(t, err)
	_, err = c.UserDetail(t.Context(), wecom.Secret{})
	assert.Error(t, err)
	noAgent, err := wecom.NewClient(wecom.Options{CorpID: "ww0000000000000001", Secret: wecom.NewSecret("s")})
	require.NoError(t, err)
	_, err = noAgent.Agent(t.Context())
	assert.ErrorContains(t, err, "AgentID")
}

func TestZeroClientCallsFail(t *testing.T) {
	for _, c := range []*wecom.Client{nil, {}} {
		calls := map[string]func(context.Context) error{
			"User":           func(ctx context.Context) error { _, err := c.User(ctx, "zhangsan"); return err },
			"UserDetail":     func(ctx context.Context) error { _, err := c.UserDetail(ctx, wecom.NewSecret("t")); return err },
			"UserIDByMobile": func(ctx context.Context) error { _, err := c.UserIDByMobile(ctx, "138"); return err },
			"Departments":    func(ctx context.Context) error { _, err := c.Departments(ctx, 0); return err },
			"Agent":          func(ctx context.Context) error { _, err := c.Agent(ctx); return err },
			"Check":          c.Check,
		}
		for name, call := range calls {
			assert.ErrorContains(t, call(t.Context()), "not made by NewClient", name)
		}
	}
}
