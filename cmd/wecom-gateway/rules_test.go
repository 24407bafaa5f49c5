package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

func rulesFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func (w *world) signIn(g *gateway, user string) *client {
	w.t.Helper()
	w.fake.SignInAs(user)
	c := g.client()
	c.get("/wecom/login")
	require.Equal(w.t, 200, c.script("/wecom/session").StatusCode, user)
	return c
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_ALLOW_USERS=zhangsan,lisi,wangwu", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_RULES="+rulesFile(t, `
rules:
  - exact: /
    public: true
  - path: /assets/
    public: true
  - path: /Docs
    public: true
  - path: /admin/help
    members: all
  - path: /admin
    users: [LiSi]
  - path: /group
    departments: [4]
  - path: /d/*/edit
    tags: [1]
  - path: /export/*.csv
    members: active
    users: [lisi]
  - path: /报表/[id]
    users: [lisi]
  - path: /nobody
    users: [zhaoliu]
`))
	zhangsan, lisi, wangwu, anonymous := w.signIn(g, "zhangsan"), w.signIn(g, "lisi"), w.signIn(g, "wangwu"), g.client()
	for path, want := range map[string]struct{ anonymous, zhangsan, lisi, wangwu int }{
		"/":                            {200, 200, 200, 200},
		"/?x=/admin":                   {200, 200, 200, 200},
		"/index":                       {401, 200, 200, 200},
		"/assets":                      {200, 200, 200, 200},
		"/assets/a/b.js?v=1":           {200, 200, 200, 200},
		"/assets/%41.js":               {200, 200, 200, 200},
		"/assets/a//b":                 {200, 200, 200, 200},
		"/assetsx":                     {401, 200, 200, 200},
		"/ASSETS/a":                    {401, 200, 200, 200}, // another folder, or not
		"/Docs/a":                      {200, 200, 200, 200},
		"/docs/a":                      {401, 200, 200, 200},
		"/assets%2Fa":                  {401, 200, 200, 200},
		"/assets/../admin":             {400, 400, 400, 400},
		"/admin":                       {401, 403, 200, 403},
		"/admin/":                      {401, 403, 200, 403},
		"/admin/x?y":                   {401, 403, 200, 403},
		"/Admin/x":                     {401, 403, 200, 403},
		"/admin/help":                  {401, 200, 200, 200},
		"/admin/help/x":                {401, 200, 200, 200},
		"/admin/HELP/x":                {401, 403, 200, 403},
		"/admin;x/y":                   {401, 403, 200, 403},
		"/adminx":                      {401, 200, 200, 200},
		"/x/admin":                     {401, 200, 200, 200},
		"/group":                       {401, 403, 403, 200},
		"/d/1/edit":                    {401, 403, 200, 200},
		"/d/1/edit/x":                  {401, 403, 200, 200},
		"/d/1/view":                    {401, 200, 200, 200},
		"/d/edit":                      {401, 200, 200, 200},
		"/export/a.csv":                {401, 403, 200, 403},
		"/export/a.csv/b":              {401, 403, 200, 403},
		"/export/a.txt":                {401, 200, 200, 200},
		"/%E6%8A%A5%E8%A1%A8/%5Bid%5D": {401, 403, 200, 403},
		"/%E6%8A%A5%E8%A1%A8/i":        {401, 200, 200, 200},
		"/nobody":                      {401, 403, 403, 403},
		// What honest programs ask for reaches them as it was sent.
		"/api/v4/projects/group%2Fproject":   {401, 200, 200, 200},
		"/job/feature%252Fx/1":               {401, 200, 200, 200},
		"/list;jsessionid=1A":                {401, 200, 200, 200},
		"/a//b/c|d":                          {401, 200, 200, 200},
		"/100%25/%E6%8A%A5.tar.gz":           {401, 200, 200, 200},
		"/.well-known/x/...rest":             {401, 200, 200, 200},
		"/wecom/nothing":                     {404, 404, 404, 404},
		"/healthz":                           {200, 200, 200, 200},
		"/%B1%A8":                            {400, 400, 400, 400},
		"/x%00":                              {400, 400, 400, 400},
		"/a%2Fb%252Fc":                       {400, 400, 400, 400},
		"/%25252Fx":                          {400, 400, 400, 400},
		`/%2F;%5C%20a\//?b;.%20/%EF%BC%8F/A`: {400, 400, 400, 400},
	} {
		for who, check := range map[string]struct {
			c    *client
			want int
		}{"anonymous": {anonymous, want.anonymous}, "zhangsan": {zhangsan, want.zhangsan}, "lisi": {lisi, want.lisi}, "wangwu": {wangwu, want.wangwu}} {
			res := check.c.raw("GET " + path + " HTTP/1.1\nHost: %HOST%\nCookie: %COOKIE%\nConnection: close\n\n")
			assert.Equal(t, check.want, res.StatusCode, "%s: %s", who, path)
			if res.StatusCode == 200 && path != "/healthz" {
				assert.Equal(t, path, res.seen(t).URI)
			}
		}
	}

	// Public pages tell the program who is signed in, and nobody else can.
	spoof := http.Header{"X-Forwarded-User": {"admin"}, "X-Wecom-User-Id": {"admin"}}
	assert.Equal(t, []string{""}, claims(anonymous.send("GET", "/assets/a", spoof, false).seen(t))["x-forwarded-user"])
	assert.Equal(t, []string{"lisi"}, claims(lisi.send("GET", "/assets/a", spoof, false).seen(t))["x-forwarded-user"])
	// A header that a program may take for the path never gets there.
	seen := zhangsan.send("GET", "/x", http.Header{"X-Original-Url": {"/admin"}, "X-Rewrite-Url": {"/admin"}, "X-Forwarded-Host": {"h"}}, false).seen(t)
	assert.NotContains(t, seen.Header, "X-Original-Url")
	assert.NotContains(t, seen.Header, "X-Rewrite-Url")
	assert.Equal(t, "h", seen.Header.Get("X-Forwarded-Host"))
	// A page that asks for a sign-in comes back to itself; who may not open it reads why.
	w.fake.SignInAs("lisi")
	assert.Equal(t, "/admin/x?y=%2F", g.client().get("/admin/x?y=%2F").seen(t).URI)
	assert.Contains(t, zhangsan.get("/admin/x").text, "<!doctype html>")
}

func TestRulesAreReadAgain(t *testing.T) {
	w := newWorld(t)
	name := rulesFile(t, "rules:\n  - path: /a\n    users: [lisi]\n")
	g := w.start("WECOM_RULES=" + name)
	c := g.signedIn()
	assert.Equal(t, 403, c.script("/a").StatusCode)

	require.NoError(t, os.WriteFile(name, []byte("rules:\n  - path: /a\n    user: [zhangsan]\n"), 0o600))
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	assert.Contains(t, g.wait("WECOM_RULES cannot be used: the rules from before hold")["cause"], "line 3")
	assert.Equal(t, 403, c.script("/a").StatusCode)

	require.NoError(t, os.WriteFile(name, []byte("rules:\n  - path: /b\n    users: [lisi]\n"), 0o600))
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.wait("the rules were read again", "rules", float64(1))
	assert.Equal(t, 200, c.script("/a").StatusCode)
	assert.Equal(t, 403, c.script("/b").StatusCode)
}

func TestUnusableRules(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string]string{
		"":              "it holds no rules",
		"rules:":        "it holds no rules",
		"rules: []\n":   "it holds no rules",
		"rules: {":      "line 1",
		"- path: /":     "line 1",
		"rules: x":      "line 1",
		"rules:\n  -\n": "line 2: want either path or exact",
		"rules:\n  - path: /a\n    public: true\n    exact: /b":                       "line 2: want either path or exact",
		"rules:\n  - path: /a\n    public: true\nmore: 1":                             "line 4: field more not found",
		"rules:\n  - path: /a\n    user: [x]":                                         "line 3: field user not found",
		"rules:\n  - path: /a\n    path: /b\n    public: true":                        "line 3",
		"rules:\n  - path: /a\n    tags: [x]":                                         `line 2: tags: "x"`,
		"rules:\n  - path: /a\n    public: perhaps":                                   "line 3: cannot unmarshal",
		"rules:\n  - path: /a":                                                        "line 2: want public: true, members, users",
		"rules:\n  - path: /a\n    public: true\n    users: [x]":                      "line 2: public is for everybody",
		"rules:\n  - path: /a\n    users: []":                                         "line 3: users is empty",
		"rules:\n  - path: /a\n    users: ['']":                                       "line 2: an item",
		"rules:\n  - path: /a\n    members: active\n    tags:":                        "line 4: tags is empty",
		"rules:\n  - path: /a\n    tags: [7]\n    members: ''":                        "line 4: members is empty",
		"rules:\n  - path: /a\n    users: [corp/x]":                                   "line 2: users",
		"rules:\n  - path: /a\n    tags: [0]":                                         `line 2: tags: "0"`,
		"rules:\n  - path: /a\n    departments: [-1]":                                 `line 2: departments: "-1"`,
		"rules:\n  - path: /a\n    members: some":                                     "line 2: members",
		"rules:\n  - path: a\n    public: true":                                       "line 2: \"a\"",
		"rules:\n  - path: https://x/a\n    public: true":                             "line 2: \"https",
		"rules:\n  - path: /a//b\n    public: true":                                   "line 2",
		"rules:\n  - path: /a/../b\n    public: true":                                 "line 2",
		"rules:\n  - path: /a%20b\n    public: true":                                  "line 2",
		"rules:\n  - path: /a?b\n    public: true":                                    "line 2",
		"rules:\n  - path: /a;b\n    public: true":                                    "line 2",
		"rules:\n  - exact: /a\n    users: [x]":                                       "line 2: exact goes with",
		"rules:\n  - exact: /a\n    members: all\n    users: [x]":                     "line 2: exact goes with",
		"rules:\n  - path: /\n    public: true\n  - path: /a\n    users: [x]":         "line 4: the rule in line 2 comes first",
		"rules:\n  - path: /a/*\n    members: all\n  - path: /a/b*/c\n    users: [x]": "line 4: the rule in line 2",
		"rules:\n  - path: /a\n    members: all\n---\nrules: []":                      "one document",
		"rules:\n  - &a {path: /a, members: all}\n  - *a":                             "comes first",
	} {
		status, stdout, stderr := runOnce(t, w.env("WECOM_RULES="+rulesFile(t, text)))
		assert.Equal(t, 2, status, text)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, want, text)
		assert.Equal(t, 3, strings.Count(stderr, "\n"), "one mistake is one line: %s", stderr)
		assert.NotContains(t, stderr, "main.")
		assert.NotContains(t, stderr, "yaml:")
	}
	_, _, stderr := runOnce(t, w.env("WECOM_RULES="+rulesFile(t, "rules:\n  - path: a\n    public: true\n  - path: b\n    public: true\n")))
	assert.Contains(t, stderr, "line 2")
	assert.Contains(t, stderr, "line 4", "every mistake is named")
	for _, env := range []string{"WECOM_RULES=/nonexistent", "WECOM_RULES=" + t.TempDir(), "WECOM_RULES=/dev/zero"} {
		status, _, stderr := runOnce(t, w.env(env))
		assert.Equal(t, 2, status, env)
		assert.Contains(t, stderr, "  WECOM_RULES: ", env)
	}
	status, _, stderr := runOnce(t, w.env("WECOM_UPSTREAM=", "WECOM_RULES="+rulesFile(t, "rules:\n  - path: /a\n    public: true\n")))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "WECOM_RULES: is for WECOM_UPSTREAM")
}

// What holds for all routes of another proxy stands in its query.
func TestQueriesOfAnotherProxy(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1")
	zhangsan, wangwu, anonymous := w.signIn(g, "zhangsan"), w.signIn(g, "wangwu"), g.client()
	for query, want := range map[string]struct{ zhangsan, wangwu int }{
		"":                                    {204, 204},
		"?":                                   {204, 204},
		"?users=zhangsan":                     {204, 403},
		"?users=ZhangSan,lisi":                {204, 403},
		"?departments=4":                      {403, 204},
		"?departments=4&tags=1":               {403, 204},
		"?tags=1":                             {403, 204},
		"?users=zhangsan&tags=1":              {204, 204},
		"?members=all":                        {204, 204},
		"?members=active":                     {204, 204},
		"?members=visible&users=wangwu":       {403, 204},
		"?users=":                             {500, 500},
		"?users=,":                            {500, 500},
		"?user=zhangsan":                      {500, 500},
		"?from=1&q=2":                         {500, 500},
		"?Users=zhangsan":                     {500, 500},
		"?users=zhangsan&x=1":                 {500, 500},
		"?users=zhangsan&users=wangwu":        {500, 500},
		"?departments=x":                      {500, 500},
		"?departments=0":                      {500, 500},
		"?members=some":                       {500, 500},
		"?users=corp/x":                       {500, 500},
		"?%zz":                                {500, 500},
		"?users=zhangsan;tags=1":              {500, 500},
		"?users=" + strings.Repeat("x", 1000): {500, 500},
	} {
		for _, route := range []string{"/wecom/auth", "/wecom/forward"} {
			// Neither the page's query nor anything else that a client sends changes it.
			for _, described := range []http.Header{
				nil,
				{"X-Forwarded-Uri": {"/x?users=wangwu,zhangsan"}},
				{"X-Original-Uri": {"/x" + query}},
				{"X-Forwarded-Uri": {"/x" + query}},
			} {
				assert.Equal(t, want.zhangsan, zhangsan.send("GET", route+query, described, false).StatusCode, "%s%s", route, query)
				assert.Equal(t, want.wangwu, wangwu.send("GET", route+query, described, false).StatusCode, "%s%s", route, query)
				res := anonymous.send("GET", route+query, described, false)
				assert.Equal(t, 401, res.StatusCode, "%s%s", route, query)
				assert.Empty(t, res.Header["X-Forwarded-User"])
			}
			res := wangwu.send("GET", route+"?users=zhangsan", page, false)
			assert.Empty(t, res.Header["X-Forwarded-User"])
			assert.Empty(t, res.Header["Set-Cookie"])
		}
	}
	// However many others ask.
	for i := range 600 {
		assert.Equal(t, 403, wangwu.script("/wecom/auth?users=u"+strings.Repeat("x", i)).StatusCode)
	}
	assert.Equal(t, 204, zhangsan.script("/wecom/auth?users=zhangsan").StatusCode)
}

// A query that cannot be used is named, by the reference of the answer.
func TestUnusableQueries(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_UPSTREAM=", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_LANGUAGE=en")
	c := w.signIn(g, "zhangsan")
	for query, cause := range map[string]string{
		"department=3": `"department": there is no such parameter; want users, departments, tags, members; `,
		"users=zhangsan&%0a%22" + strings.Repeat("x", 100) + "=CANARY": `"\n\"` + strings.Repeat("x", 28) + `": there is no such parameter; `,
		"tags=1&tags=2": "want tags once, with a value",
		"departments=x": "departments: ",
		"&":             "want one of users, departments, tags, members",
		"%zz":           "it cannot be read",
	} {
		for _, route := range []string{"/wecom/auth", "/wecom/forward"} {
			for _, header := range []http.Header{nil, page} {
				res := c.send("GET", route+"?"+query, header, false)
				require.Equal(t, 500, res.StatusCode, "%s", query)
				line := g.wait("another proxy asks with a query that cannot be used: nobody passes", "reference", res.reference(t))
				assert.Equal(t, "setup_fault", line["code"])
				assert.True(t, strings.HasPrefix(line["cause"].(string), cause), "%s", line["cause"])
			}
		}
	}
	assert.NotContains(t, g.log(), "CANARY")
}

// A denial names the condition that said no and the path that was asked for, and nothing else of what a client sent.
func TestDenialsSayWhere(t *testing.T) {
	w := newWorld(t)
	rules := rulesFile(t, "rules:\n  - path: /open\n    public: true\n  - path: /admin\n    users: [lisi]\n  - path: /group\n    members: active\n    departments: [3]\n")
	long := "/admin/" + strings.Repeat("x", 1000)
	described := http.Header{"X-Forwarded-Uri": {"/deep/%E6%8A%A5?token=CANARY"}}
	for _, tt := range []struct {
		name       string
		env        []string
		user, path string // who opens what
		header     http.Header
		rule, asks string
	}{
		{"a rule", nil, "zhangsan", "/admin/x?token=CANARY", nil, rules + ":4", "/admin/x"},
		{"another one", nil, "zhangsan", "/group/%E6%8A%A5", nil, rules + ":6", "/group/报"},
		{"one reading of several", nil, "zhangsan", "/admin;a/b", nil, rules + ":4", "/admin;a/b"},
		{"a long path", nil, "zhangsan", long, nil, rules + ":4", long[:200]},
		{"a path that terminals obey", nil, "zhangsan", "/admin/%C2%9B2J%E2%80%AEx", nil, rules + ":4", "/admin/\ufffd2J\ufffdx"},
		{"a query that terminals obey", nil, "zhangsan", "/wecom/auth?users=\u009b2J", nil, "?users=\ufffd2J", ""},
		{"a query", nil, "zhangsan", "/wecom/auth?departments=3", nil, "?departments=3", ""},
		{"a query about a path", nil, "zhangsan", "/wecom/auth?tags=1", described, "?tags=1", "/deep/报"},
		{"a query of forward", nil, "zhangsan", "/wecom/forward?users=lisi", described, "?users=lisi", "/deep/报"},
		{"a long query", nil, "zhangsan", "/wecom/auth?users=" + strings.Repeat("x", 900), nil, "?users=" + strings.Repeat("x", 193), ""},
		{"nobody trusts the peer", []string{"WECOM_TRUSTED_PROXIES=10.0.0.1"}, "zhangsan", "/wecom/auth?tags=1", http.Header{"X-Forwarded-Uri": {"/CANARY"}}, "?tags=1", ""},
		{"a variable", []string{"WECOM_ALLOW_TAGS=1"}, "zhangsan", "", nil, "WECOM_ALLOW_TAGS", "/wecom/callback"},
		{"two variables", []string{"WECOM_MEMBERS=visible", "WECOM_ALLOW_USERS=lisi"}, "zhangsan", "", nil, "WECOM_MEMBERS, WECOM_ALLOW_USERS", "/wecom/callback"},
		{"a rule that admits", nil, "lisi", "/admin/x", nil, "", ""},
		{"a rule that nobody can answer", nil, "zhangsan", "/group", nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := w.start(append([]string{"WECOM_AUDIT=log", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_RULES=" + rules}, tt.env...)...)
			w.fake.SignInAs(tt.user)
			c := g.client()
			c.get("/wecom/login")
			if tt.name == "a rule that nobody can answer" {
				w.fake.Always("user/get", wecomtest.Fault{Status: 500})
				defer w.fake.ClearFaults()
			}
			if tt.path != "" {
				c.send("GET", tt.path, tt.header, false)
			}
			if tt.rule != "" {
				g.wait("wecom: request refused", "code", "not_allowed", "user", tt.user, "rule", tt.rule, "path", tt.asks)
				g.wait("audit", "reason", "not_allowed", "user", tt.user, "rule", tt.rule, "path", tt.asks)
				g.wait("request", "status", 403.0, "user", tt.user)
			}
			c.CloseIdleConnections() // or the gateway waits for them
			g.stop()
			if tt.rule == "" {
				assert.NotContains(t, g.log(), `"rule":`)
				assert.NotContains(t, g.log(), `"path":`)
			}
			assert.NotContains(t, g.log(), "CANARY")
			for line := range strings.Lines(g.log()) {
				assert.LessOrEqual(t, strings.Count(line, `"user":`), 1, "%s", line)
			}
		})
	}
}
