package main_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/wecomtest"
)

const (
	soakRate    = 500 // requests a second
	soakWorkers = 50
	soakPeople  = 200
)

// keeps makes Redis write its rows when it ends, and not wait for the disk before.
var keeps = []string{"--appendonly", "no", "--save", "3600 1"}

// A day of two gateways behind nginx, in as long as GATEWAY_SOAK=20m says: people sign
// in and out, are revoked, and while they do the store and the gateways are restarted.
// Every answer is judged: nobody is out who should be in, nobody is in who should be
// out, and no request is lost but those in flight when a gateway was killed. While the store
// is away, from its SIGTERM until both gateways are ready again, 503 with Retry-After is
// the right answer to a request that meets that time; it is none before and after.
func TestSoak(t *testing.T) {
	day, err := time.ParseDuration(os.Getenv("GATEWAY_SOAK"))
	if err != nil {
		t.Skip("GATEWAY_SOAK, such as 20m, is not set")
	}
	hour := day / 24
	s := &soak{w: newWorld(t), t: t, counts: map[string]int{}, revoked: map[string]span{}, lifetime: day / 2, day: day}
	for i := range soakPeople {
		s.w.fake.AddMember(wecomtest.Member{UserID: fmt.Sprint("user", i), Name: "Somebody", Departments: []int64{2}})
	}
	db := newRedis(t).start(keeps...)
	front := freeaddr.Get(t)
	s.front = "http://" + front
	for i := range s.gateways {
		s.gateways[i] = &process{addr: freeaddr.Get(t), metrics: freeaddr.Get(t)}
	}
	s.env = []string{
		"WECOM_CALLBACK_URL=" + s.front + "/wecom/callback", "WECOM_TRUSTED_PROXIES=127.0.0.1", "WECOM_LOG_LEVEL=warn",
		"WECOM_SESSION_STORE=" + db.url(), "WECOM_TOKEN_STORE=" + db.url(), "WECOM_SESSION_LIFETIME=" + s.lifetime.String(),
		"WECOM_RECHECK=" + hour.String(), "WECOM_AUDIT=" + filepath.Join(t.TempDir(), "audit.log"),
	}
	var idle [2]float64
	for i, p := range s.gateways {
		s.start(p)
		idle[i] = s.figure(p, "go_goroutines")
	}
	stopNginx := s.nginx(front)

	transport := &http.Transport{MaxIdleConnsPerHost: soakWorkers}
	s.client = &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.began = time.Now()
	end := make(chan struct{})
	var workers sync.WaitGroup
	for range soakWorkers {
		workers.Go(func() { s.work(end) })
	}
	var heap [2][]float64
	var signIns []int
	var inFlight int64 // at the kill
	clock := time.NewTicker(hour)
	for h := 1; h <= 24; h++ {
		<-clock.C
		switch h {
		case 2, 6, 9:
			for _, p := range s.gateways {
				require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
				require.NoError(t, p.cmd.Wait(), "%s", p.log())
				s.start(p)
			}
		case 4:
			inFlight = s.inFlight.Load()
			s.killed.Store(never.UnixNano())
			require.NoError(t, s.gateways[0].cmd.Process.Kill())
			_ = s.gateways[0].cmd.Wait()
			s.killed.Store(time.Now().UnixNano())
			s.start(s.gateways[0])
		case 5, 10:
			s.away.Store(true)
			require.NoError(t, db.cmd.Process.Signal(syscall.SIGTERM))
			_ = db.cmd.Wait()
			time.Sleep(hour / 10)
			db.start(keeps...)
			for _, p := range s.gateways {
				s.ready(p)
			}
			s.back.Store(time.Now().UnixNano()) // requests that began before may still be told
			s.away.Store(false)
		case 12:
			s.revoke("-all")
		default:
			s.revoke(fmt.Sprint("user", rand.IntN(soakPeople)))
		}
		if h >= 12 {
			for i, p := range s.gateways {
				// The next collection comes when the heap has doubled: half of that is what the last one left.
				heap[i] = append(heap[i], s.figure(p, "go_memstats_next_gc_bytes")/2)
			}
			signIns = append(signIns, s.count("signed in"))
		}
	}
	clock.Stop()
	close(end)
	workers.Wait()
	took := time.Since(s.began)

	// What the day left behind.
	transport.CloseIdleConnections()
	stopNginx()
	_ = s.w.server.Close()
	for i, p := range s.gateways {
		eventually(t, "no goroutine is left", func() bool { return s.figure(p, "go_goroutines") <= idle[i]+1 })
		first := heap[i][0]
		// A sign-in is remembered for ten minutes, with a kilobyte.
		allowed := first + float64(signIns[len(signIns)-1]-signIns[0])*1500 + 4<<20
		assert.Less(t, slices.Min(heap[i][len(heap[i])-3:]), allowed, "memory grows: %.0f", heap[i])
		t.Logf("gateway %d: heap after a collection, from noon on: %.0f; resident %.1f MiB; %.0f goroutines, %.0f before",
			i, heap[i], s.figure(p, "process_resident_memory_bytes")/(1<<20), s.figure(p, "go_goroutines"), idle[i])
		assert.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		assert.NoError(t, p.cmd.Wait())
		assert.NotContains(t, p.log(), "panic")
		assert.NotContains(t, p.log(), "DATA RACE")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		t.Logf("%8d %s", s.counts[name], name)
	}
	t.Logf("%.0f requests a second; %d in flight at the kill", float64(s.requests.Load())/took.Seconds(), inFlight)
	assert.Empty(t, s.lost[:min(len(s.lost), 20)], "%d are lost", len(s.lost))
	assert.Empty(t, s.late[:min(len(s.late), 20)], "%d are refused though the store is there", len(s.late))
	assert.Empty(t, s.wrong[:min(len(s.wrong), 20)], "%d answers are wrong", len(s.wrong))
}

// Two gateways behind nginx are restarted in turn, as often as GATEWAY_RESTARTS says, while
// POSTs arrive. nginx repeats none that it has sent, so that each must be answered.
func TestRestarts(t *testing.T) {
	restarts, err := strconv.Atoi(os.Getenv("GATEWAY_RESTARTS"))
	if err != nil {
		t.Skip("GATEWAY_RESTARTS, such as 60, is not set")
	}
	s := &soak{w: newWorld(t), t: t}
	front := freeaddr.Get(t)
	s.env = []string{"WECOM_LOG_LEVEL=warn", "WECOM_CALLBACK_URL=http://" + front + "/wecom/callback"}
	for i := range s.gateways {
		s.gateways[i] = &process{addr: freeaddr.Get(t), metrics: freeaddr.Get(t)}
		s.start(s.gateways[i])
	}
	s.nginx(front)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}, Timeout: patience}
	end := make(chan struct{})
	var workers sync.WaitGroup
	for range 200 {
		workers.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-end:
					return
				case <-tick.C:
				}
				s.requests.Add(1)
				res, err := client.Post("http://"+front+"/page", "text/plain", strings.NewReader("a"))
				if err == nil {
					_ = res.Body.Close()
				}
				if err != nil || res.StatusCode != http.StatusUnauthorized {
					s.note(&s.lost, "%v %v", res, err)
				}
			}
		})
	}
	for i := range restarts {
		p := s.gateways[i%2]
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, p.cmd.Wait(), "%s", p.log())
		s.start(p)
	}
	close(end)
	workers.Wait()
	assert.Empty(t, s.lost[:min(len(s.lost), 3)], "%d of %d are lost", len(s.lost), s.requests.Load())
}

// A soak is what the workers and the clock share.
type soak struct {
	w        *world
	t        *testing.T
	front    string
	env      []string
	lifetime time.Duration
	day      time.Duration
	began    time.Time
	gateways [2]*process
	client   *http.Client

	requests, inFlight atomic.Int64
	killed             atomic.Int64 // when a gateway was
	away               atomic.Bool  // the store is
	back               atomic.Int64 // when it was last, and the gateways ready

	mu                sync.Mutex
	counts            map[string]int
	lost, late, wrong []string
	revoked           map[string]span // people, "" for everybody
}

// A span is the time that something took.
type span struct{ began, ended time.Time }

// A process is a gateway that writes its log into a file.
type process struct {
	addr, metrics string
	cmd           *exec.Cmd
	file          string
}

func (p *process) log() string {
	text, _ := os.ReadFile(p.file)
	return string(text)
}

func (s *soak) start(p *process) {
	s.t.Helper()
	p.file = cmp.Or(p.file, filepath.Join(s.t.TempDir(), "log"))
	file, err := os.OpenFile(p.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer file.Close()
	p.cmd = command(s.w.env(append(s.env, "ADDR="+p.addr, "WECOM_METRICS_ADDR="+p.metrics)...))
	p.cmd.Stderr = file
	require.NoError(s.t, p.cmd.Start())
	s.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	s.ready(p)
}

// nginx stands in front of both gateways.
func (s *soak) nginx(front string) (stop func()) {
	s.t.Helper()
	return runNginx(s.t, front, fmt.Sprintf(`
	upstream gateways { server %s max_fails=0; server %s max_fails=0; keepalive 64; }
	server {
		listen %s;
		location / {
			proxy_pass http://gateways;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $remote_addr;
		}
	}`, s.gateways[0].addr, s.gateways[1].addr, front))
}

// ready waits until a gateway says that it and its store are there.
func (s *soak) ready(p *process) {
	s.t.Helper()
	eventually(s.t, "the gateway is ready", func() bool {
		res, err := http.Get("http://" + p.addr + "/wecom/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// figure reads one of a gateway's metrics, after a connection of its own.
func (s *soak) figure(p *process, name string) float64 {
	s.t.Helper()
	r := must(http.NewRequest("GET", "http://"+p.metrics+"/metrics", nil))
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	_, rest, _ := strings.Cut(string(text), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(line, 64)
	require.NoError(s.t, err)
	return value
}

// revoke ends the sessions of a person, or of everybody, on the command line.
func (s *soak) revoke(whom string) {
	began := time.Now()
	s.revoking(whom, span{began, never})
	for range 3 { // on a busy machine two seconds may be too short
		if status, _, _ := runOnce(s.t, s.w.env(s.env...), "revoke", whom); status == 0 {
			s.add("revoked by the operator")
			s.revoking(whom, span{began, time.Now()})
			return
		}
		s.add("revoked by the operator not")
	}
}

// never is when a revocation ends of which nobody knows yet whether it is stored.
var never = time.Now().Add(1000 * time.Hour)

func (s *soak) revoking(whom string, took span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[strings.TrimPrefix(whom, "-all")] = took
}

func (s *soak) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[what]
}

func (s *soak) note(list *[]string, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, fmt.Sprintf(format, args...))
}

func (s *soak) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// A visitor is a browser in which somebody may be signed in.
type visitor struct {
	user      string
	jar       http.CookieJar
	in        span // the sign-in
	signedOut time.Time
}

// work sends its share of the requests.
func (s *soak) work(end <-chan struct{}) {
	visitors := make([]*visitor, 8)
	tick := time.NewTicker(time.Second * soakWorkers / soakRate)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		i := rand.IntN(len(visitors))
		v := visitors[i]
		dice := rand.IntN(1000)
		switch {
		case v == nil || dice < 20:
			visitors[i] = s.signIn(fmt.Sprint("user", rand.IntN(soakPeople)))
		case dice < 40:
			visitors[i] = nil
			s.signOut(v, "/wecom/logout")
		case dice < 42:
			visitors[i] = nil
			s.signOut(v, "/wecom/logout?everywhere=1")
		default:
			method := "GET"
			if dice < 100 {
				method = "POST"
			}
			if !s.visit(v, method) {
				visitors[i] = nil
			}
		}
	}
}

// send sends a request. The answer is nil if it was lost, or if it is one that says
// that the store is away, while it is.
func (s *soak) send(jar http.CookieJar, method, path string, header http.Header) (res *http.Response, text string) {
	began := time.Now()
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader("a=b")
	}
	r := must(http.NewRequest(method, s.front+path, body))
	maps.Copy(r.Header, header)
	for _, c := range jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	s.requests.Add(1)
	s.inFlight.Add(1)
	res, err := s.client.Do(r)
	if err == nil {
		var all []byte
		all, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		text = string(all)
	}
	s.inFlight.Add(-1)
	switch {
	case began.UnixNano() < s.killed.Load() && (err != nil || res.StatusCode >= 500):
		s.add("lost in flight at the kill")
		return nil, ""
	case err != nil:
		s.note(&s.lost, "at %.1f h, %s %s: %v", s.hours(), method, path, err)
		return nil, ""
	case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" && (s.away.Load() || began.UnixNano() < s.back.Load()):
		s.add("told that the store is away")
		return nil, ""
	case res.StatusCode == http.StatusServiceUnavailable: // the store answered too late, as on a busy machine
		s.note(&s.late, "at %.1f h, %s %s: %s", s.hours(), method, path, text)
		return nil, ""
	case res.StatusCode >= 500:
		s.note(&s.lost, "at %.1f h, %s %s: %s", s.hours(), method, path, res.Status)
		return nil, ""
	}
	jar.SetCookies(r.URL, res.Cookies())
	return res, text
}

func (s *soak) hours() float64 { return time.Since(s.began).Hours() / s.day.Hours() * 24 }

// signIn returns nil if the sign-in did not come to its end.
func (s *soak) signIn(user string) *visitor {
	jar := must(cookiejar.New(nil))
	v := &visitor{user: user, jar: jar, in: span{began: time.Now()}}
	res, text := s.send(jar, "GET", "/page", page)
	for range 2 { // WeCom answers once more if the exchange was cut off
		if res == nil {
			return nil
		}
		to, err := res.Location()
		if err != nil {
			s.note(&s.wrong, "sign-in: %s %s", res.Status, text)
			return nil
		}
		code := s.w.fake.IssueCode(wecomtest.Grant{Who: user})
		res, text = s.send(jar, "GET", "/wecom/callback?"+url.Values{"code": {code}, "state": {to.Query().Get("state")}}.Encode(), page)
		if res != nil && res.StatusCode == http.StatusSeeOther {
			v.in.ended = time.Now()
			s.add("signed in")
			return v
		}
	}
	s.add("signed in not")
	return nil
}

func (s *soak) signOut(v *visitor, path string) {
	began := time.Now()
	kept := v.jar.Cookies(must(url.Parse(s.front)))
	everywhere := strings.Contains(path, "everywhere")
	if everywhere {
		s.revoking(v.user, span{began, never})
	}
	res, _ := s.send(v.jar, "POST", path, nil)
	if everywhere && res != nil && res.StatusCode == http.StatusSeeOther {
		s.revoking(v.user, span{began, time.Now()})
	}
	if res == nil || res.StatusCode != http.StatusSeeOther {
		if res != nil && s.mayBeOut(v, began) {
			s.add("out already")
		} else if res != nil {
			s.note(&s.wrong, "sign-out: %s", res.Status)
		}
		return
	}
	s.add("signed out, " + map[bool]string{true: "everywhere", false: "here"}[everywhere])
	v.jar = must(cookiejar.New(nil))
	v.jar.SetCookies(must(url.Parse(s.front)), kept)
	v.signedOut = time.Now()
	s.visit(v, "GET")
}

// visit opens a page and judges the answer. It reports whether v is still signed in.
func (s *soak) visit(v *visitor, method string) bool {
	began := time.Now()
	res, text := s.send(v.jar, method, "/page", nil)
	switch {
	case res == nil:
		return v.signedOut.IsZero()
	case res.StatusCode == http.StatusOK:
		s.add("pages")
		if why := s.mustBeOut(v, began); why != "" {
			s.note(&s.wrong, "at %.1f h, %s, in since %s, is still in: %s", s.hours(), v.user, began.Sub(v.in.ended), why)
		}
		if !strings.Contains(text, `"X-Forwarded-User":["`+v.user+`"]`) {
			s.note(&s.wrong, "%s saw the page of somebody else: %s", v.user, text)
		}
		return true
	case res.StatusCode == http.StatusUnauthorized:
		s.add("pages refused")
		if !s.mayBeOut(v, began) {
			s.note(&s.wrong, "%s, in since %s, is out", v.user, time.Since(v.in.ended))
		}
		return false
	}
	s.note(&s.wrong, "page: %s %s", res.Status, text)
	return true
}

// mustBeOut says why a request that began then may not be let in, if so: a second after the revocation.
func (s *soak) mustBeOut(v *visitor, began time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range []span{s.revoked[v.user], s.revoked[""]} {
		if v.in.ended.Before(one.began) && began.After(one.ended.Add(1200*time.Millisecond)) {
			return fmt.Sprintf("revoked from %s to %s before", began.Sub(one.began), began.Sub(one.ended))
		}
	}
	if !v.signedOut.IsZero() {
		return fmt.Sprintf("signed out %s before", began.Sub(v.signedOut))
	}
	if began.After(v.in.ended.Add(s.lifetime)) {
		return "sessions do not last so long"
	}
	return ""
}

// mayBeOut says whether a request that began then may be refused.
func (s *soak) mayBeOut(v *visitor, began time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range []span{s.revoked[v.user], s.revoked[""]} {
		if !v.in.began.After(one.ended) {
			return true
		}
	}
	return !v.signedOut.IsZero() || time.Since(v.in.began) > s.lifetime-time.Second // rows hold seconds
}
