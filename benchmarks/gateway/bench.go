package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" // htpasswd's
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wecomauth/wecom/benchmarks/internal/loop"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	oauth2Proxy = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.2"
	userID      = "zhangsan"
)

// servers are what this very program is in processes of its own.
var servers = map[string]func(args []string) error{
	// upstream answers with one KiB.
	"upstream": func(args []string) error {
		page := []byte(strings.Repeat("0123456789abcde\n", 64))
		return http.ListenAndServe(args[0], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write(page)
		}))
	},
	// plain is a proxy that checks nothing. Left alone, it would dial for most requests.
	"plain": func(args []string) error {
		target, err := url.Parse(args[1])
		if err != nil {
			return err
		}
		return http.ListenAndServe(args[0], &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.SetXForwarded()
			},
			Transport: &http.Transport{MaxIdleConnsPerHost: 512},
		})
	},
}

// A proxy is a process that passes on the requests of those who are signed in.
type proxy struct {
	name   string
	addr   string
	cmd    *exec.Cmd
	cookie string // somebody's who is signed in
	auth   string // the path that answers nginx's auth_request

	results []loop.Result
	ratios  []float64 // to the first proxy, round by round
	answers int
	cpu     time.Duration   // of all answers
	added   []time.Duration // by auth_request, round by round
}

// A bench holds the proxies, the first of which is the plain one, and what they need.
type bench struct {
	ctx      context.Context
	dir      string
	wecom    *wecomtest.Server
	upstream string
	redis    string // its own
	nginx    string // "" for none; it asks proxy N about the pages in /N/
	proxies  []*proxy
	started  []*exec.Cmd
}

// newBench starts all that can be had on this machine.
func newBench(ctx context.Context) (*bench, error) {
	b := &bench{ctx: ctx, upstream: freeAddr(), redis: freeAddr()}
	dir, err := os.MkdirTemp("", "wecom-benchmarks-")
	if err != nil {
		return b, err
	}
	b.dir = dir
	fake := wecomtest.New()
	fake.SignInAs(userID)
	if b.wecom, err = fake.Start(""); err != nil {
		return b, err
	}
	if _, err = b.run(b.upstream, []string{"BENCHMARK_SERVES=upstream"}, os.Args[0], b.upstream); err != nil {
		return b, err
	}
	ours, others := []string{"memory", "redis"}, []string{"cookie", "redis"}
	_, port, _ := net.SplitHostPort(b.redis)
	if _, err = b.run(b.redis, nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", dir); err != nil {
		ours, others = ours[:1], others[:1]
		fmt.Fprintln(os.Stderr, "gateway: the rows with Redis are left out:", err)
	}

	if err := b.addPlain(); err != nil {
		return b, err
	}
	program, err := b.build(filepath.Join("..", "cmd", "wecom-gateway"))
	if err != nil {
		return b, err
	}
	for _, store := range ours {
		if err := b.addGateway(program, store, fake); err != nil {
			return b, err
		}
	}
	if program, err = b.buildOAuth2Proxy(); err != nil {
		fmt.Fprintln(os.Stderr, "gateway: the rows of oauth2-proxy are left out:", err)
		others = nil
	}
	for _, store := range others {
		if err := b.addOAuth2Proxy(program, store); err != nil {
			return b, err
		}
	}
	if err := b.startNginx(); err != nil {
		fmt.Fprintln(os.Stderr, "gateway: nginx's column is left out:", err)
	}
	return b, nil
}

func (b *bench) close() {
	for _, cmd := range slices.Backward(b.started) {
		if cmd.Process.Signal(syscall.SIGTERM) != nil { // Windows has no such signal
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	}
	if b.wecom != nil {
		_ = b.wecom.Close()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// run starts a program and waits until it listens at addr.
func (b *bench) run(addr string, env []string, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(env, "HOME="+b.dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.started = append(b.started, cmd)
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return cmd, conn.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not listen: %w", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddr returns an address at which nobody listens.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0" // whoever listens there says what is wrong
	}
	defer l.Close()
	return l.Addr().String()
}

// build builds the program of a module's folder.
func (b *bench) build(folder string) (program string, err error) {
	program = filepath.Join(b.dir, strconv.Itoa(len(b.proxies)))
	cmd := exec.CommandContext(b.ctx, "go", "build", "-C", folder, "-o", program, ".")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return program, nil
}

func (b *bench) addPlain() error {
	addr := freeAddr()
	cmd, err := b.run(addr, []string{"BENCHMARK_SERVES=plain"}, os.Args[0], addr, "http://"+b.upstream)
	b.proxies = append(b.proxies, &proxy{name: "httputil.ReverseProxy", addr: addr, cmd: cmd})
	return err
}

func (b *bench) addGateway(program, store string, fake *wecomtest.Fake) error {
	e, where := b.wecom.Endpoints(), store
	if store == "redis" {
		where = "redis://" + b.redis + "/0"
	}
	addr := freeAddr()
	cmd, err := b.run(addr, []string{
		"ADDR=" + addr, "WECOM_UPSTREAM=http://" + b.upstream, "WECOM_SESSION_STORE=" + where,
		"WECOM_CORP_ID=" + fake.CorpID(), "WECOM_AGENT_ID=" + fake.AgentID(), "WECOM_SECRET=" + fake.Secret(),
		"WECOM_API_URL=" + e.API, "WECOM_AUTHORIZE_URL=" + e.Authorize, "WECOM_WEB_LOGIN_URL=" + e.WebLogin,
	}, program)
	if err != nil {
		return err
	}
	return b.add(&proxy{name: "wecom-gateway, " + store, addr: addr, cmd: cmd, auth: "/wecom/auth"}, "GET", "/page", nil)
}

// buildOAuth2Proxy builds it as its own go.mod says.
func (b *bench) buildOAuth2Proxy() (program string, err error) {
	fmt.Fprintln(os.Stderr, "gateway: building", oauth2Proxy)
	var module struct{ Dir, Error string }
	cmd := exec.CommandContext(b.ctx, "go", "mod", "download", "-json", oauth2Proxy)
	cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "GOWORK=off")
	out, _ := cmd.Output()
	if err := json.Unmarshal(out, &module); err != nil || module.Dir == "" {
		return "", fmt.Errorf("%s: %s", cmd, module.Error)
	}
	return b.build(module.Dir)
}

// addOAuth2Proxy starts it with a file of passwords: so its cookie holds no tokens of a
// provider, which would make it longer and slower.
func (b *bench) addOAuth2Proxy(program, store string) error {
	password := rand.Text()
	sum := sha1.Sum([]byte(password))
	file := filepath.Join(b.dir, "htpasswd")
	if err := os.WriteFile(file, []byte(userID+":{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
		return err
	}
	addr := freeAddr()
	cmd, err := b.run(addr, nil, program, "--http-address="+addr, "--upstream=http://"+b.upstream, "--htpasswd-file="+file,
		"--provider=github", "--client-id=x", "--client-secret=x", "--cookie-secret="+rand.Text()[:16], "--cookie-secure=false",
		"--email-domain=*", "--reverse-proxy=false", "--session-store-type="+store, "--redis-connection-url=redis://"+b.redis+"/1")
	if err != nil {
		return err
	}
	return b.add(&proxy{name: "oauth2-proxy, " + store, addr: addr, cmd: cmd, auth: "/oauth2/auth"},
		"POST", "/oauth2/sign_in", url.Values{"username": {userID}, "password": {password}})
}

// add signs in and makes sure that the page is there.
func (b *bench) add(p *proxy, method, path string, form url.Values) error {
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	for _, step := range []struct{ method, path, body string }{{method, path, form.Encode()}, {"GET", "/page", ""}} {
		r, err := http.NewRequestWithContext(b.ctx, step.method, "http://"+p.addr+step.path, strings.NewReader(step.body))
		if err != nil {
			return err
		}
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if step.path == "/page" && (res.StatusCode != http.StatusOK || len(text) != 1024 || err != nil) {
			return fmt.Errorf("%s: not signed in: %s", p.name, res.Status)
		}
	}
	var pairs []string
	for _, c := range jar.Cookies(&url.URL{Scheme: "http", Host: p.addr, Path: "/"}) {
		pairs = append(pairs, c.String())
	}
	p.cookie = strings.Join(pairs, "; ")
	b.proxies = append(b.proxies, p)
	return nil
}

func (b *bench) startNginx() error {
	front := freeAddr()
	var pages, upstreams bytes.Buffer
	for i, p := range b.proxies {
		if p.auth == "" {
			fmt.Fprintf(&pages, "location /%d/ { proxy_pass http://app; }\n", i)
			continue
		}
		fmt.Fprintf(&pages, "location /%d/ { auth_request /auth-%[1]d; proxy_pass http://app; }\n"+
			"location = /auth-%[1]d { internal; proxy_pass http://proxy-%[1]d%s; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }\n", i, p.auth)
	}
	for i, p := range b.proxies {
		fmt.Fprintf(&upstreams, "upstream proxy-%d { server %s; keepalive 32; }\n", i, p.addr)
	}
	file := filepath.Join(b.dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 512; }
http {
	access_log off;
	keepalive_requests 10000000;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	upstream app { server %[2]s; keepalive 32; }
	%[3]s
	server {
		listen %[5]s;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		proxy_set_header Host $http_host;
		%[4]s
	}
}
`, b.dir, b.upstream, &upstreams, &pages, front), 0o600); err != nil {
		return err
	}
	args := []string{"-p", b.dir, "-c", file, "-e", filepath.Join(b.dir, "error.log")}
	if os.Geteuid() == 0 {
		args = append(args, "-g", "user root;")
	}
	if _, err := b.run(front, nil, "nginx", args...); err != nil {
		return err
	}
	b.nginx = front
	return nil
}

// cpuTime is what a process has used so far; 0 where there is no /proc.
func cpuTime(cmd *exec.Cmd) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
