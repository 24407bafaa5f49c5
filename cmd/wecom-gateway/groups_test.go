package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

// groupsOf returns what a header tells, decoded.
func groupsOf(t *testing.T, a answer) []string {
	t.Helper()
	seen := a.seen(t)
	value := seen.Header.Get("X-Wecom-Groups")
	require.Equal(t, []string{value}, seen.Header["X-Forwarded-Groups"])
	require.Equal(t, []string{value}, seen.Header["X-Wecom-Groups"])
	for _, c := range []byte(value) {
		require.True(t, ' ' < c && c < 0x7f, "%q", value)
	}
	var groups []string
	for group := range strings.SplitSeq(value, ",") {
		group, err := url.PathUnescape(group)
		require.NoError(t, err)
		groups = append(groups, group)
	}
	return groups
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	w.fake.AddTag(wecomtest.Tag{ID: 2, Name: "a,b/c: %d", Users: []string{"ZhangSan"}})
	both := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments,tags")
	for who, want := range map[string][]string{
		"zhangsan": {"研发部", "tag:a,b/c: %d"},
		"wangwu":   {"研发部/平台组", "tag:值班"},
		"lisi":     {"销售部", "tag:值班"}, // by the department
		"sunqi":    {""},              // the app sees neither
	} {
		assert.Equal(t, want, groupsOf(t, w.signIn(both, who).script("/")), who)
	}
	c := w.signIn(both, "zhangsan")
	for range 10 {
		c.script("/")
	}
	assert.Equal(t, 2, w.fake.Calls("department/list"), "one is for the names of the profile")
	assert.Equal(t, 1, w.fake.Calls("tag/list"))
	assert.Equal(t, 2, w.fake.Calls("tag/get"))
	// What cannot be asked any more is still told.
	w.fake.Always("department/list", wecomtest.Fault{Status: 500})
	assert.Equal(t, []string{"研发部", "tag:a,b/c: %d"}, groupsOf(t, c.script("/")))
	assert.Contains(t, c.script("/wecom/auth").Header.Get("X-Forwarded-Groups"), "tag:a%2Cb%2Fc%3A%20%25d")

	tags := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=tags")
	assert.Equal(t, []string{"tag:值班"}, groupsOf(t, w.signIn(tags, "lisi").script("/")))

	// Nobody's groups are known: to say that there are none would end memberships.
	departments := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments", "WECOM_RULES="+rulesFile(t, "rules: [{path: /public, public: true}]"))
	anonymous := departments.client()
	c = departments.client()
	w.fake.SignInAs("zhangsan")
	assert.Equal(t, 503, c.get("/").StatusCode)
	assert.Equal(t, 503, c.script("/wecom/auth").StatusCode)
	departments.wait("nobody's groups are known")
	assert.Equal(t, []string{""}, groupsOf(t, anonymous.script("/public")))
	w.fake.Always("department/list", wecomtest.Fault{})
	eventually(t, "the names are fetched", func() bool { return c.script("/").StatusCode == 200 })
	assert.Equal(t, []string{"研发部"}, groupsOf(t, c.script("/")))
}

func TestDepartments(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		set    func()
		args   []string
		status int
		stdout string
		stderr string
	}{
		{"what the app sees", func() {}, nil, 0,
			"department      2  研发部\ndepartment      4  研发部/平台组\ndepartment      3  销售部\ntag             1  值班\n", ""},
		{"a slash and a twin", func() {
			w.fake.AddDepartment(wecomtest.Department{ID: 20, Name: "A/B", ParentID: 3})
			w.fake.AddDepartment(wecomtest.Department{ID: 21, Name: "平台组", ParentID: 2})
		}, nil, 0,
			"department      2  研发部\ndepartment     21  研发部/平台组#21\ndepartment      4  研发部/平台组#4\ndepartment      3  销售部\ndepartment     20  销售部/A%2FB\ntag             1  值班\n", ""},
		{"no departments", func() { w.fake.Always("department/list", wecomtest.Fault{ErrCode: 60011}) }, nil, 1,
			"tag             1  值班\n", "wecom-gateway: department/list: errcode 60011 (the app may not see"},
		{"no WeCom", func() { w.fake.Always("*", wecomtest.Fault{Status: 500}) }, nil, 1, "", "wecom-gateway: "},
		{"too much is said", func() {}, []string{"3"}, 2, "", `unexpected argument "3"`},
		{"nobody is signed out", func() {}, []string{"-all"}, 2, "", "flag provided but not defined: -all"},
	} {
		tt.set()
		status, stdout, stderr := runOnce(t, w.env("WECOM_UPSTREAM="), append([]string{"departments"}, tt.args...)...)
		assert.Equal(t, tt.status, status, "%s: %s", tt.name, stderr)
		assert.Equal(t, tt.stdout, stdout, tt.name)
		assert.Contains(t, stderr, tt.stderr, tt.name)
	}
	assert.Zero(t, w.fake.Calls("tag/get"))
}

// Replicas that share a token store fetch the names once.
func TestGroupsOfAFleet(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		g := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments,tags", "WECOM_TOKEN_STORE=file:"+filepath.Join(w.t.TempDir(), "..", "shared"))
		assert.Equal(t, []string{"研发部/平台组", "tag:值班"}, groupsOf(t, w.signIn(g, "wangwu").script("/")))
	}
	assert.Equal(t, 1+3, w.fake.Calls("department/list"), "each replica asks once for the names of the profile")
	assert.Equal(t, 1, w.fake.Calls("tag/list"))
}

func TestManyGroups(t *testing.T) {
	w := newWorld(t)
	member := wecomtest.Member{UserID: "everywhere"}
	for i := range int64(60) {
		w.fake.AddDepartment(wecomtest.Department{ID: 100 + i, Name: fmt.Sprintf("很长的部门名称%d", i%50), ParentID: 2 + i/50})
		member.Departments = append(member.Departments, 100+i)
	}
	// Two of a name whose parents the app does not see.
	w.fake.AddApp(wecomtest.App{AgentID: "1000009", Secret: strings.Repeat("s", 43), VisibleDepartments: []int64{100, 150}})
	w.fake.AddMember(member)
	g := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments")
	groups := groupsOf(t, w.signIn(g, "everywhere").script("/"))
	assert.Greater(t, len(groups), 5)
	assert.Less(t, len(groups), 60)
	assert.Equal(t, "研发部/很长的部门名称0", groups[0])
	g.wait("somebody is in more groups than fit into a header: the last ones were left out", "user", "everywhere")

	g = w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments", "WECOM_AGENT_ID=1000009", "WECOM_SECRET="+strings.Repeat("s", 43))
	assert.Equal(t, []string{"很长的部门名称0#100", "很长的部门名称0#150"}, groupsOf(t, w.signIn(g, "everywhere").script("/")))
}

// nginx makes a 502 of an answer with more than 4 KB of headers, unless it is told otherwise.
func TestAnswersToAnotherProxyAreShort(t *testing.T) {
	w := newWorld(t)
	w.fake.AddApp(wecomtest.App{AgentID: "1000009", Secret: strings.Repeat("s", 43), LegacyFields: true}) // it sees mail addresses
	w.fake.AddDepartment(wecomtest.Department{ID: 1000, Name: "研发中心", ParentID: 1})
	few := wecomtest.Member{UserID: "wang.xiaoming", Name: "王小明", BizMail: "wang.xiaoming@corp.example", Email: "wang.xiaoming@mail.example", Mobile: "13800000000",
		Avatar: "https://wework.qpic.cn/wwpic3az/" + strings.Repeat("x", 60) + "/0"}
	for i := range int64(60) {
		w.fake.AddDepartment(wecomtest.Department{ID: 1001 + i, Name: fmt.Sprintf("名称很长的部门第%d号", i), ParentID: 1000 + (i+3)/4})
		few.Departments = append(few.Departments, 1001+i)
	}
	many := few
	many.UserID = "many"
	few.Departments = few.Departments[:1]
	w.fake.AddMember(few)
	w.fake.AddMember(many)
	front, addr := freeaddr.Get(t), freeaddr.Get(t)
	runNginx(t, front, fmt.Sprintf(`
	server {
		listen %s;
		location / { auth_request /auth; proxy_pass %s; }
		location = /auth { internal; proxy_pass http://%s/wecom/auth; }
	}`, front, w.upstream.URL, addr))
	for _, setting := range []string{"WECOM_ASSERTION_AUDIENCE=https://wiki.example.com", "WECOM_ASSERTION_AUDIENCE="} {
		g := w.start("WECOM_PROFILE=true", "WECOM_GROUPS=departments", "WECOM_AGENT_ID=1000009", "WECOM_SECRET="+strings.Repeat("s", 43), setting, "ADDR="+addr)
		for _, who := range []string{few.UserID, many.UserID} {
			c := w.signIn(g, who)
			told := groupsOf(t, c.script("/"))
			for _, route := range []string{"/wecom/auth", "/wecom/forward"} {
				res := c.script(route)
				require.Equal(t, 204, res.StatusCode)
				size := 0
				for name, values := range res.Header {
					for _, value := range values {
						size += len(name) + len(value) + len(": \r\n")
					}
				}
				assert.Less(t, size, 4000)
				groups := strings.Split(must(url.PathUnescape(res.Header.Get("X-Wecom-Groups"))), ",")
				assert.Equal(t, told[:len(groups)], groups)
				if raw := res.Header.Get("X-Wecom-Assertion"); raw != "" {
					assert.Equal(t, fmt.Sprint(groups), fmt.Sprint(g.verify(raw)["groups"]))
				}
			}
			assert.Equal(t, 200, c.do(must(http.NewRequest("GET", "http://"+front+"/", nil)), false).StatusCode, "%s %s", setting, who)
		}
		g.wait("somebody is in more groups than fit into a header: the last ones were left out", "user", "many")
		g.stop()
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	w.fake.AddMember(wecomtest.Member{UserID: "mail@corp.example", Departments: []int64{2}})
	w.fake.AddMember(wecomtest.Member{UserID: "plain", Departments: []int64{2}})
	w.fake.AddMember(wecomtest.Member{UserID: "Given", Departments: []int64{2}, BizMail: "given@biz.example", Email: "boss@biz.example"})
	w.fake.AddApp(wecomtest.App{AgentID: "1000009", Secret: strings.Repeat("s", 43), LegacyFields: true}) // it sees mail addresses
	for rule, want := range map[string]map[string]string{
		"":                                   {"Given": "given@biz.example", "plain": "", "mail@corp.example": ""},
		"{biz_mail},{user_id}@corp.example":  {"Given": "given@biz.example", "plain": "plain@corp.example", "mail@corp.example": ""},
		"{user_id}@corp.example , {user_id}": {"Given": "Given@corp.example", "mail@corp.example": "mail@corp.example"},
	} {
		g := w.start("WECOM_PROFILE=true", "WECOM_EMAIL="+rule, "WECOM_AGENT_ID=1000009", "WECOM_SECRET="+strings.Repeat("s", 43))
		for who, address := range want {
			seen := w.signIn(g, who).script("/").seen(t)
			assert.Equal(t, []string{address}, seen.Header["X-Forwarded-Email"], "%s: %s", rule, who)
			assert.Equal(t, []string{who}, seen.Header["X-Forwarded-Preferred-Username"])
		}
		g.stop()
	}
}
