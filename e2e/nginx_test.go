package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	coder "github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

// runNginx runs servers, with its files in dir.
func runNginx(t *testing.T, dir, servers string) {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: nginx")
	}
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `
daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log notice;
events { worker_connections 512; }
http {
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s
}`, dir, servers), 0o600))
	cmd := exec.Command(nginx, "-p", dir, "-c", conf, "-e", filepath.Join(dir, "error.log"))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
}

// startNginx runs the configuration in docs/deployment.md, without TLS, without the lines in without, and with these
// addresses in it. It returns the folder of the logs.
func startNginx(t *testing.T, addr string, upstreams []string, without ...string) string {
	t.Helper()
	document, err := os.ReadFile("../docs/deployment.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?ms)^```nginx\n(.*?)^```$").FindSubmatch(document)
	require.NotNil(t, block)
	dir := t.TempDir()
	text := regexp.MustCompile(`(?m)^\s*ssl_certificate.*$`).ReplaceAllString(string(block[1]), "")
	changes := [][2]string{
		{"listen 443 ssl;", "listen " + addr + ";"},
		{"server 127.0.0.1:8081 ", "server " + upstreams[0] + " "},
		{"server 127.0.0.1:8082 ", "server " + upstreams[1] + " "},
		{"server 127.0.0.1:8083 ", "server " + upstreams[2] + " "},
		{"/var/log/nginx", dir},
	}
	for _, line := range without {
		changes = append(changes, [2]string{line, ""})
	}
	for _, change := range changes {
		require.Equal(t, 1, strings.Count(text, change[0]), change[0])
		text = strings.Replace(text, change[0], change[1], 1)
	}
	runNginx(t, dir, text)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "nginx does not listen")
	return dir
}

// Processes that restart one after the other, without a pause, lose no request.
func TestRollingRestartBehindNginx(t *testing.T) {
	upstreams := make([]string, 3)
	servers := make([]*http.Server, 3)
	start := func(i int) {
		l, err := net.Listen("tcp", upstreams[i])
		require.NoError(t, err)
		servers[i] = &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		go servers[i].Serve(l)
	}
	for i := range servers {
		upstreams[i] = freeaddr.Get(t)
		start(i)
		t.Cleanup(func() { _ = servers[i].Close() })
	}
	addr := freeaddr.Get(t)
	startNginx(t, addr, upstreams)
	for i := range servers {
		require.NoError(t, servers[i].Shutdown(t.Context()))
		for range 10 {
			res, err := http.Get("http://" + addr + "/")
			require.NoError(t, err)
			assert.Equal(t, 200, res.StatusCode, "while process %d is away", i)
			_ = res.Body.Close()
		}
		start(i)
	}
}

// The configuration that docs/deployment.md gives for nginx: sign-ins across replicas,
// streams and WebSockets through it, and no code in any log.
func TestDeploymentBehindNginx(t *testing.T) {
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	platform, err := fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = platform.Close() })
	addr := freeaddr.Get(t)

	store := memstore.NewWithCleanupInterval(0)
	more := make(chan struct{})
	var replicas []*httptest.Server
	var upstreams []string
	for range 3 {
		o := fake.Options("http://" + addr + "/wecom/callback")
		o.Endpoints, o.Transport = platform.Endpoints(), nil
		o.Logger = slog.New(slog.DiscardHandler)
		o.SessionStore = store
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		auth, err := wecom.New(o)
		require.NoError(t, err)
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			id, _ := wecom.FromContext(r.Context())
			fmt.Fprintf(w, "hello %s %s %s %v", id.UserID, r.RequestURI, r.Host, r.Header["X-Forwarded-For"])
		})
		mux.HandleFunc("/events/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: one\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
			}
		})
		mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
			conn, err := coder.Accept(w, r, nil)
			if err != nil {
				return // it has answered
			}
			defer conn.CloseNow()
			if kind, text, err := conn.Read(r.Context()); err == nil {
				_ = conn.Write(r.Context(), kind, text)
				_ = conn.Close(coder.StatusNormalClosure, "")
			}
		})
		replica := httptest.NewServer(auth.Handler(mux))
		t.Cleanup(replica.Close)
		replicas, upstreams = append(replicas, replica), append(upstreams, replica.Listener.Addr().String())
	}
	logs := startNginx(t, addr, upstreams)

	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	var codes []string
	client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		for _, name := range []string{"code", "state"} {
			if value := r.URL.Query().Get(name); value != "" {
				codes = append(codes, value)
			}
		}
		return nil
	}
	get := func(target string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+target, nil)
		require.NoError(t, err)
		r.Header.Set("Accept", "text/html")
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		res, err := client.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	for range 6 { // whichever replica's turn it is
		jar, _ = cookiejar.New(nil)
		client.Jar = jar
		res := get("/reports/a%2Fb?q=1")
		require.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "hello zhangsan /reports/a%2Fb?q=1 "+addr+" [127.0.0.1]", bodyOf(res))
	}
	assert.Equal(t, 6, fake.Calls("auth/getuserinfo"), "no sign-in had to start over")

	res := get("/events/news")
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "data: one\n", line, "while the handler waits")
	more <- struct{}{}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, err := coder.Dial(ctx, "ws://"+addr+"/socket", &coder.DialOptions{HTTPClient: &http.Client{Jar: jar}})
	require.NoError(t, err)
	require.NoError(t, conn.Write(ctx, coder.MessageText, []byte("echo")))
	_, text, err := conn.Read(ctx)
	require.NoError(t, err)
	assert.Equal(t, "echo", string(text))
	require.NoError(t, conn.CloseNow())

	for _, replica := range replicas {
		replica.Close()
	}
	assert.Equal(t, 502, get("/wecom/callback?code=canary-code&state=canary-state").StatusCode)
	assert.Equal(t, 502, get("/reports").StatusCode)
	codes = append(codes, "canary-code", "canary-state")
	require.Len(t, codes, 6*3+2) // each state is in the way there, too
	written := func() string {
		var all strings.Builder
		for _, name := range []string{"access.log", "error.log"} {
			f, err := os.Open(filepath.Join(logs, name))
			require.NoError(t, err)
			_, _ = io.Copy(&all, f)
			_ = f.Close()
		}
		return all.String()
	}
	require.Eventually(t, func() bool { return strings.Contains(written(), `"GET /reports HTTP/1.1" 502`) }, 5*time.Second, 10*time.Millisecond)
	all := written()
	assert.Contains(t, all, `"GET /wecom/callback HTTP/1.1" 303`)
	assert.Contains(t, all, "[error]", "the error log is written at all")
	for _, value := range codes {
		assert.NotContains(t, all, value)
	}
}

// Whatever stands in the address and in the cookies, no answer of ours is too large for nginx's default buffers. One
// that is, is a 502, and takes the replica out for everybody.
func TestHeadersFitNginxsDefaults(t *testing.T) {
	fake := wecomtest.New()
	addr := freeaddr.Get(t)
	o := fake.Options("http://" + addr + "/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	plain, err := wecom.New(o)
	require.NoError(t, err)
	o.LoginPanel, o.CallbackURL = true, "http://"+addr+"/panel/callback"
	panel, err := wecom.New(o)
	require.NoError(t, err)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	mux := http.NewServeMux()
	mux.Handle("/", plain.Handler(hello))
	mux.Handle("/panel/", panel.Handler(hello))
	app := httptest.NewServer(mux)
	t.Cleanup(app.Close)
	upstream := app.Listener.Addr().String()
	startNginx(t, addr, []string{upstream, upstream, upstream}, "proxy_buffer_size 16k;", "proxy_busy_buffers_size 16k;")

	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	attempt := func() *http.Cookie {
		res, err := client.Get("http://" + addr + "/wecom/login")
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, 302, res.StatusCode)
		return res.Cookies()[0]
	}
	made := attempt()
	jar := func(n int) (header string) {
		for i := range n {
			header += fmt.Sprintf("%s%08x=%s; ", made.Name[:strings.LastIndexByte(made.Name, '-')+1], i, made.Value)
		}
		return header
	}
	statuses := map[int]int{}
	for length := 1000; length <= 8000; length += 500 {
		for _, with := range []string{"x", "%2F", "&", "%E6%8A%A5", "/.", "%25"} {
			long := "?" + strings.Repeat(with, length/len(with))
			for _, cookies := range []string{"", jar(40), jar(70)} {
				for _, ask := range []struct{ method, target, accept string }{
					{"GET", "/reports" + long, "text/html"}, {"GET", "/reports" + long, "*/*"}, {"HEAD", "/reports" + long, "text/html"},
					{"GET", "/panel/reports" + long, "text/html"}, {"GET", "/wecom/login?return_to=/" + long[1:], "text/html"},
					{"GET", "/wecom/callback?code=1&state=" + long[1:], "text/html"}, {"POST", "/wecom/logout", "text/html"},
				} {
					r, err := http.NewRequestWithContext(t.Context(), ask.method, "http://"+addr+ask.target, nil)
					require.NoError(t, err)
					r.Header.Set("Accept", ask.accept)
					r.Header.Set("Cookie", cookies)
					res, err := client.Do(r)
					require.NoError(t, err)
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					statuses[res.StatusCode]++
					require.NotEqual(t, 502, res.StatusCode, "%s %.30s… of %d bytes", ask.method, ask.target, len(ask.target))
				}
			}
		}
	}
	t.Log(statuses)
	attempt() // nothing was taken out
}
