package main_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// Relying parties of other makers, which are real programs. Those that Debian does not have are
// named by a variable: OAUTH2_PROXY, DEX, GITEA and NIGHTINGALE are the programs, OPENID_CLIENT the
// folder node_modules with that package. GITEA_ROOT is the folder with Gitea's templates, unless
// the program holds them.

// relyingParty starts a gateway that knows one client, at addr, with that callback.
func relyingParty(t *testing.T, addr, callback string) (*world, *gateway) {
	w := newWorld(t)
	file := clientsFile(t, fmt.Sprintf("clients:\n  - id: rp\n    secret: sha256:%x\n    redirect_uris: [http://%s%s]\n    users: [zhangsan]\n    backchannel_logout_uri: http://%[2]s%[3]s?logout=backchannel\n",
		sha256.Sum256([]byte(clientSecret)), addr, callback))
	return w, w.start("WECOM_ISSUER_CLIENTS="+file, "WECOM_PROFILE=true", "WECOM_GROUPS=departments", "WECOM_EMAIL={user_id}@corp.example")
}

// runProgram starts a program and waits until it listens at addr.
func runProgram(t *testing.T, addr string, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	eventually(t, "the relying party listens", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// at is a client that opens pages of addr.
func (c *client) at(addr, path string) answer {
	c.g.t.Helper()
	r, err := http.NewRequest("GET", "http://"+addr+path, nil)
	require.NoError(c.g.t, err)
	r.Header.Set("Accept", "text/html")
	return c.do(r, true)
}

const deepLink = "/d/abc?from=now-6h&var=%E5%BC%A0+x%2Fy"

func TestOAuth2Proxy(t *testing.T) {
	program := os.Getenv("OAUTH2_PROXY")
	if program == "" {
		t.Skip("OAUTH2_PROXY names no program")
	}
	addr := freeaddr.Get(t)
	w, g := relyingParty(t, addr, "/oauth2/callback")
	runProgram(t, addr, exec.Command(program, "--provider=oidc", "--oidc-issuer-url="+g.url+"/wecom", "--client-id=rp", "--client-secret="+clientSecret,
		"--redirect-url=http://"+addr+"/oauth2/callback", "--upstream="+w.upstream.URL, "--http-address="+addr, "--email-domain=*",
		"--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false", "--code-challenge-method=S256", "--skip-provider-button",
		"--scope=openid profile email groups"))
	seen := g.client().at(addr, deepLink).seen(t)
	assert.Equal(t, deepLink, seen.URI)
	assert.Equal(t, "zhangsan", seen.Header.Get("X-Forwarded-Preferred-Username"))
	assert.Equal(t, "zhangsan@corp.example", seen.Header.Get("X-Forwarded-Email"))
	assert.NotEmpty(t, seen.Header.Get("X-Forwarded-Groups"))

	w.fake.SignInAs("lisi")
	assert.Equal(t, 403, g.client().at(addr, deepLink).StatusCode, "the file refuses them")
}

func TestModAuthOpenIDC(t *testing.T) {
	modules := "/usr/lib/apache2/modules"
	if _, err := os.Stat(modules + "/mod_auth_openidc.so"); err != nil {
		t.Skip("SKIPPED SERVICE TEST: no apache2 with mod_auth_openidc")
	}
	addr, folder := freeaddr.Get(t), t.TempDir()
	w, g := relyingParty(t, addr, "/oidc")
	file := filepath.Join(folder, "apache.conf")
	var conf strings.Builder
	for _, name := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "auth_openidc"} {
		fmt.Fprintf(&conf, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
	}
	fmt.Fprintf(&conf, `ServerRoot %[1]s
PidFile %[1]s/pid
ErrorLog /dev/stderr
Listen %[2]s
ServerName %[2]s
User www-data
Group www-data
OIDCProviderMetadataURL %[3]s/wecom/.well-known/openid-configuration
OIDCClientID rp
OIDCClientSecret %[4]s
OIDCRedirectURI http://%[2]s/oidc
OIDCCryptoPassphrase a-passphrase-of-the-test
OIDCScope "openid profile email groups"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
<Location />
AuthType openid-connect
Require valid-user
ProxyPass %[5]s/
</Location>
`, folder, addr, g.url, clientSecret, w.upstream.URL)
	require.NoError(t, os.WriteFile(file, []byte(conf.String()), 0o600))
	runProgram(t, addr, exec.Command("/usr/sbin/apache2", "-X", "-f", file))
	c := g.client()
	seen := c.at(addr, deepLink).seen(t)
	assert.Equal(t, deepLink, seen.URI)
	assert.Equal(t, "zhangsan", seen.Header.Get("OIDC_CLAIM_preferred_username"))
	assert.Equal(t, "zhangsan@corp.example", seen.Header.Get("OIDC_CLAIM_email"))
	assert.Contains(t, seen.Header.Get("OIDC_CLAIM_sub"), ":user:zhangsan")

	w.fake.SignInAs("lisi")
	before := w.upstream.requests.Load()
	// It takes an error with iss (RFC 9207) for something else, and says so instead of access_denied.
	assert.Contains(t, g.client().at(addr, deepLink).text, "<title>Error</title>", "the file refuses them")
	assert.Equal(t, before, w.upstream.requests.Load())

	// Who is signed out at the gateway is sent there again.
	out := &client{&http.Client{Jar: c.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, g}
	assert.Equal(t, 200, out.at(addr, deepLink).StatusCode)
	c.send("POST", "/wecom/logout", nil, false)
	eventually(t, "it is told", func() bool { return out.at(addr, deepLink).StatusCode == 302 })
	assert.NotContains(t, g.log(), "was not told")
}

func TestDex(t *testing.T) {
	program := os.Getenv("DEX")
	if program == "" {
		t.Skip("DEX names no program")
	}
	addr, file := freeaddr.Get(t), filepath.Join(t.TempDir(), "dex.yaml")
	w, g := relyingParty(t, addr, "/dex/callback")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
issuer: http://%[1]s/dex
storage: {type: memory}
web: {http: %[1]q}
oauth2: {skipApprovalScreen: true}
staticClients:
  - {id: app, name: app, secret: the-secret-of-the-app, redirectURIs: ["%[2]s/done"]}
connectors:
  - type: oidc
    id: wecom
    name: WeCom
    config:
      issuer: %[3]s/wecom
      clientID: rp
      clientSecret: %[4]s
      redirectURI: http://%[1]s/dex/callback
      scopes: [profile, email, groups]
      insecureEnableGroups: true
      insecureSkipEmailVerified: true
`, addr, w.upstream.URL, g.url, clientSecret), 0o600))
	runProgram(t, addr, exec.Command(program, "serve", file))
	ask := url.Values{"client_id": {"app"}, "redirect_uri": {w.upstream.URL + "/done"}, "response_type": {"code"},
		"scope": {"openid profile email groups"}, "state": {deepLink}}
	done, err := url.Parse(g.client().at(addr, "/dex/auth?"+ask.Encode()).seen(t).URI)
	require.NoError(t, err)
	assert.Equal(t, deepLink, done.Query().Get("state"))
	res, err := http.PostForm("http://"+addr+"/dex/token", url.Values{"grant_type": {"authorization_code"}, "code": done.Query()["code"],
		"redirect_uri": {w.upstream.URL + "/done"}, "client_id": {"app"}, "client_secret": {"the-secret-of-the-app"}})
	require.NoError(t, err)
	defer res.Body.Close()
	var got tokens
	require.NoError(t, json.NewDecoder(res.Body).Decode(&got))
	token, err := jwt.ParseSigned(got.IDToken, []jose.SignatureAlgorithm{jose.RS256})
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, token.UnsafeClaimsWithoutVerification(&claims))
	assert.Equal(t, "zhangsan", claims["preferred_username"])
	assert.Equal(t, "zhangsan@corp.example", claims["email"])
	assert.NotEmpty(t, claims["groups"])

	w.fake.SignInAs("lisi")
	before := w.upstream.requests.Load()
	assert.GreaterOrEqual(t, g.client().at(addr, "/dex/auth?"+ask.Encode()).StatusCode, 400, "the file refuses them")
	assert.Equal(t, before, w.upstream.requests.Load())
}

// printed is what -print-client prints for the client of relyingParty, from a title to the next.
func (g *gateway) printed(title string) string {
	g.t.Helper()
	_, all, _ := runOnce(g.t, g.cmd.Env, "-print-client", "rp", "-callback-url", g.url+"/wecom/callback")
	_, settings, ok := strings.Cut(all, title)
	require.True(g.t, ok, all)
	settings, _, _ = strings.Cut(settings, "\n# ")
	return strings.ReplaceAll(settings, "(the client's secret)", clientSecret)
}

func TestGitea(t *testing.T) {
	program := os.Getenv("GITEA")
	if program == "" {
		t.Skip("GITEA names no program")
	}
	addr, folder := freeaddr.Get(t), t.TempDir()
	host, port, _ := net.SplitHostPort(addr)
	w, g := relyingParty(t, addr, "/user/oauth2/wecom/callback")
	conf := filepath.Join(folder, "custom", "conf")
	require.NoError(t, os.MkdirAll(conf, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(conf, "app.ini"), fmt.Appendf(nil, `
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = %s
HTTP_PORT = %s
ROOT_URL = http://%s/
STATIC_ROOT_PATH = %s
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
[security]
INSTALL_LOCK = true
%s`, host, port, addr, os.Getenv("GITEA_ROOT"), g.printed("# Gitea: app.ini\n")), 0o600))
	gitea := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", `gitea() { "$GITEA" "$@"; }; `+script)
		cmd.Env = append(os.Environ(), "GITEA_WORK_DIR="+folder, "HOME="+folder)
		return cmd
	}
	out, err := gitea("gitea migrate && " + g.printed("# Gitea: once, as the user that runs it\n")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	runProgram(t, addr, gitea(`exec "$GITEA" web`))

	const settings = "/user/settings?a=1%2F2&b=%E5%BC%A0"
	signIn := "/user/oauth2/wecom?redirect_to=" + url.QueryEscape(settings)
	c := g.client()
	page := c.at(addr, signIn)
	assert.Equal(t, settings, page.Request.URL.RequestURI(), page.text)
	assert.Contains(t, page.text, "zhangsan@corp.example")
	assert.Contains(t, c.at(addr, "/user/logout").text, "Do you want to sign out?", "the gateway asks")
	assert.Equal(t, "/user/login", c.at(addr, "/user/settings").Request.URL.Path)

	w.fake.SignInAs("lisi")
	page = g.client().at(addr, signIn)
	assert.Equal(t, "/user/login", page.Request.URL.Path)
	assert.Contains(t, page.text, "denied", "the file refuses them")
}

// Nightingale gets the settings that -print-client prints.
func TestNightingale(t *testing.T) {
	program := os.Getenv("NIGHTINGALE")
	if program == "" {
		t.Skip("NIGHTINGALE names no program")
	}
	addr, folder := freeaddr.Get(t), t.TempDir()
	host, port, _ := net.SplitHostPort(addr)
	w, g := relyingParty(t, addr, "/callback")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "config.toml"), fmt.Appendf(nil, `
[Global]
RunMode = "release"
[Log]
Output = "stdout"
[HTTP]
Host = %q
Port = %s
[HTTP.JWTAuth]
AccessExpired = 1500
RefreshExpired = 10080
RedisKeyPrefix = "/jwt/"
[DB]
DBType = "sqlite"
DSN = "n9e.db"
[Redis]
RedisType = "miniredis"
[Ibex]
Enable = false
`, host, port), 0o600))
	cmd := exec.Command(program, "-configs", folder)
	cmd.Dir = folder
	runProgram(t, addr, cmd)

	// call asks Nightingale's API as its pages do, and returns what it answers.
	call := func(method, path, token string, body any) (dat json.RawMessage, failed string) {
		data, err := json.Marshal(body)
		require.NoError(t, err)
		r, err := http.NewRequest(method, "http://"+addr+"/api/n9e"+path, bytes.NewReader(data))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer res.Body.Close()
		var got struct {
			Dat json.RawMessage
			Err string
		}
		require.NoError(t, json.NewDecoder(res.Body).Decode(&got), path)
		return got.Dat, got.Err
	}
	type signedIn struct {
		AccessToken string `json:"access_token"`
		Redirect    string
		User        struct{ Username, Nickname, Email string }
	}
	as := func(v any, dat json.RawMessage, failed string) {
		t.Helper()
		require.Empty(t, failed)
		require.NoError(t, json.Unmarshal(dat, v), "%s", dat)
	}
	var root signedIn
	dat, failed := call("POST", "/auth/login", "", map[string]string{"username": "root", "password": "root.2020"})
	as(&root, dat, failed)
	var configs []struct {
		ID   int64
		Name string
	}
	dat, failed = call("GET", "/sso-configs", root.AccessToken, nil)
	as(&configs, dat, failed)
	for _, c := range configs {
		if c.Name == "OIDC" {
			_, failed = call("PUT", "/sso-config", root.AccessToken, map[string]any{
				"id": c.ID, "name": c.Name, "content": g.printed("# Nightingale: 系统配置, 单点登录, OIDC\n"),
			})
			require.Empty(t, failed)
		}
	}

	// signIn goes the browser's way, and returns what Nightingale's page learns.
	signIn := func(c *client) (got signedIn, failed string) {
		var to string
		dat, failed := call("GET", "/auth/redirect?redirect="+url.QueryEscape(deepLink), "", nil)
		as(&to, dat, failed)
		u, err := url.Parse(to)
		require.NoError(t, err)
		back := c.at(u.Host, u.RequestURI()).Request.URL
		require.Equal(t, addr+"/callback", back.Host+back.Path)
		dat, failed = call("GET", "/auth/callback?"+back.RawQuery, "", nil)
		if failed == "" {
			as(&got, dat, "")
		}
		return got, failed
	}
	c := g.client()
	got, failed := signIn(c)
	require.Empty(t, failed)
	assert.Equal(t, deepLink, got.Redirect)
	assert.Equal(t, "zhangsan", got.User.Username)
	assert.Equal(t, "张三", got.User.Nickname)
	assert.Equal(t, "zhangsan@corp.example", got.User.Email)

	var out string
	dat, failed = call("POST", "/auth/logout", got.AccessToken, nil)
	as(&out, dat, failed)
	u, err := url.Parse(out)
	require.NoError(t, err)
	assert.Contains(t, c.at(u.Host, u.RequestURI()).Request.URL.Path, "/signed-out")
	assert.Equal(t, 401, c.script("/wecom/session").StatusCode)

	w.fake.SignInAs("lisi")
	_, failed = signIn(g.client())
	assert.NotEmpty(t, failed, "the file refuses them")
}

const openIDClient = `
import * as client from 'openid-client'
import readline from 'node:readline'
const [issuer, redirect_uri, secret] = process.argv.slice(2)
const config = await client.discovery(new URL(issuer), 'rp', secret, client.ClientSecretBasic(secret), { execute: [client.allowInsecureRequests] })
const verifier = client.randomPKCECodeVerifier(), state = client.randomState(), nonce = client.randomNonce()
console.log(client.buildAuthorizationUrl(config, { redirect_uri, scope: 'openid profile email groups', state, nonce,
  code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' }).href)
for await (const line of readline.createInterface({ input: process.stdin })) {
  const tokens = await client.authorizationCodeGrant(config, new URL(line), { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true })
  const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  console.log(tokens.claims().preferred_username + ' ' + info.email)
  process.exit(0)
}
`

func TestOpenIDClient(t *testing.T) {
	folder := os.Getenv("OPENID_CLIENT")
	if folder == "" {
		t.Skip("OPENID_CLIENT names no folder with the npm package openid-client")
	}
	addr, script := freeaddr.Get(t), filepath.Join(t.TempDir(), "rp.mjs")
	_, g := relyingParty(t, addr, "/cb")
	require.NoError(t, os.WriteFile(script, []byte(openIDClient), 0o600))
	require.NoError(t, os.Symlink(folder, filepath.Join(filepath.Dir(script), "node_modules")))
	cmd := exec.Command("node", script, g.url+"/wecom", "http://"+addr+"/cb", clientSecret)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	u, err := url.Parse(lines.Text())
	require.NoError(t, err)
	res := g.signedIn().once(u.RequestURI())
	_, err = io.WriteString(in, res.Header.Get("Location")+"\n")
	require.NoError(t, err)
	require.True(t, lines.Scan())
	assert.Equal(t, "zhangsan zhangsan@corp.example", lines.Text())
	_ = cmd.Wait()
}
