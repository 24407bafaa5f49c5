package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/wecomtest"
)

// patience is for what should take no time at all.
const patience = 20 * time.Second

// A world is a fake WeCom and a program to protect.
type world struct {
	t        *testing.T
	fake     *wecomtest.Fake
	server   *wecomtest.Server
	upstream *upstream
}

func newWorld(t *testing.T) *world {
	t.Helper()
	fake := wecomtest.New()
	fake.SignInAs("zhangsan")
	server, err := fake.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return &world{t, fake, server, newUpstream(t)}
}

// An upstream answers with what it got and counts.
type upstream struct {
	*httptest.Server
	requests atomic.Int64
	handle   atomic.Pointer[http.HandlerFunc] // answers instead, if set
}

// A request is what the upstream saw.
type request struct {
	Method, URI, Host, Body string
	Header, Trailer         http.Header
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.requests.Add(1)
		if h := u.handle.Load(); h != nil {
			(*h)(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(request{r.Method, r.RequestURI, r.Host, string(body), r.Header, r.Trailer})
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) answer(h http.HandlerFunc) { u.handle.Store(&h) }

// env is a configuration that works. Later variables win.
func (w *world) env(more ...string) []string {
	e := w.server.Endpoints()
	return append([]string{
		"ADDR=127.0.0.1:0",
		"WECOM_CORP_ID=" + w.fake.CorpID(),
		"WECOM_AGENT_ID=" + w.fake.AgentID(),
		"WECOM_SECRET=" + w.fake.Secret(),
		"WECOM_API_URL=" + e.API,
		"WECOM_AUTHORIZE_URL=" + e.Authorize,
		"WECOM_WEB_LOGIN_URL=" + e.WebLogin,
		"WECOM_UPSTREAM=" + w.upstream.URL,
	}, more...)
}

// command is the gateway, not started.
func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	// The race detector would wait for a second at each end.
	cmd.Env = append([]string{"RUN_GATEWAY=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	return cmd
}

// runOnce runs the gateway until it ends by itself.
func runOnce(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := command(env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	assert.True(t, timer.Stop(), "it does not end")
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// A gateway is a process that serves.
type gateway struct {
	t     *testing.T
	url   string
	cmd   *exec.Cmd
	asked sync.Once
	done  chan struct{} // closed when its log has ended

	mu    sync.Mutex
	lines []map[string]any
	raw   strings.Builder
	heard *sync.Cond
}

func (w *world) start(more ...string) *gateway {
	w.t.Helper()
	return w.run(command(w.env(more...)))
}

func (w *world) run(cmd *exec.Cmd) *gateway {
	w.t.Helper()
	g := &gateway{t: w.t, cmd: cmd, done: make(chan struct{})}
	g.heard = sync.NewCond(&g.mu)
	stderr, err := g.cmd.StderrPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, g.cmd.Start())
	go g.listen(stderr)
	w.t.Cleanup(func() { g.stop() })
	line := g.wait("the gateway listens")
	g.url = "http://" + line["addr"].(string)
	return g
}

func (g *gateway) listen(stderr io.Reader) {
	defer close(g.done)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line map[string]any
		_ = json.Unmarshal(lines.Bytes(), &line)
		g.mu.Lock()
		g.lines = append(g.lines, line)
		g.raw.WriteString(lines.Text() + "\n")
		g.heard.Broadcast()
		g.mu.Unlock()
	}
	g.mu.Lock()
	g.lines = append(g.lines, map[string]any{"msg": "EOF"})
	g.heard.Broadcast()
	g.mu.Unlock()
}

// wait returns the first log line with that message and these values.
func (g *gateway) wait(msg string, values ...any) map[string]any {
	g.t.Helper()
	timer := time.AfterFunc(patience, func() {
		g.mu.Lock()
		g.lines = append(g.lines, map[string]any{"msg": "EOF"})
		g.heard.Broadcast()
		g.mu.Unlock()
	})
	defer timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := 0; ; i++ {
		for i == len(g.lines) {
			g.heard.Wait()
		}
		line := g.lines[i]
		fits := line["msg"] == msg
		for j := 0; j+1 < len(values); j += 2 {
			fits = fits && line[values[j].(string)] == values[j+1]
		}
		if fits {
			return line
		}
		if line["msg"] == "EOF" {
			require.Fail(g.t, "the gateway did not say "+msg, "%s", g.raw.String())
		}
	}
}

func (g *gateway) log() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.raw.String()
}

// terminate asks the gateway to end, once: a second signal ends it at once.
func (g *gateway) terminate() { g.asked.Do(func() { _ = g.cmd.Process.Signal(syscall.SIGTERM) }) }

// stop asks the gateway to end and returns its exit status.
func (g *gateway) stop() int {
	g.t.Helper()
	if g.cmd.ProcessState != nil {
		return g.cmd.ProcessState.ExitCode()
	}
	g.terminate()
	timer := time.AfterFunc(patience, func() { _ = g.cmd.Process.Signal(syscall.SIGQUIT) })
	<-g.done
	_ = g.cmd.Wait()
	assert.True(g.t, timer.Stop(), "it does not end: %s", g.log())
	for _, word := range []string{"DATA RACE", "panic"} {
		_, rest, found := strings.Cut(g.log(), word)
		assert.False(g.t, found, "%s%.3000s", word, rest)
	}
	return g.cmd.ProcessState.ExitCode()
}

// A client is a browser as far as the gateway can tell.
type client struct {
	*http.Client
	g *gateway
}

func (g *gateway) client() *client {
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	g.t.Cleanup(transport.CloseIdleConnections)
	return &client{&http.Client{Jar: jar, Transport: transport, Timeout: patience}, g}
}

// signedIn is a client that went through WeCom. A store that is slow for the moment is
// asked again, as people do.
func (g *gateway) signedIn() *client {
	g.t.Helper()
	c := g.client()
	res := c.get("/")
	for end := time.Now().Add(patience); res.StatusCode == http.StatusServiceUnavailable && time.Now().Before(end); {
		res = c.get("/")
	}
	require.Equal(g.t, http.StatusOK, res.StatusCode, "%s\n%s", res.text, g.log())
	return c
}

// An answer is a response that was read.
type answer struct {
	*http.Response
	text string
}

func (a answer) json(t *testing.T, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.text), v), "%s", a.text)
}

// reference is the one on the page, or in JSON.
func (a answer) reference(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?:"reference":"|<code>)([a-z2-7]{10})["<]`).FindStringSubmatch(a.text)
	require.NotNil(t, found, "%s", a.text)
	return found[1]
}

// seen is what the upstream got.
func (a answer) seen(t *testing.T) (r request) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.StatusCode, "%s", a.text)
	a.json(t, &r)
	return r
}

func (c *client) send(method, path string, header http.Header, follow bool) answer {
	c.g.t.Helper()
	r, err := http.NewRequest(method, c.g.url+path, nil)
	require.NoError(c.g.t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	return c.do(r, follow)
}

func (c *client) do(r *http.Request, follow bool) answer {
	c.g.t.Helper()
	a, err := c.try(r, follow)
	require.NoError(c.g.t, err)
	return a
}

func (c *client) try(r *http.Request, follow bool) (answer, error) {
	h := *c.Client
	if !follow {
		h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	res, err := h.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res, string(body)}, err
}

var page = http.Header{"Accept": {"text/html"}}

func (c *client) get(path string) answer  { c.g.t.Helper(); return c.send("GET", path, page, true) }
func (c *client) once(path string) answer { c.g.t.Helper(); return c.send("GET", path, page, false) }
func (c *client) script(path string) answer {
	c.g.t.Helper()
	return c.send("GET", path, nil, false)
}

// cookie is the Cookie header that the client sends.
func (c *client) cookie() string {
	u, _ := url.Parse(c.g.url)
	var pairs []string
	for _, k := range c.Jar.Cookies(u) {
		pairs = append(pairs, k.String())
	}
	return strings.Join(pairs, "; ")
}

// raw sends bytes as they are, %COOKIE% and %HOST% filled in, and returns the answer.
func (c *client) raw(text string) answer {
	c.g.t.Helper()
	host := strings.TrimPrefix(c.g.url, "http://")
	conn, err := net.Dial("tcp", host)
	require.NoError(c.g.t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	text = strings.NewReplacer("%COOKIE%", c.cookie(), "%HOST%", host, "\n", "\r\n").Replace(text)
	_, err = io.WriteString(conn, text)
	require.NoError(c.g.t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(c.g.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(c.g.t, err)
	return answer{res, string(body)}
}

// toWeCom says whether an answer sends the browser to the sign-in page.
func (w *world) toWeCom(a answer) bool {
	return (a.StatusCode == 302 || a.StatusCode == 303) && strings.HasPrefix(a.Header.Get("Location"), w.server.URL())
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !f() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.Fail(t, "never: "+what)
		}
	}
}
