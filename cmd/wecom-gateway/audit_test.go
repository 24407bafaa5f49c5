package main_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

// A revocation by the command line, or by the person, is on every replica.
func TestRevoke(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) string{
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions.db") },
		"Redis":      func(t *testing.T) string { return newRedis(t).start().url() },
		"PostgreSQL": func(t *testing.T) string { return postgresURL(t) + "&sslpassword=CANARY" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			addr, store := freeaddr.Get(t), newStore(t)
			env := []string{"ADDR=" + addr, "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback", "WECOM_SESSION_STORE=" + store, "WECOM_AUDIT=log"}
			one := w.start(env...)
			two := w.start(append(env, "ADDR=127.0.0.1:0")...)
			signIn := func(user string) *client {
				w.fake.SignInAs(user)
				return one.signedIn()
			}
			// in says where somebody is signed in.
			in := func(c *client) (list []int) {
				for i, g := range []*gateway{one, two} {
					if (&client{c.Client, g}).script("/wecom/auth").StatusCode == 204 {
						list = append(list, i+1)
					}
				}
				return list
			}
			revoke := func(args ...string) (stdout, stderr string) {
				status, stdout, stderr := runOnce(t, append(w.env(env...), "WECOM_LOG_LEVEL=error"), append([]string{"revoke"}, args...)...)
				assert.Zero(t, status, "%s", stderr)
				return stdout, stderr
			}

			zhangsan, again, lisi := signIn("zhangsan"), signIn("zhangsan"), signIn("lisi")
			require.Equal(t, []int{1, 2}, in(zhangsan))
			stdout, stderr := revoke("ZhangSan", "wangwu")
			shown := regexp.MustCompile(`CANARY|(:)[^:/]*(@)`).ReplaceAllString(store, "$1[REDACTED]$2")
			revoked := func(whose string) string {
				return "revoked " + whose + " for corp " + w.fake.CorpID() + ", app " + w.fake.AgentID() + ", in " + shown + ": all sessions that began until now, if there are any\n"
			}
			assert.Equal(t, revoked("ZhangSan")+revoked("wangwu"), stdout)
			assert.Equal(t, []string{"revoked ZhangSan  operator operator ", "revoked wangwu  operator operator "}, audited(t, stderr))
			eventually(t, "their sessions end", func() bool { return len(in(zhangsan))+len(in(again)) == 0 })
			assert.Equal(t, []int{1, 2}, in(lisi))

			zhangsan, again = signIn("zhangsan"), signIn("zhangsan")
			require.Equal(t, 303, zhangsan.send("POST", "/wecom/logout?everywhere=1", nil, false).StatusCode)
			eventually(t, "the other session ends", func() bool { return len(in(again)) == 0 })
			assert.Equal(t, []int{1, 2}, in(lisi))

			stdout, _ = revoke("-all")
			assert.Equal(t, revoked("everybody"), stdout)
			eventually(t, "everybody's sessions end", func() bool { return len(in(lisi)) == 0 })
			assert.Equal(t, []int{1, 2}, in(signIn("lisi")), "who signs in anew is in")
		})
	}
}

// A typo is noticed, though those who left are revoked too.
func TestRevokeOfStrangers(t *testing.T) {
	w := newWorld(t)
	addr := freeaddr.Get(t)
	env := []string{"ADDR=" + addr, "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback", "WECOM_SESSION_STORE=sqlite:" + filepath.Join(t.TempDir(), "sessions.db")}
	g := w.start(env...)
	var leaver *client
	for _, tt := range []struct {
		name  string
		set   func()
		args  []string
		says  map[string]string // by the people whom WeCom does not confirm
		calls int
	}{
		{"everybody", func() {}, []string{"-all"}, nil, 0},
		{"members", func() {}, []string{"zhangsan", "LiSi"}, nil, 2},
		{"a typo", func() {}, []string{"zhangsna", "zhangsan"}, map[string]string{"zhangsna": "(errcode 60111): a typo? If they left, all is done"}, 2},
		{"somebody whom the app does not see", func() {}, []string{"sunqi"}, map[string]string{"sunqi": "or none whom the app sees (errcode 60011)"}, 1},
		{"somebody who left", func() { leaver = w.signIn(g, "wangwu"); w.fake.RemoveMember("wangwu") }, []string{"wangwu"}, map[string]string{"wangwu": "If they left, all is done"}, 1},
		{"WeCom is away", func() { w.fake.Always("user/get", wecomtest.Fault{Status: 500}) }, []string{"zhangsan"}, map[string]string{"zhangsan": "WeCom does not confirm that there is such a member: user/get: HTTP status 500"}, 1},
	} {
		calls := w.fake.Calls("user/get")
		tt.set()
		status, stdout, stderr := runOnce(t, append(w.env(env...), "WECOM_LOG_LEVEL=error"), append([]string{"revoke"}, tt.args...)...)
		assert.Zero(t, status, tt.name)
		assert.Equal(t, len(tt.args), strings.Count(stdout, "revoked "), tt.name)
		assert.Equal(t, len(tt.says), strings.Count(stderr, "\n"), "%s: %s", tt.name, stderr)
		for who, says := range tt.says {
			assert.Contains(t, stderr, "wecom-gateway: "+who+": ", tt.name)
			assert.Contains(t, stderr, says, tt.name)
			assert.NotContains(t, stderr, "可见范围", "nobody is to be added")
		}
		assert.Equal(t, tt.calls, w.fake.Calls("user/get")-calls, tt.name)
	}
	eventually(t, "the leaver's session ends", func() bool { return leaver.script("/wecom/auth").StatusCode == 401 })
}

func TestRevokeThatCannotWork(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		store  string
		args   []string
		status int
		says   string
	}{
		{"memory", []string{"zhangsan"}, 2, "has to be restarted"},
		{"redis://127.0.0.1:1/0", nil, 2, "want user ids, or -all"},
		{"redis://127.0.0.1:1/0", []string{"-all", "zhangsan"}, 2, "want user ids, or -all"},
		{"redis://127.0.0.1:1/0", []string{"zhangsan"}, 1, "the revocation is not stored"},
	} {
		status, stdout, stderr := runOnce(t, w.env("WECOM_SESSION_STORE="+tt.store), append([]string{"revoke"}, tt.args...)...)
		assert.Equal(t, tt.status, status, "%s %q", tt.store, tt.args)
		assert.Contains(t, stderr, tt.says)
		assert.Empty(t, stdout)
	}
}

// audited reads the records of a log: event, user, client, route, reason, reference.
func audited(t *testing.T, log string) (list []string) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(log))
	for lines.Scan() {
		var r struct{ Time, Msg, Event, User, Client, Route, Reason, Reference string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), "%s", lines.Text())
		if r.Msg == "audit" {
			assert.NotEmpty(t, r.Time)
			list = append(list, strings.Join([]string{r.Event, r.User, r.Client, r.Route, r.Reason, r.Reference}, " "))
		}
	}
	return list
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "audit.log")
	g := w.start(append(eventPair, "WECOM_AUDIT="+file, "WECOM_ALLOW_USERS=zhangsan")...)
	// records returns what was written since it was last called.
	records := func() []string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.Rename(file, file+".1"), "it can be moved away")
		return audited(t, string(text))
	}
	refused := func(a answer) string {
		var said struct{ Reference string }
		a.json(t, &said)
		require.NotEmpty(t, said.Reference)
		return said.Reference
	}

	c := g.signedIn()
	assert.Equal(t, []string{"signin zhangsan 127.0.0.1 callback  "}, records())

	reference := refused(c.script("/wecom/auth?users=lisi"))
	assert.Equal(t, []string{"denied zhangsan 127.0.0.1 auth not_allowed " + reference}, records())

	reference = refused(c.send("POST", "/wecom/logout", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false))
	c.script("/page")
	g.client().script("/page")
	g.client().send("POST", "/wecom/logout", nil, false)
	require.Equal(t, 303, c.send("POST", "/wecom/logout?everywhere=1", nil, false).StatusCode)
	assert.Equal(t, []string{
		"refused  127.0.0.1 logout cross_origin " + reference,
		"revoked zhangsan 127.0.0.1 logout everywhere ",
		"signout zhangsan 127.0.0.1 logout  ",
	}, records(), "neither pages nor strangers are recorded")

	w.fake.SignInAs("lisi")
	res := g.client().get("/")
	require.Equal(t, 403, res.StatusCode)
	list := records()
	require.Len(t, list, 1)
	begins, reference := list[0][:len(list[0])-10], list[0][len(list[0])-10:]
	assert.Equal(t, "refused lisi 127.0.0.1 callback not_allowed ", begins)
	assert.Contains(t, res.text, reference)

	require.NoError(t, w.fake.SaveEventReceiver(w.receiver(g)))
	w.fake.RemoveMember("zhangsan")
	require.NoError(t, w.fake.AwaitEvents(t.Context()))
	assert.Equal(t, []string{"revoked zhangsan 127.0.0.1 events event "}, records())
	assert.Empty(t, audited(t, g.log()))
}

func TestAuditIsOffByDefault(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	g.signedIn().send("POST", "/wecom/logout", nil, false)
	require.Zero(t, g.stop())
	assert.NotContains(t, g.log(), `"audit"`)

	status, _, stderr := runOnce(t, w.env("WECOM_AUDIT="+t.TempDir()))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "WECOM_AUDIT: ")
}
