package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

const clientSecret = "a-secret-of-grafana-0123456789"

var grafana = fmt.Sprintf(`clients:
  - id: grafana
    secret: sha256:%x
    redirect_uris: [https://grafana.example.com/login]
    users: [zhangsan, lisi]
  - id: closed
    secret: $CLOSED_SECRET
    redirect_uris: [https://closed.example.com/]
    users: [lisi]
  - id: spa
    public: true
    algorithm: ES256
    redirect_uris: [https://spa.example.com/]
`, sha256.Sum256([]byte(clientSecret)))

func clientsFile(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "clients.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// authorize asks for a code, and returns what the client is told.
func (c *client) authorize(id, back string) url.Values {
	c.g.t.Helper()
	query := url.Values{"client_id": {id}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid profile email groups"}, "state": {"s"}}
	res := c.once("/wecom/authorize?" + query.Encode())
	for tries := 0; res.StatusCode == 503 && tries < 3; tries++ { // the store is busy: a person reloads
		res = c.once("/wecom/authorize?" + query.Encode())
	}
	u, err := url.Parse(res.Header.Get("Location"))
	require.NoError(c.g.t, err)
	require.True(c.g.t, strings.HasPrefix(u.String(), back), "%d %s\n%s", res.StatusCode, res.text, c.g.log())
	return u.Query()
}

type tokens struct {
	Status      int
	AccessToken string `json:"access_token"`
	IDToken     string `json:"id_token"`
	Error       string
}

// token redeems a code, as a client does: without a browser.
func (g *gateway) token(code string) (got tokens, err error) {
	res, err := http.PostForm(g.url+"/wecom/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"https://grafana.example.com/login"}, "client_id": {"grafana"}, "client_secret": {clientSecret},
	})
	if err != nil {
		return got, err
	}
	defer res.Body.Close()
	err = json.NewDecoder(res.Body).Decode(&got)
	got.Status = res.StatusCode
	return got, err
}

func (g *gateway) userinfo(access string) int {
	r, _ := http.NewRequest("GET", g.url+"/wecom/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+access)
	for {
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		_ = res.Body.Close()
		if res.StatusCode != 503 { // a store that is busy may be asked again
			return res.StatusCode
		}
	}
}

func (g *gateway) keys() (set jose.JSONWebKeySet) {
	g.t.Helper()
	res, err := http.Get(g.url + "/wecom/keys")
	require.NoError(g.t, err)
	defer res.Body.Close()
	require.NoError(g.t, json.NewDecoder(res.Body).Decode(&set))
	return set
}

func (g *gateway) verify(raw string) (claims map[string]any) {
	g.t.Helper()
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	require.NoError(g.t, err)
	set := g.keys()
	require.NoError(g.t, token.Claims(&set, &claims))
	return claims
}

func TestIssuer(t *testing.T) {
	w := newWorld(t)
	w.fake.AddTag(wecomtest.Tag{ID: 2, Name: "a,b/c: %d", Users: []string{"zhangsan"}})
	file := clientsFile(t, grafana)
	g := w.start("WECOM_ISSUER_CLIENTS="+file, "CLOSED_SECRET=a-secret-of-closed", "WECOM_PROFILE=true", "WECOM_GROUPS=departments,tags", "WECOM_EMAIL={user_id}@corp.example")
	c := g.signedIn()

	got, err := g.token(c.authorize("grafana", "https://grafana.example.com/login").Get("code"))
	require.NoError(t, err)
	require.Equal(t, 200, got.Status, got.Error)
	claims := g.verify(got.IDToken)
	assert.Equal(t, g.url+"/wecom", claims["iss"])
	assert.Equal(t, "张三", claims["name"])
	assert.Equal(t, "zhangsan@corp.example", claims["email"])
	assert.Equal(t, []any{"研发部", "tag:a,b%2Fc%3A %25d"}, claims["groups"])
	assert.Equal(t, []any{2.0}, claims["departments"])
	assert.Equal(t, 200, g.userinfo(got.AccessToken))
	assert.Equal(t, "access_denied", c.authorize("closed", "https://closed.example.com/").Get("error"))
	g.wait("wecom: request refused", "code", "not_allowed", "rule", file+":6", "path", "/wecom/authorize")
	assert.Zero(t, w.upstream.requests.Load()-1, "nothing of it reaches the upstream")

	res := c.script("/wecom/.well-known/openid-configuration")
	assert.Equal(t, 200, res.StatusCode)
	assert.Contains(t, res.text, `"issuer":"`+g.url+`/wecom"`)

	// A file that is wrong changes nothing; one that is right does.
	require.NoError(t, os.WriteFile(file, []byte("clients:\n  - id: grafana\n"), 0o600))
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	line := g.wait("WECOM_ISSUER_CLIENTS cannot be used: the clients from before stay")
	assert.Contains(t, line["cause"], "line 2 (grafana): secret:")
	assert.Equal(t, 200, g.userinfo(got.AccessToken))
	_, others, _ := strings.Cut(grafana, "  - id: closed")
	require.NoError(t, os.WriteFile(file, []byte("clients:\n  - id: closed"+others), 0o600))
	require.NoError(t, g.cmd.Process.Signal(syscall.SIGHUP))
	g.wait("the clients were read again")
	assert.Equal(t, 401, g.userinfo(got.AccessToken), "its client is gone")
	for _, secret := range []string{clientSecret, "a-secret-of-closed", got.AccessToken, got.IDToken} {
		assert.NotContains(t, g.log(), secret)
	}

	// Without the setting there is no issuer.
	plain := w.start()
	assert.Equal(t, 404, plain.signedIn().script("/wecom/keys").StatusCode)
}

func TestIssuerMistakes(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string][]string{
		"":           {"WECOM_ISSUER_CLIENTS: it holds no clients"},
		"clients: [": {"WECOM_ISSUER_CLIENTS: "},
		"client:\n":  {"WECOM_ISSUER_CLIENTS: line 1: field client not found"},
		"clients:\n- id: a\n  redirect_uris: [https://a/]\n- id: b\n  public: true\n":                             {"line 2 (a): secret:", "line 4 (b): RedirectURIs: missing"},
		"clients:\n- id: a\n  secret: in-plain-text-0123456\n  redirect_uris: [https://a/]\n":                     {"line 2 (a): secret: want sha256:"},
		"clients:\n- id: a\n  secret: $NOT_SET\n  redirect_uris: [https://a/]\n":                                  {"line 2 (a): secret: the variable NOT_SET"},
		"clients:\n- id: a\n  public: true\n  offline_access: 30d\n  redirect_uris: [https://a/]\n":               {"line 4: cannot unmarshal !!str `30d` into time.Duration"},
		"clients:\n- id: a\n  public: true\n  redirect_uris: [http://a/]\n":                                       {"line 2 (a): \"http://a/\": want https"},
		"clients:\n- id: a\n  public: true\n  redirect_uris: [https://a/]\n  tags: [x]\n":                         {"line 2 (a): tags:"},
		"clients:\n- id: a\n  secret: $WECOM_SECRET\n  redirect_uris: [https://a/]\n":                             {"line 2 (a): secret: WECOM_SECRET is"},
		"clients:\n- id: a\n  public: true\n  redirect_uris: [https://a/]\n  tags:\n- id: b\n  departments: []\n": {"line 5: tags is empty", "line 7: departments is empty"},
		"clients:\n- id: a\n  scopes: &none []\n  public: true\n  redirect_uris: [https://a/]\n  users: *none\n":  {"line 6: users is empty"},
	} {
		status, _, stderr := runOnce(t, w.env("WECOM_ISSUER_CLIENTS="+clientsFile(t, text)))
		assert.Equal(t, 2, status, text)
		for _, part := range want {
			assert.Contains(t, stderr, part, text)
		}
		assert.NotContains(t, stderr, "in-plain-text")
	}
	status, _, stderr := runOnce(t, w.env("WECOM_ASSERTION_AUDIENCE=grafana", "WECOM_SIGNING_KEYS=a-key-that-is-none"))
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "WECOM_ASSERTION_AUDIENCE: want a URL")
	assert.Contains(t, stderr, "WECOM_SIGNING_KEYS: want private keys in PEM")
	assert.NotContains(t, stderr, "a-key-that-is-none")
}

// -check shows the keys that the gateways have.
func TestCheckKeys(t *testing.T) {
	w := newWorld(t)
	env := []string{"WECOM_ISSUER_CLIENTS=" + clientsFile(t, grafana+"    offline_access: 720h\n"), "CLOSED_SECRET=a-secret-of-closed"}
	shared := append(env, "WECOM_SESSION_STORE=sqlite:"+filepath.Join(t.TempDir(), "sessions"), "WECOM_CALLBACK_URL=http://127.0.0.1:8080/wecom/callback")
	g := w.start(shared...)
	status, stdout, _ := runOnce(t, w.env(shared...), "-check")
	assert.Equal(t, 0, status, stdout)
	assert.Contains(t, stdout, "\nok      signing keys\n")
	for _, k := range g.keys().Keys {
		assert.Contains(t, stdout, "\n        "+k.Algorithm+" "+k.KeyID+" made "+time.Now().Format("2006-"))
	}
	assert.Equal(t, 2, strings.Count(stdout, " 0 days ago, signs\n"))
	assert.Contains(t, stdout, "warning WECOM_ISSUER_CLIENTS: with offline_access,")

	_, stdout, _ = runOnce(t, w.env(append(env, "WECOM_RECHECK=10m")...), "-check")
	assert.Contains(t, stdout, "none    signing keys (in memory: each start makes new ones)\n")
	assert.NotContains(t, stdout, "offline_access")
}

func TestPrintClient(t *testing.T) {
	w := newWorld(t)
	env := w.env("WECOM_ISSUER_CLIENTS="+clientsFile(t, grafana), "CLOSED_SECRET=a-secret-of-closed", "WECOM_CALLBACK_URL=https://sso.example.com/wecom/callback")
	status, stdout, stderr := runOnce(t, env, "-print-client", "grafana")
	require.Equal(t, 0, status, stderr)
	assert.Contains(t, stdout, "auth_url = https://sso.example.com/wecom/authorize")
	assert.NotContains(t, stdout, "clients:")
	_, stdout, _ = runOnce(t, env, "-print-client", "wiki")
	_, rest, _ := strings.Cut(stdout, "secret: sha256:")
	sum, _, _ := strings.Cut(rest, "\n")
	_, rest, _ = strings.Cut(stdout, "the secret ")
	secret, _, _ := strings.Cut(rest, ",")
	want := sha256.Sum256([]byte(secret))
	assert.Equal(t, hex.EncodeToString(want[:]), sum)
	assert.Contains(t, stdout, "client_secret = "+secret)
}

// The pages show what -print-client prints, for the clients of their own entries.
func TestPrintClientIsWhatThePagesShow(t *testing.T) {
	block := regexp.MustCompile("(?ms)^( *)```[a-z]+\\n(.*?)^ *```$")
	for _, page := range []string{"issuer.md", "issuer.zh-CN.md", "issuer-programs.md", "issuer-programs.zh-CN.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		require.NoError(t, err)
		sections := strings.Split(string(text), "\n## ")[1:]
		if strings.HasPrefix(page, "issuer.") {
			sections = sections[:1] // the others show no program
		}
		for _, section := range sections {
			title, _, _ := strings.Cut(section, "\n")
			var entry string
			var settings []string
			for _, m := range block.FindAllStringSubmatch(section, -1) {
				code := strings.TrimPrefix(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"), "\n") // as in a list
				switch {
				case strings.HasPrefix(code, "clients:"):
					entry = code
				case !strings.HasPrefix(code, "export "):
					settings = append(settings, code)
				}
			}
			require.NotEmpty(t, settings, "%s: %s", page, title)
			_, id, _ := strings.Cut(entry, "id: ")
			id, _, _ = strings.Cut(id, "\n")
			env := newWorld(t).env("WECOM_CALLBACK_URL=https://sso.example.com/wecom/callback", "WECOM_ISSUER_CLIENTS="+clientsFile(t, entry),
				strings.ToUpper(id)+"_CLIENT_SECRET=a-secret-of-the-client")
			status, printed, stderr := runOnce(t, env, "-print-client", id)
			require.Equal(t, 0, status, stderr)
			for _, code := range settings {
				assert.Contains(t, printed, strings.ReplaceAll(code, "the-secret", "(the client's secret)"), "%s: %s", page, title)
			}
			_, path, _ := strings.Cut(entry, id+".example.com")
			path, _, _ = strings.Cut(path, "]")
			_, printed, _ = runOnce(t, env, "-print-client", "new")
			assert.Contains(t, printed, "https://new.example.com"+path+" ", "%s: %s", page, title)
		}
	}
}

// The program behind learns from a signature who it is, in proxy and in forward mode.
func TestAssertion(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_ASSERTION_AUDIENCE=https://wiki.example.com", "WECOM_PROFILE=true")
	c := g.signedIn()
	forged := http.Header{"X-Wecom-Assertion": {"forged"}, "x_wecom_assertion": {"forged"}}
	seen := c.send("GET", "/page", forged, false).seen(t)
	require.Len(t, seen.Header["X-Wecom-Assertion"], 1)
	assert.NotContains(t, fmt.Sprint(seen.Header), "forged")
	for name, raw := range map[string]string{
		"proxy": seen.Header.Get("X-Wecom-Assertion"),
		"auth":  c.script("/wecom/auth").Header.Get("X-Wecom-Assertion"),
	} {
		claims := g.verify(raw)
		assert.Equal(t, "https://wiki.example.com", claims["aud"], name)
		assert.Equal(t, g.url+"/wecom", claims["iss"])
		assert.Equal(t, "zhangsan", claims["preferred_username"])
		assert.Equal(t, "zhangsan", claims["identity"].(map[string]any)["user_id"])
	}
	assert.Empty(t, g.client().script("/wecom/auth").Header.Get("X-Wecom-Assertion"))

	// What is not wanted is there and empty: a proxy that copies it overwrites a client's.
	plain := w.start()
	seen = plain.signedIn().send("GET", "/page", forged, false).seen(t)
	assert.Equal(t, []string{""}, seen.Header["X-Wecom-Assertion"])
}

// A relying party is told that people are out: by whichever gateway, or command, ended their sessions.
func TestBackChannelLogout(t *testing.T) {
	for name, open := range map[string]func(*testing.T) string{
		"Redis":      func(t *testing.T) string { return newRedis(t).start("--appendfsync", "everysec").url() },
		"PostgreSQL": postgresURL,
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions") },
	} {
		t.Run(name, func(t *testing.T) {
			w, told := newWorld(t), make(chan string, 10)
			program := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.FormValue("logout_token") }))
			t.Cleanup(program.Close)
			addr := freeaddr.Get(t)
			env := append([]string{
				"WECOM_ISSUER_CLIENTS=" + clientsFile(t, strings.Replace(grafana, "  - id: closed", "    backchannel_logout_uri: "+program.URL+"/logout\n  - id: closed", 1)),
				"CLOSED_SECRET=a-secret-of-closed", "WECOM_SESSION_STORE=" + open(t), "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback",
			}, eventPair...)
			g := w.start(append(env, "ADDR="+addr)...)
			other := w.start(env...)
			r := w.receiver(other)
			r.AgentID = ""
			require.NoError(t, w.fake.SaveEventReceiver(r))
			for _, end := range []struct {
				name    string
				do      func(*client)
				revokes bool
			}{
				{"logout", func(c *client) { c.send("POST", "/wecom/logout", nil, false) }, false},
				{"logout everywhere", func(c *client) { c.send("POST", "/wecom/logout?everywhere=1", nil, false) }, true},
				{"command", func(*client) {
					status, _, stderr := runOnce(t, w.env(env...), "revoke", "zhangsan")
					assert.Equal(t, 0, status, stderr)
				}, true},
				{"event", func(*client) { w.fake.RemoveMember("zhangsan") }, true},
			} {
				c := g.signedIn()
				got, err := other.token(c.authorize("grafana", "https://grafana.example.com/login").Get("code"))
				require.NoError(t, err)
				require.Equal(t, 200, got.Status, got.Error)
				require.Equal(t, 200, g.userinfo(got.AccessToken))
				began := time.Now()
				go end.do(c)
				select {
				case raw := <-told:
					took := time.Since(began)
					claims, signedIn := g.verify(raw), g.verify(got.IDToken)
					assert.Equal(t, signedIn["sid"], claims["sid"], end.name)
					assert.Equal(t, signedIn["sub"], claims["sub"])
					out := took
					if end.revokes {
						eventually(t, "userinfo is 401", func() bool { out = time.Since(began); return g.userinfo(got.AccessToken) == 401 })
					}
					t.Logf("%s: told after %v, userinfo 401 after %v", end.name, took, out)
				case <-time.After(patience):
					require.Fail(t, "not told of "+end.name, g.log()+other.log())
				}
			}
			assert.Equal(t, 0, g.stop())
			assert.Equal(t, 0, other.stop())
			assert.Empty(t, told, "each once")
		})
	}
}

// Four gateways share a session store: authorize at one, token at the next, userinfo at the
// third, keys at the fourth. Then each code goes to all four at once, which gives one token at
// most, and that is void; and one gateway is killed while people sign in: who meets it starts over.
func TestT41_Fleet(t *testing.T) {
	for name, open := range map[string]func(*testing.T) string{
		"Redis":      func(t *testing.T) string { return newRedis(t).start("--appendfsync", "everysec").url() },
		"PostgreSQL": postgresURL,
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			addr := freeaddr.Get(t)
			env := []string{
				"WECOM_ISSUER_CLIENTS=" + clientsFile(t, grafana), "CLOSED_SECRET=a-secret-of-closed",
				"WECOM_SESSION_STORE=" + open(t), "WECOM_CALLBACK_URL=http://" + addr + "/wecom/callback",
			}
			gs := []*gateway{w.start(append(env, "ADDR="+addr)...)}
			for range 3 {
				gs = append(gs, w.start(env...))
			}
			at := func(n int) *gateway { return gs[n%len(gs)] }
			browser := gs[0].signedIn().Client
			const back = "https://grafana.example.com/login"
			each := func(f func(n int)) {
				var all sync.WaitGroup
				for n := range people(8) {
					all.Go(func() { f(n) })
				}
				all.Wait()
			}

			each(func(n int) {
				code := (&client{browser, at(n)}).authorize("grafana", back).Get("code")
				got, err := at(n + 1).token(code)
				for err == nil && got.Status == 503 {
					got, err = at(n + 1).token(code)
				}
				if assert.NoError(t, err) && assert.Equal(t, 200, got.Status, got.Error) {
					assert.Equal(t, 200, at(n+2).userinfo(got.AccessToken))
					at(n + 3).verify(got.IDToken)
				}
			})

			each(func(n int) {
				code := (&client{browser, at(n)}).authorize("grafana", back).Get("code")
				var mu sync.Mutex
				var given []string
				var all sync.WaitGroup
				for _, g := range gs {
					all.Go(func() {
						got, err := g.token(code)
						for err == nil && got.Status == 503 { // a store that is too busy to tell may be asked again
							got, err = g.token(code)
						}
						mu.Lock()
						defer mu.Unlock()
						if assert.NoError(t, err) && got.Status == 200 {
							given = append(given, got.AccessToken)
						}
					})
				}
				all.Wait()
				assert.LessOrEqual(t, len(given), 1, "tokens for one code")
				for _, access := range given {
					assert.Equal(t, 401, at(n).userinfo(access))
				}
			})

			var started, over atomic.Int64
			each(func(n int) {
				if started.Add(1) == 5 {
					_ = gs[3].cmd.Process.Kill()
				}
				code := (&client{browser, at(n % 3)}).authorize("grafana", back).Get("code")
				if got, err := at(n).token(code); err == nil {
					assert.Equal(t, 200, got.Status, got.Error)
					return
				}
				over.Add(1)
				code = (&client{browser, at(n % 3)}).authorize("grafana", back).Get("code")
				got, err := at(n % 3).token(code)
				assert.NoError(t, err)
				assert.Equal(t, 200, got.Status)
			})
			t.Logf("%d of %d started over", over.Load(), people(8))
			gs[3].asked.Do(func() {})
		})
	}
}
