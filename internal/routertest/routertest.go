// Package routertest holds what the middleware does under every router, as one
// table that all of them run alike.
package routertest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// admins is the guard of /admin.
func admins(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
	return id.UserID == "zhangsan", nil
}

const site = "https://app.example.com"

// Proof is where WeCom looks for the domain's proof file.
const Proof = "/WW_verify_routertest.txt"

// A Router builds the application below with one router. auth protects
// everything but the routes that say otherwise:
//
//	GET  /public         outside auth: "public"
//	GET  /optional       under Optional: the user id, or "nobody"
//	GET  /admin          under Require(admins) as well: "admin"
//	GET  /who            the user id, by the framework's own habit
//	GET  /std            the user id, by wecom.FromContext(r.Context())
//	POST /echo           the request's body
//	GET  /teapot         status 418 and "short and stout"
//	GET  /panic          panics; the router's recovery answers 500
//	GET  /stream         server-sent events: one, flushed at once, and another when the channel passes
//	GET  /upgrade        [Upgrade]: the connection leaves HTTP, as a WebSocket's does
//	GET  /deep/*         the request's target as it came: r.RequestURI
//	GET  /count          with a manager: how often this session asked
//
// auth stands in a group, where a router runs it for the group's own routes alone. So the
// group has Routes() at /wecom/ and at [Proof], by the line that the README gives for the router.
type Router func(t *testing.T, s Setup) http.Handler

// Setup is what a Router needs.
type Setup struct {
	Auth *wecom.Middleware
	// Admins admits zhangsan only.
	Admins wecom.Authorizer
	// More lets /stream send its second event.
	More <-chan struct{}
	// Manager is the application's scs session, which the middleware loads, or nil.
	Manager *scs.SessionManager
	// Seen is called by the router's own request log, outside everything else, with the status that it saw.
	Seen func(path string, status int)
}

// Upgrade switches protocols as a WebSocket does, and then does what [Talk] does.
func Upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	Talk(rw, conn)
}

// Talk sends back the first line that comes.
func Talk(in io.Reader, out io.Writer) {
	line, _ := bufio.NewReader(in).ReadString('\n')
	_, _ = io.WriteString(out, line)
}

// Run runs the table with our own cookie and inside the application's scs session.
func Run(t *testing.T, router Router) {
	t.Run("own cookie", func(t *testing.T) { table(t, router, nil) })
	t.Run("scs session", func(t *testing.T) {
		manager := scs.New()
		manager.HashTokenInStore = true
		manager.Cookie.Name, manager.Cookie.Secure = "__Host-session", true
		table(t, router, manager)
	})
}

type app struct {
	fake    *wecomtest.Fake
	handler http.Handler
	more    chan struct{}
	log     chan seen
}

type seen struct {
	path   string
	status int
}

func table(t *testing.T, router Router, manager *scs.SessionManager) {
	a := &app{fake: wecomtest.New(), more: make(chan struct{}), log: make(chan seen, 1000)}
	o := a.fake.Options(site + "/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	o.Sessions = manager
	o.DomainProof = []string{Proof[1:]}
	auth, err := wecom.New(o)
	if err != nil {
		t.Fatal(err)
	}
	a.handler = router(t, Setup{
		Auth: auth, Admins: admins, More: a.more, Manager: manager,
		Seen: func(path string, status int) { a.log <- seen{path, status} },
	})

	t.Run("anonymous", a.anonymous)
	t.Run("signed in", a.signedIn)
	t.Run("deep links", a.deepLinks)
	t.Run("guard", a.guard)
	t.Run("built-in routes", a.builtIn)
	t.Run("logout", a.logout)
	t.Run("panic", a.panics)
	t.Run("log", a.logged)
	t.Run("stream", a.stream)
	t.Run("upgrade", a.upgrade)
	if manager != nil {
		t.Run("application session", a.counts)
	}
}

func (a *app) browser() *wecomtest.Browser {
	return a.fake.Browser(site, a.handler).SignInAs("zhangsan")
}

func expect(t *testing.T, res *wecomtest.Response, status int, body string) {
	t.Helper()
	if res.Status != status || body != "" && strings.TrimSpace(res.Body) != body {
		t.Fatalf("%s: got %d %q, want %d %q (%v)", res.URL, res.Status, res.Body, status, body, res.Err)
	}
}

func (a *app) anonymous(t *testing.T) {
	b := a.browser()
	expect(t, b.Get("/public"), 200, "public")
	expect(t, b.Get("/optional"), 200, "nobody")
	expect(t, b.GetNoFollow("/who"), 302, "")

	res := b.Fetch("GET", "/who", "")
	expect(t, res, 401, "")
	var answer struct {
		Error    string `json:"error"`
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(res.Body), &answer); err != nil || answer.Error != "login_required" || answer.LoginURL != "/wecom/login?return_to=%2Foptional" {
		t.Fatalf("a script got %q", res.Body)
	}
	expect(t, b.Fetch("POST", "/echo", "text"), 401, "")
}

func (a *app) signedIn(t *testing.T) {
	b := a.browser()
	expect(t, b.Get("/who"), 200, "zhangsan")
	expect(t, b.Get("/std"), 200, "zhangsan")
	expect(t, b.Get("/optional"), 200, "zhangsan")
	expect(t, b.Fetch("POST", "/echo", "text"), 200, "text")
	expect(t, b.Get("/teapot"), 418, "short and stout")
	expect(t, b.Get("/missing"), 404, "")
}

func (a *app) deepLinks(t *testing.T) {
	for _, link := range []string{
		"/deep/reports?from=2026-01-01&to=2026-02-01",
		"/deep/%E6%8A%A5%E8%A1%A8?q=%E5%BC%A0%E4%B8%89",
		"/deep/a%2Fb?next=https://x.example//y",
		"/deep/x?empty=&flag&plus=a+b",
	} {
		expect(t, a.browser().Get(link), 200, link)
	}
}

func (a *app) guard(t *testing.T) {
	expect(t, a.browser().Get("/admin"), 200, "admin")
	b := a.browser().SignInAs("lisi")
	expect(t, b.Get("/admin"), 403, "")
	expect(t, b.Get("/who"), 200, "lisi")
	res := b.Fetch("GET", "/admin", "")
	expect(t, res, 403, "")
	if !strings.Contains(res.Body, `"not_allowed"`) {
		t.Fatalf("a script got %q", res.Body)
	}
}

// builtIn asks for Routes() and for what is next to it, whoever asks.
func (a *app) builtIn(t *testing.T) {
	b := a.browser()
	expect(t, b.Get(Proof), 200, "routertest")
	expect(t, b.Get("/who"), 200, "zhangsan")
	expect(t, b.Get(Proof), 200, "routertest")
	res := b.Fetch("GET", "/wecom/session", "")
	expect(t, res, 200, "")
	if !strings.Contains(res.Body, `"user_id":"zhangsan"`) {
		t.Fatalf("the session is %q", res.Body)
	}
	for _, path := range []string{"/wecom/nothing", "/wecom/"} {
		expect(t, b.Get(path), 404, "")
	}
}

func (a *app) logout(t *testing.T) {
	b := a.browser()
	expect(t, b.Get("/who"), 200, "zhangsan")
	expect(t, b.GetNoFollow("/wecom/logout"), 405, "")
	res := b.Post("/wecom/logout")
	expect(t, res, 200, "")
	if res.URL != site+"/wecom/signed-out" {
		t.Fatalf("logout led to %s", res.URL)
	}
	expect(t, b.Fetch("GET", "/who", ""), 401, "")
}

func (a *app) panics(t *testing.T) {
	b := a.browser()
	expect(t, b.Get("/who"), 200, "zhangsan")
	expect(t, b.Get("/panic"), 500, "")
	expect(t, b.Get("/who"), 200, "zhangsan")
}

// logged checks that the router's own request log sees what the browser saw.
func (a *app) logged(t *testing.T) {
	for len(a.log) > 0 {
		<-a.log
	}
	b := a.browser()
	b.Fetch("GET", "/who", "")
	b.Get("/teapot")
	want := []seen{{"/who", 401}, {"/teapot", 302}, {"/wecom/callback", 303}, {"/teapot", 418}}
	for _, w := range want {
		if got := <-a.log; got != w {
			t.Fatalf("the log saw %v, want %v", got, w)
		}
	}
}

// serve starts a real server, and returns how somebody who is signed in asks it.
func (a *app) serve(t *testing.T) func(path string, header ...string) *http.Response {
	t.Helper()
	b := a.browser()
	expect(t, b.Get("/who"), 200, "zhangsan")
	server := httptest.NewServer(a.handler)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // Client.Timeout would hide that a body can be written
	t.Cleanup(cancel)
	return func(path string, header ...string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Cookies("/") {
			r.AddCookie(c)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
}

// stream asks whether the first event arrives while the handler still runs.
func (a *app) stream(t *testing.T) {
	lines := bufio.NewReader(a.serve(t)("/stream").Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: one\n" {
		t.Fatalf("first event: %q, %v", line, err)
	}
	a.more <- struct{}{}
	if rest, err := io.ReadAll(lines); err != nil || !strings.Contains(string(rest), "data: two\n") {
		t.Fatalf("second event: %q, %v", rest, err)
	}
}

func (a *app) upgrade(t *testing.T) {
	get := a.serve(t)
	if res := get("/upgrade", "Connection", "Upgrade", "Upgrade", "websocket", "Cookie", ""); res.StatusCode != 401 {
		t.Fatalf("without a session: %s", res.Status)
	}
	res := get("/upgrade", "Connection", "Upgrade", "Upgrade", "websocket")
	conn, ok := res.Body.(io.ReadWriter)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("got %s", res.Status)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := io.ReadAll(conn); string(line) != "hello\n" {
		t.Fatalf("got %q back, %v", line, err)
	}
}

func (a *app) counts(t *testing.T) {
	b := a.browser()
	expect(t, b.Get("/count"), 200, "1")
	expect(t, b.Get("/count"), 200, "2")
	b.Get("/wecom/login?return_to=/count")
	expect(t, b.Get("/count"), 200, "4")
	expect(t, b.SignInAs("lisi").Get("/wecom/login?return_to=/count"), 200, "1")
}
