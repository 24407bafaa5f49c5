package e2e_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/wecomtest"
)

// Three systems at three hosts, one trusted domain: the gateway behind the nginx of docs/gateway.md, in a
// browser. There is one sign-in at WeCom, and each host has a cookie of its own.
func TestManyHostsOneTrustedDomain(t *testing.T) {
	p := newPage(t, "zh-CN")
	fake := wecomtest.New()
	platform, err := fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = platform.Close() })
	front, gateway := freeaddr.Get(t), freeaddr.Get(t)
	_, port, _ := net.SplitHostPort(front)
	sso, wiki, logs := "sso.localhost:"+port, "wiki.localhost:"+port, "logs.localhost:"+port

	program := filepath.Join(scratch, "gateway")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../cmd/wecom-gateway"
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	pages := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<!doctype html><p>%s for %s at %s%s, cookies %q
				<form method="post" action="/wecom/logout"><button id="here">here</button></form>
				<form method="post" action="/wecom/logout?everywhere=1"><button id="everywhere">everywhere</button></form>`,
				name, r.Header.Get("X-Forwarded-User"), r.Host, r.RequestURI, r.Header.Get("Cookie"))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	at := platform.Endpoints()
	cmd := exec.Command(program)
	cmd.Env = []string{
		"ADDR=" + gateway, "WECOM_CORP_ID=" + fake.CorpID(), "WECOM_AGENT_ID=" + fake.AgentID(), "WECOM_SECRET=" + fake.Secret(),
		"WECOM_API_URL=" + at.API, "WECOM_AUTHORIZE_URL=" + at.Authorize, "WECOM_WEB_LOGIN_URL=" + at.WebLogin,
		"WECOM_CALLBACK_URL=https://" + sso + "/wecom/callback", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_UPSTREAM=" + pages("home"),
		"WECOM_HOSTS=" + wiki + "=" + pages("wiki") + "," + logs + "=" + pages("logs"),
	}
	var log logtest.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	nginxForHosts(t, front, gateway)

	// The same pages as the browser spells them.
	target := "/d/a%2Fb?q=1|2&x=%7C&y=/../z;a=b"
	require.EqualValues(t, 200, p.open("https://"+wiki+target))
	require.True(t, strings.HasPrefix(p.href(), platform.URL()), p.href())
	require.EqualValues(t, 200, p.pick("zhangsan"))
	spelled := p.asBrowserWrites("https://"+wiki, target)
	assert.Equal(t, spelled, p.href())
	assert.Contains(t, p.text(), "wiki for zhangsan at "+strings.TrimPrefix(spelled, "https://"))
	assert.Contains(t, p.text(), `cookies ""`, "none of ours reaches a program")
	for _, host := range []string{logs, sso} {
		require.EqualValues(t, 200, p.open("https://"+host+target))
		assert.Equal(t, p.asBrowserWrites("https://"+host, target), p.href(), "back without a question")
		assert.Contains(t, p.text(), "for zhangsan at "+host)
	}
	assert.Equal(t, 1, fake.Calls("auth/getuserinfo"), "one code of WeCom's for three systems")

	sessions := map[string]string{}
	for _, host := range []string{sso, wiki, logs} {
		name, _, _ := strings.Cut(host, ":")
		for _, c := range p.cookies("https://" + host) {
			assert.True(t, strings.HasPrefix(c.Name, "__Host-wecom-"), c.Name)
			assert.Equal(t, name, c.Domain, "host-only: with a Domain there would be a dot")
			assert.True(t, c.Secure && c.HTTPOnly && c.Path == "/", c.Name)
			if isSessionCookie(c.Name) {
				sessions[c.Name+"="+c.Value] = host
			}
		}
	}
	assert.Len(t, sessions, 3, "one each")

	// Here, and everywhere.
	who := func(host string) string {
		p.Helper()
		p.open("https://" + host + "/wecom/session")
		var id struct {
			UserID string `json:"user_id"`
		}
		_ = json.Unmarshal([]byte(p.text()), &id)
		return id.UserID
	}
	p.open("https://" + wiki + "/")
	require.EqualValues(t, 200, p.click("#here"))
	assert.Equal(t, "https://"+wiki+"/wecom/signed-out", p.href())
	assert.Equal(t, []string{"zhangsan", "", "zhangsan"}, []string{who(sso), who(wiki), who(logs)})
	require.EqualValues(t, 200, p.open("https://"+wiki+"/again"))
	assert.Contains(t, p.text(), "wiki for zhangsan")
	assert.Equal(t, 1, fake.Calls("auth/getuserinfo"))
	p.open("https://" + logs + "/")
	require.EqualValues(t, 200, p.click("#everywhere"))
	require.Eventually(t, func() bool { return who(sso)+who(wiki)+who(logs) == "" }, stepTimeout, stepTimeout/100)
	p.dropCookies() // or a page would say that the session was ended
	p.open("https://" + wiki + "/")
	assert.True(t, strings.HasPrefix(p.href(), platform.URL()), "WeCom is asked again: %s", p.href())
}

// nginxForHosts runs the servers of docs/gateway.md for many hosts, with other addresses and a certificate.
func nginxForHosts(t *testing.T, addr, gateway string) {
	t.Helper()
	document, err := os.ReadFile("../docs/gateway.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(document), "\n## Many hosts, one trusted domain\n")
	block := regexp.MustCompile("(?ms)^```nginx\n(.*?)^```$").FindStringSubmatch(section)
	require.NotNil(t, block)
	dir := t.TempDir()
	tls := httptest.NewUnstartedServer(nil)
	tls.StartTLS()
	defer tls.Close()
	pair := tls.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/cert", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(dir+"/key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	text := strings.NewReplacer(
		"listen 443 ssl;", "listen "+addr+" ssl;", "/etc/ssl/certs/example.com.pem", dir+"/cert", "/etc/ssl/private/example.com.key", dir+"/key",
		"http://127.0.0.1:8080", "http://"+gateway, ".example.com", ".localhost",
	).Replace(block[1])
	runNginx(t, dir, "access_log off;\n"+text)
	client := tls.Client()
	require.Eventually(t, func() bool {
		res, err := client.Get("https://" + addr + "/healthz")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil && res.StatusCode == 200
	}, stepTimeout, stepTimeout/1000, "nginx and the gateway answer")
}
