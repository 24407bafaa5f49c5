package main_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Relying parties of other makers, which are real programs. Those that Debian does not have are
// named by a variable: OAUTH2_PROXY is the program, OPENID_CLIENT the folder node_modules with
// that package.

// relyingParty starts a gateway that knows one client, at addr, with that callback.
func relyingParty(t *testing.T, addr, callback string) (*world, *gateway) {
	w := newWorld(t)
	file := clientsFile(t, fmt.Sprintf("clients:\n  - id: rp\n    secret: sha256:%x\n    redirect_uris: [http://%s%s]\n    users: [zhangsan]\n",
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
	addr := freeAddr(t)
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
	addr, folder := freeAddr(t), t.TempDir()
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
	seen := g.client().at(addr, deepLink).seen(t)
	assert.Equal(t, deepLink, seen.URI)
	assert.Equal(t, "zhangsan", seen.Header.Get("OIDC_CLAIM_preferred_username"))
	assert.Equal(t, "zhangsan@corp.example", seen.Header.Get("OIDC_CLAIM_email"))
	assert.Contains(t, seen.Header.Get("OIDC_CLAIM_sub"), ":user:zhangsan")

	w.fake.SignInAs("lisi")
	before := w.upstream.requests.Load()
	// It takes an error with iss (RFC 9207) for something else, and says so instead of access_denied.
	assert.Contains(t, g.client().at(addr, deepLink).text, "<title>Error</title>", "the file refuses them")
	assert.Equal(t, before, w.upstream.requests.Load())
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
	addr, script := freeAddr(t), filepath.Join(t.TempDir(), "rp.mjs")
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
