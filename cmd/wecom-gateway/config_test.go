package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

func TestWithoutCredentialsItDoesNotStart(t *testing.T) {
	status, stdout, stderr := runOnce(t, nil)
	assert.Equal(t, 2, status)
	assert.Empty(t, stdout)
	for _, name := range []string{"WECOM_CORP_ID", "WECOM_AGENT_ID", "WECOM_SECRET", "WECOM_UPSTREAM"} {
		assert.Contains(t, stderr, name)
	}

	w := newWorld(t)
	for _, name := range []string{"WECOM_CORP_ID", "WECOM_AGENT_ID", "WECOM_SECRET"} {
		status, _, stderr := runOnce(t, w.env(name+"="))
		assert.Equal(t, 2, status)
		assert.Contains(t, stderr, name+" is missing")
		assert.Equal(t, 1, strings.Count(stderr, " is missing"))
	}
}

func TestUnusableValues(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cases := map[string][]string{
		"ADDR":                         {"nonsense", "127.0.0.1", "127.0.0.1:99999", taken.Addr().String()},
		"WECOM_UPSTREAM":               {"nonsense", "127.0.0.1:3000", "ftp://127.0.0.1/", "http://", "http://user:CANARY@127.0.0.1/", "http://127.0.0.1/?a=b", "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:0"},
		"WECOM_CORP_ID":                {"ww/../x", "企业"},
		"WECOM_AGENT_ID":               {"x", "-1"},
		"WECOM_CALLBACK_URL":           {"nonsense", "/wecom/callback", "http://app.example.com/wecom/callback", "https://app.example.com/callback", "https://app.example.com/", "https://app.example.com", "https://app.example.com/wecom/auth", "https://app.example.com/wecom/events", "https://app.example.com/wecom/login", "https://app.example.com/wecom/callback?x=1", "https://u:CANARY@app.example.com/wecom/callback"},
		"WECOM_MOUNT_PATH":             {"app", "/app/", "/other"},
		"WECOM_HOME_PATH":              {"//evil.example", "home", "/wecom/login"},
		"WECOM_TRUSTED_PROXIES":        {"nonsense", "10.0.0.0/33", "10.0.0.1,nonsense", "fe80::1%eth0", "localhost", "::ffff:10.0.0.0/104", "::ffff:10.0.0.7"},
		"WECOM_SESSION_STORE":          {"nonsense", "file:/tmp/x", "sqlite:", "sqlite:/dev/null", "sqlite:" + file + "/x", "redis://:CANARY@host:port/0", "redis://127.0.0.1/x", "postgres://u:CANARY@h:port/db", "mysql://h/db", "redis:host:6400/3", "redis:///3", "redis:/host/3", "postgres:host/db"},
		"WECOM_TOKEN_STORE":            {"nonsense", "file:", "sqlite:", "redis://:CANARY@host:port/0", "postgres://h/db", "rediss:host:6400/3"},
		"WECOM_SESSION_LIFETIME":       {"0", "-1h", "12", "forever"},
		"WECOM_IDLE_TIMEOUT":           {"-1h", "x", "13h"},
		"WECOM_RECHECK":                {"-1s", "x"},
		"WECOM_MEMBERS":                {"some", "", " "},
		"WECOM_ALLOW_USERS":            {",", "corp/lisi", ""},
		"WECOM_ALLOW_DEPARTMENTS":      {"sales", "1,x", "-1", ",", ""},
		"WECOM_ALLOW_TAGS":             {"x", ""},
		"WECOM_ALLOW_TAGS_FILE":        {"", file},
		"WECOM_RULES":                  {"", " "},
		"WECOM_SCOPE":                  {"snsapi_login"},
		"WECOM_GROUPS":                 {"departments", "names"},
		"WECOM_EMAIL":                  {"all@corp.example", "{name}@corp.example", "{email}", "{}@x"},
		"WECOM_PAGE":                   {"qr"},
		"WECOM_LANGUAGE":               {"fr"},
		"WECOM_PROFILE":                {"perhaps"},
		"WECOM_STATE_KEY_FILE":         {file, "CANARY"},
		"WECOM_SESSION_STORE_FILE":     {file, "CANARY"},
		"WECOM_DOMAIN_PROOF":           {"proof.txt", "WW_verify_a.txt,../x"},
		"WECOM_STATE_KEY":              {"CANARY"},
		"WECOM_EARLIER_STATE_KEYS":     {"CANARY", strings.Repeat("k", 32) + ",CANARY"},
		"WECOM_API_URL":                {"nonsense", "http://api.example.com"},
		"WECOM_AUTHORIZE_URL":          {"nonsense"},
		"WECOM_WEB_LOGIN_URL":          {"nonsense"},
		"WECOM_DANGEROUSLY_ALLOW_HTTP": {"2"},
		"WECOM_UPSTREAM_TIMEOUT":       {"60", "-1s"},
		"WECOM_SHUTDOWN_TIMEOUT":       {"x"},
		"WECOM_METRICS_ADDR":           {"x"},
		"WECOM_LOG_LEVEL":              {"loud"},
	}
	for name, values := range cases {
		t.Run(name, func(t *testing.T) {
			for _, value := range values {
				env := []string{name + "=" + value}
				if name == "WECOM_HOME_PATH" || name == "WECOM_MOUNT_PATH" {
					env = append(env, "WECOM_CALLBACK_URL=https://app.example.com/wecom/callback")
				}
				status, stdout, stderr := runOnce(t, w.env(env...))
				assert.Equal(t, 2, status, value)
				assert.Empty(t, stdout)
				assert.Contains(t, stderr, "  "+strings.TrimSuffix(name, "_FILE"), value)
				assert.NotContains(t, stderr, "CANARY")
				assert.Equal(t, 3, strings.Count(stderr, "\n"), "one mistake is one line: %s", stderr)
			}
		})
	}

	status, _, stderr := runOnce(t, []string{
		"ADDR=x", "WECOM_UPSTREAM=x", "WECOM_CALLBACK_URL=x", "WECOM_TRUSTED_PROXIES=x", "WECOM_SESSION_STORE=x", "WECOM_TOKEN_STORE=x",
		"WECOM_RECHECK=x", "WECOM_SCOPE=x", "WECOM_PAGE=x", "WECOM_LOG_LEVEL=x",
	})
	assert.Equal(t, 2, status)
	for _, name := range []string{
		"ADDR", "WECOM_UPSTREAM", "WECOM_CORP_ID", "WECOM_AGENT_ID", "WECOM_SECRET", "WECOM_CALLBACK_URL", "WECOM_TRUSTED_PROXIES",
		"WECOM_SESSION_STORE", "WECOM_TOKEN_STORE", "WECOM_RECHECK", "WECOM_SCOPE", "WECOM_PAGE", "WECOM_LOG_LEVEL",
	} {
		assert.Contains(t, stderr, "  "+name)
	}
}

func TestUnknownVariablesAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, meant := range map[string]string{
		"WECOM_MEMBER": "WECOM_MEMBERS", "WECOM_ALLOW_USER": "WECOM_ALLOW_USERS", "WECOM_ALOW_USERS": "WECOM_ALLOW_USERS",
		"WECOM_ALLOWED_USERS": "WECOM_ALLOW_USERS", "WECOM_UPSTREAN": "WECOM_UPSTREAM", "WECOM_ADDR": "", "WECOM_X": "", "WECOM_": "", "WECOM_PORT_": "",
	} {
		status, _, stderr := runOnce(t, w.env(name+"=CANARY"))
		assert.Equal(t, 2, status, name)
		assert.Contains(t, stderr, "  "+name+": there is no such variable", name)
		assert.NotContains(t, stderr, "CANARY")
		if meant != "" {
			assert.Contains(t, stderr, "did you mean "+meant+"?\n", name)
		}
	}
	// Kubernetes names the ports of each Service in the environment of every container.
	status, _, stderr := runOnce(t, w.env("WECOM_GATEWAY_SERVICE_HOST=10.0.0.1", "WECOM_GATEWAY_SERVICE_PORT=80", "WECOM_GATEWAY_SERVICE_PORT_HTTP=80",
		"WECOM_PORT=tcp://10.0.0.1:80", "WECOM_GATEWAY_PORT_80_TCP=tcp://10.0.0.1:80", "WECOM_GATEWAY_PORT_80_TCP_PROTO=tcp", "WECOM_GATEWAY_PORT_80_TCP_ADDR=10.0.0.1"), "-check")
	assert.Equal(t, 0, status, stderr)
}

func TestFlags(t *testing.T) {
	status, stdout, _ := runOnce(t, []string{"WECOM_CORP_ID=fromenv", "WECOM_AGENT_ID=1"}, "-print-config", "-corp-id", "fromflag", "-secret=CANARY",
		"-session-store", "postgres://u:CANARY@h/db?sslpassword=CANARY&x=1", "-token-store", "redis://:CANARY@h/0", "-state-key", "CANARY", "-earlier-state-keys", "CANARY,CANARY",
		"-event-token", "CANARY", "-event-aes-key", "CANARY", "-earlier-event-token", "CANARY", "-earlier-event-aes-key", "CANARY")
	assert.Equal(t, 0, status)
	assert.Contains(t, stdout, "WECOM_CORP_ID=fromflag\n")
	assert.Contains(t, stdout, "WECOM_AGENT_ID=1\n")
	assert.Contains(t, stdout, "WECOM_SECRET=[REDACTED]\n")
	assert.Contains(t, stdout, "WECOM_SESSION_STORE=postgres://u:[REDACTED]@h/db?sslpassword=[REDACTED]&x=1\n")
	assert.Contains(t, stdout, "WECOM_TOKEN_STORE=redis://:[REDACTED]@h/0\n")
	assert.Contains(t, stdout, "\n# WECOM_ALLOW_USERS=\n", "in an environment file it must not be empty")
	assert.NotContains(t, stdout, "CANARY")
	status, _, stderr := runOnce(t, []string{"WECOM_ALLOW_USERS=lisi"}, "-allow-users", "")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "  WECOM_ALLOW_USERS: it is set, but empty")
	for _, odd := range []string{"postgres://u:CAN/ARY@h/db", "redis://u:p@CANARY@h/0", "postgres://h/db?PassWord=CANARY", "redis://:CAN#ARY@h/0",
		"host=h user=u password=CANARY", "redis:u:CANARY@h/0", "postgres:/u:CANARY@h/db", "redis://CANARY@h/0", "postgres://h/db?p%61ssword=CANARY"} {
		_, stdout, _ = runOnce(t, nil, "-print-config", "-session-store", odd)
		assert.NotContains(t, stdout, "ARY", odd)
	}

	status, stdout, _ = runOnce(t, nil, "-version")
	assert.Equal(t, 0, status)
	assert.Regexp(t, `^wecom-gateway \S.* go1\.`, stdout)
	status, _, help := runOnce(t, nil, "-h")
	assert.Equal(t, 0, status)
	for line := range strings.Lines(func() string { _, out, _ := runOnce(t, nil, "-print-config"); return out }()) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), "=")
		assert.Contains(t, help, ", "+name+"\n")
	}
	for _, args := range [][]string{{"-nonsense"}, {"nonsense"}, {"-check=perhaps"}} {
		status, _, stderr := runOnce(t, nil, args...)
		assert.Equal(t, 2, status)
		assert.NotEmpty(t, stderr)
	}
}

// Every variable stands in the documents and in -h, and nothing else does.
func TestDocumentsNameEveryVariable(t *testing.T) {
	_, out, _ := runOnce(t, nil, "-print-config")
	for _, file := range []string{"../../docs/gateway.md", "../../docs/gateway.zh-CN.md"} {
		text := string(must(os.ReadFile(file)))
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), "=")
			assert.Contains(t, text, "`"+name+"`", file)
		}
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(w.fake.Secret()+"\n"), 0o600))
	gone := newUpstream(t)
	gone.Close()
	rules := rulesFile(t, "rules:\n  - path: /a\n    departments: [3, 2]\n    tags: [1]\n")
	wrong := rulesFile(t, "rules:\n  - path: /a\n    departments: [3]\n  - path: /b\n    departments: [3, 99]\n    tags: [7]\n")
	users := rulesFile(t, "rules:\n  - path: /a\n    users: [lisi, zhangsna]\n")
	clients := clientsFile(t, "clients:\n- id: a\n  public: true\n  redirect_uris: [https://a/]\n  departments: ['2,98']\n")
	cases := []struct {
		name   string
		env    []string
		status int
		says   []string
	}{
		{"all is well", []string{"WECOM_SESSION_STORE=sqlite:" + filepath.Join(t.TempDir(), "s.db"), "WECOM_TOKEN_STORE=sqlite:" + filepath.Join(t.TempDir(), "t.db")}, 0, nil},
		{"no upstream", []string{"WECOM_UPSTREAM="}, 0, []string{"none    upstream"}},
		{"no events", nil, 0, []string{"none    events"}},
		{"events", []string{"WECOM_EVENT_TOKEN=" + eventToken, "WECOM_EVENT_AES_KEY=" + eventKey}, 0, []string{"ok      events", "warning WECOM_MEMBERS"}},
		{"events for active members", []string{"WECOM_EVENT_TOKEN=" + eventToken, "WECOM_EVENT_AES_KEY=" + eventKey, "WECOM_MEMBERS=active"}, 0, []string{"ok      events"}},
		{"secret in a file", []string{"WECOM_SECRET=", "WECOM_SECRET_FILE=" + secret}, 0, nil},
		{"wrong secret", []string{"WECOM_SECRET=CANARY"}, 1, []string{"failed  WeCom", "errcode 40001", "WECOM_SECRET"}},
		{"wrong agent", []string{"WECOM_AGENT_ID=9999999"}, 1, []string{"failed  WeCom"}},
		{"upstream away", []string{"WECOM_UPSTREAM=" + gone.URL}, 1, []string{"failed  upstream"}},
		{"session store away", []string{"WECOM_SESSION_STORE=redis://:CANARY@127.0.0.1:1/0"}, 1, []string{"failed  session store (redis://:[REDACTED]@127.0.0.1:1/0)"}},
		{"token store away", []string{"WECOM_TOKEN_STORE=redis://127.0.0.1:1/0"}, 1, []string{"failed  token store"}},
		{"token store open", []string{"WECOM_TOKEN_STORE=file:" + dir}, 1, []string{"failed  token store", "chmod 700"}},
		{"nothing is restricted", nil, 0, []string{
			"none    restriction (WECOM_MEMBERS, WECOM_ALLOW_…): every member of the corp may sign in\n",
			"none    departments and tags (", "none    users (user/get)\n", "none    rules\n", "none    clients\n", "none    audit\n"}},
		{"departments and tags", []string{"WECOM_ALLOW_DEPARTMENTS=1,2, 04", "WECOM_ALLOW_TAGS=1", "WECOM_RULES=" + rules, "WECOM_AUDIT=log"}, 0,
			[]string{"ok      departments and tags (", "ok      rules (" + rules + ")\n", "ok      audit (log)\n"}},
		{"departments that the app does not see", []string{"WECOM_ALLOW_DEPARTMENTS=2,5,99"}, 1, []string{
			"failed  departments and tags (department/simplelist, tag/list): \n        WECOM_ALLOW_DEPARTMENTS: there is no department 5, or the app does not see it\n" +
				"        WECOM_ALLOW_DEPARTMENTS: there is no department 99, or the app does not see it\n        wecom-gateway departments lists", "可见范围"}},
		{"tags that there are not", []string{"WECOM_ALLOW_TAGS=1,7"}, 1, []string{": \n        WECOM_ALLOW_TAGS: there is no tag 7, or"}},
		{"what files name", []string{"WECOM_RULES=" + wrong, "WECOM_ISSUER_CLIENTS=" + clients}, 1, []string{
			"\n        " + wrong + ":4: there is no department 99, or", "\n        " + wrong + ":4: there is no tag 7, or", "\n        " + clients + ":2: there is no department 98, or",
			"ok      rules (" + wrong + ")\n", "ok      clients (" + clients + ")\n"}},
		{"users", []string{"WECOM_ALLOW_USERS=ZhangSan,lisi"}, 0, []string{"ok      restriction (WECOM_MEMBERS, WECOM_ALLOW_…)\n", "ok      users (user/get)\n"}},
		{"users whom the app does not see", []string{"WECOM_ALLOW_USERS=lisi, sunqi", "WECOM_RULES=" + users}, 0, []string{"ok      users (user/get)\n",
			`warning WECOM_ALLOW_USERS: there is no member "sunqi", or the app does not see them`, "warning " + users + `:2: there is no member "zhangsna", or`}},
		{"warnings", []string{"WECOM_TRUSTED_PROXIES=0.0.0.0/0"}, 0, []string{"warning WECOM_TRUSTED_PROXIES"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			status, stdout, stderr := runOnce(t, w.env(tc.env...), "-check")
			assert.Equal(t, tc.status, status, "%s%s", stdout, stderr)
			for _, says := range tc.says {
				assert.Contains(t, stdout, says)
			}
			assert.Equal(t, tc.status, strings.Count(stdout, "failed  "))
			assert.NotContains(t, stdout+stderr, "CANARY")
		})
	}
	// What WeCom refuses to show is not said to be missing.
	calls := w.fake.Calls("tag/list")
	for code, says := range map[int]string{60011: "may not see", 48002: "no permission"} {
		w.fake.Always("department/simplelist", wecomtest.Fault{ErrCode: code})
		status, stdout, _ := runOnce(t, w.env("WECOM_ALLOW_DEPARTMENTS=2"), "-check")
		assert.Equal(t, 1, status)
		assert.Regexp(t, `failed  departments and tags \(.*\): department/simplelist: errcode \d+ \(.*`+says+`.*应用管理`, stdout)
		assert.NotContains(t, stdout, "there is no")
	}
	assert.Equal(t, calls, w.fake.Calls("tag/list"), "no tag is named")
	w.fake.Always("user/get", wecomtest.Fault{Status: 500})
	status, stdout, _ := runOnce(t, w.env("WECOM_ALLOW_USERS=zhangsan"), "-check")
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, "failed  users (user/get): user/get: HTTP status 500")
	assert.NotContains(t, stdout, "there is no")
	w.fake.ClearFaults()
	// Of many users the first are asked for, each once.
	calls = w.fake.Calls("user/get")
	many := "zhangsan,zhangsan"
	for n := range 60 {
		many += fmt.Sprint(",u", n)
	}
	status, stdout, _ = runOnce(t, w.env("WECOM_ALLOW_USERS="+many), "-check")
	assert.Equal(t, 0, status)
	assert.Contains(t, stdout, "warning users: only the first 50 were looked up\n")
	assert.Equal(t, 49, strings.Count(stdout, "there is no member"))
	assert.Equal(t, 50, w.fake.Calls("user/get")-calls)
	// Beside a gateway that runs at the same address.
	g := w.start()
	status, _, _ = runOnce(t, w.env("ADDR="+strings.TrimPrefix(g.url, "http://")), "-check")
	assert.Equal(t, 0, status)
}

func TestF22_Shutdown(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.signedIn()
	arrived, release := make(chan struct{}), make(chan struct{})
	w.upstream.answer(func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = rw.Write([]byte("finished"))
	})
	got := make(chan answer, 1)
	go func() {
		res, err := c.try(must(http.NewRequest("GET", g.url+"/slow", nil)), false)
		assert.NoError(t, err)
		got <- res
	}()
	<-arrived
	g.terminate()
	g.wait("the gateway finishes what is in flight")
	eventually(t, "no new connections", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(release)
	if res := <-got; assert.NotNil(t, res.Response) {
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "finished", res.text)
	}
	assert.Equal(t, 0, g.stop())
}

func TestF22_ShutdownHasAnEnd(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_SHUTDOWN_TIMEOUT=200ms")
	c := g.signedIn()
	arrived := make(chan struct{})
	w.upstream.answer(func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		close(arrived)
		<-r.Context().Done() // the gateway's end ends it
	})
	go func() { _, _ = c.try(must(http.NewRequest("GET", g.url+"/events", nil)), false) }()
	<-arrived
	began := time.Now()
	assert.Equal(t, 0, g.stop())
	assert.Less(t, time.Since(began), 5*time.Second)
	g.wait("requests were cut off")
	g.wait("request", "route", "app")
}

func TestLogAndMetrics(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_METRICS_ADDR=127.0.0.1:0", "WECOM_LOG_LEVEL=debug", "WECOM_ALLOW_USERS=zhangsan")
	c := g.client()
	c.get("/CANARYPATH/x?token=CANARYQUERY")
	c.script("/wecom/healthz")
	c.script("/healthz")
	g.client().script("/CANARYPATH?CANARYQUERY")
	w.fake.SignInAs("lisi")
	g.client().get("/")
	w.fake.SignInAs("zhangsan")
	w.fake.Secret()
	for _, code := range w.fake.Codes() {
		assert.NotContains(t, g.log(), code.Value)
		assert.NotContains(t, g.log(), code.State)
	}
	line := g.wait("request", "route", "app", "status", float64(200))
	assert.Equal(t, "zhangsan", line["user"])
	assert.Equal(t, "GET", line["method"])
	assert.Equal(t, "127.0.0.1", line["client"])
	assert.Positive(t, line["size"])
	assert.Positive(t, line["seconds"])
	g.wait("request", "route", "callback", "status", float64(303))
	g.wait("request", "route", "callback", "status", float64(403))
	g.wait("request", "route", "healthz", "level", "DEBUG")
	g.wait("request", "route", "own", "status", float64(404))

	g.client().send(strings.Repeat("X", 1000), "/wecom/auth", nil, false)
	g.wait("request", "route", "auth", "method", strings.Repeat("X", 20))

	metrics := g.metrics()
	for _, line := range []string{
		`wecom_signins_total{errcode="0",outcome="ok"} 1`,
		`wecom_signins_total{errcode="0",outcome="not_allowed"} 1`,
		`wecom_signin_starts_total{kind="first"} 2`,
		`wecom_refused_total{code="login_required",errcode="0"} 1`,
		`wecom_gateway_requests_total{class="2xx",route="app"} 1`,
		`wecom_gateway_requests_total{class="4xx",route="app"} 1`,
		`wecom_gateway_requests_total{class="3xx",route="callback"} 1`,
		`wecom_gateway_request_duration_seconds_count{route="app"}`,
		`wecom_signin_duration_seconds_count 2`,
	} {
		assert.Contains(t, metrics, line)
	}
	for _, text := range []string{g.log(), metrics} {
		assert.NotContains(t, text, "CANARY")
		assert.NotContains(t, text, w.fake.Secret())
		for pair := range strings.SplitSeq(c.cookie(), "; ") {
			_, value, _ := strings.Cut(pair, "=")
			assert.NotContains(t, text, value)
		}
	}
	assert.Equal(t, 404, c.get("/wecom/metrics").StatusCode)
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	g := w.start()
	c := g.client()
	for _, path := range []string{"/healthz", "/wecom/readyz"} {
		res := c.script(path)
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "ok\n", res.text)
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		assert.Equal(t, 200, c.send("HEAD", path, nil, false).StatusCode)
		assert.Equal(t, 405, c.send("POST", path, nil, false).StatusCode)
	}
	assert.Zero(t, w.upstream.requests.Load())
}
