// Load drives an HTTP server on loopback with and without the middleware, by a closed loop: each
// connection sends its next request when it has the answer to the last. It ends by itself.
//
//	go run -C benchmarks ./load [-seconds 1] [-redis URL] [-sessions 10000,100000,1000000]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/benchmarks/internal/loop"
	"github.com/wecomauth/wecom/benchmarks/internal/scratch"
)

func main() {
	seconds := flag.Float64("seconds", 1, "length of each measurement, 0.1 or more; 0 leaves the throughput out")
	redisURL := flag.String("redis", "redis://127.0.0.1:6379/0", "`URL` of a Redis; without one, its rows are left out")
	counts := flag.String("sessions", "10000,100000,1000000", "how many sessions to hold for the last table, each 1000 or more")
	flag.Parse()
	list, err := numbers(*counts)
	switch {
	case flag.NArg() > 0:
		fail(2, fmt.Errorf("%q is no flag", flag.Arg(0)))
	case *seconds != 0 && !(*seconds >= 0.1 && *seconds <= 3600):
		fail(2, errors.New("-seconds: want 0, or 0.1 to 3600"))
	case err != nil:
		fail(2, fmt.Errorf("-sessions: %w", err))
	}
	if err := run(time.Duration(*seconds*float64(time.Second)), *redisURL, list); err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(code)
}

func numbers(text string) ([]int, error) {
	var list []int
	for text := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1000 { // fewer weigh less than the noise
			return nil, fmt.Errorf("%q: want 1000 or more", text)
		}
		list = append(list, n)
	}
	return list, nil
}

func run(length time.Duration, redisURL string, counts []int) error {
	ctx := context.Background()
	client, err := scratch.Connect(ctx, redisURL, 256)
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: no Redis, so its rows are left out: %v\n", err)
	} else {
		defer scratch.Forget(client)
	}
	fmt.Printf("%s, %s/%s, %d CPUs, %s each; server and clients share the machine\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), length)
	if length > 0 {
		if err := throughput(length, client); err != nil {
			return err
		}
	}
	return crowds(ctx, counts, client)
}

// everybody signs people in at once, as the code says: what is measured here is not WeCom.
type everybody struct{}

func (everybody) App() wecom.App { return wecom.App{Provider: "load", CorpID: "corp", AppID: "1"} }

func (everybody) AuthorizeURL(a wecom.AuthorizeRequest) string {
	return "https://idp.example/?state=" + a.State + "&redirect_uri=" + url.QueryEscape(a.RedirectURI)
}

func (p everybody) Identify(_ context.Context, code string) (wecom.Identity, error) {
	app := p.App()
	return wecom.Identity{Provider: app.Provider, CorpID: app.CorpID, AppID: app.AppID, UserID: code}, nil
}

func middleware(store scs.Store) (*wecom.Middleware, error) {
	return wecom.New(wecom.Options{
		Provider: everybody{}, StateKey: wecom.NewSecret("a key for this run only, 32 bytes long"),
		CallbackURL: "http://127.0.0.1/wecom/callback", SessionStore: store,
		Logger: slog.New(slog.DiscardHandler),
	})
}

// signIn goes through h once and returns the Cookie header of the new session.
func signIn(h http.Handler, user string) (string, error) {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	to, err := w.Result().Location()
	if err != nil {
		return "", err
	}
	r = httptest.NewRequest(http.MethodGet, "http://127.0.0.1/wecom/callback?code="+user+"&state="+to.Query().Get("state"), nil)
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		return "", fmt.Errorf("the callback answered %d", w.Code)
	}
	c := w.Result().Cookies()[0]
	return c.Name + "=" + c.Value, nil
}

var page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8") // as pages do
	_, _ = io.WriteString(w, "hello, this is a page of some length for somebody who is signed in\n")
})

const turns = 5

// throughput compares servers at 1, 10 and 200 connections.
func throughput(length time.Duration, client *redis.Client) error {
	memory, err := middleware(nil)
	if err != nil {
		return err
	}
	type server struct {
		name    string
		handler http.Handler
	}
	servers := []server{{"without the middleware", page}, {"wecom, sessions in memory", memory.Handler(page)}}
	if client != nil {
		remote, err := middleware(goredisstore.NewWithPrefix(client, scratch.Keys+"wecom:"))
		if err != nil {
			return err
		}
		servers = append(servers, server{"wecom, sessions in Redis", remote.Handler(page)})
	}
	for _, traffic := range []string{"signed-in", "anonymous", "mixed"} {
		fmt.Printf("| %s traffic | connections | requests/s | ratio | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", traffic)
		for _, connections := range []int{1, 10, 200} {
			// In turns, and compared turn by turn: what disturbs the machine for a while disturbs all.
			results := make([][]result, len(servers))
			for turn := range turns {
				for i, s := range servers {
					signedIn := s.handler
					if i == 0 {
						signedIn = memory.Handler(page) // the same request, cookie and all, reaches the server without
					}
					cookie, err := signIn(signedIn, fmt.Sprintf("%s-%d-%d-%d", traffic, connections, turn, i)) // a code works once
					if err != nil {
						return err
					}
					status := "200"
					if i > 0 {
						status = "302" // to WeCom
					}
					res, err := drive(s.handler, cookie, status, traffic, connections, length)
					if err != nil {
						return err
					}
					ratio := 1.0
					if i > 0 {
						ratio = res.PerSecond / results[0][turn].PerSecond
					}
					results[i] = append(results[i], result{res, ratio})
				}
			}
			for i, s := range servers {
				res := middle(results[i])
				fmt.Printf("| %s | %d | %.0f | %.2f | %s | %s |\n", s.name, connections, res.PerSecond, res.ratio, res.P50, res.P99)
			}
		}
		fmt.Println()
	}
	return nil
}

// middle returns the turn whose ratio, or throughput, is the median.
func middle(list []result) result {
	slices.SortFunc(list, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.ratio, b.ratio), cmp.Compare(a.PerSecond, b.PerSecond))
	})
	return list[len(list)/2]
}

type result struct {
	loop.Result
	ratio float64 // to the server without the middleware
}

// drive runs one server and sends it the traffic.
func drive(h http.Handler, cookie, anonymousStatus, traffic string, connections int, length time.Duration) (loop.Result, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return loop.Result{}, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ErrServerClosed
	}()
	defer func() {
		_ = server.Close()
		<-served
	}()

	signedIn, anonymous := loop.Get("/reports?from=2026-01-01", cookie, "200"), loop.Get("/reports?from=2026-01-01", "", anonymousStatus)
	requests := []loop.Request{signedIn}
	switch traffic {
	case "anonymous":
		requests = []loop.Request{anonymous}
	case "mixed":
		requests = []loop.Request{signedIn, signedIn, signedIn, anonymous}
	}
	return loop.Drive(listener.Addr().String(), requests, connections, length)
}

// A crowd is n people who are signed in, in the default store and in Redis.
type crowd struct {
	n              int
	memory, redis  *wecom.Middleware // redis is nil if there is none
	each, eachInIt float64           // bytes a session
	attempt        float64           // bytes that a sign-in leaves behind for ten minutes
	inMemory       []string          // cookies of all of them
	inRedis        []string
	few            []time.Duration // a look-up of the same 5,000, in turns
	all            []time.Duration // of everybody
	tookInIt       []time.Duration // of the same 5,000 in Redis
}

// crowds makes n sessions for each n, and tells what they weigh and what a look-up costs: all
// crowds are there at once and take turns.
func crowds(ctx context.Context, counts []int, client *redis.Client) error {
	var all []*crowd
	for _, n := range counts {
		c, err := newCrowd(ctx, n, client)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	inTurns := func(turns int, one func(*crowd) error) (err error) {
		for range turns {
			for _, c := range all {
				err = errors.Join(err, one(c))
			}
		}
		return err
	}
	err := errors.Join(
		inTurns(21, func(c *crowd) error { return look(&c.few, c.memory, some(c.inMemory), 10) }),
		inTurns(11, func(c *crowd) error { return look(&c.all, c.memory, c.inMemory, max(1, 50_000/c.n)) }),
		inTurns(21, func(c *crowd) error { return look(&c.tookInIt, c.redis, c.inRedis, 1) }),
	)
	if err != nil {
		return err
	}
	fmt.Println("| sessions | bytes each, in memory | look-up among 5,000 | ratio | among all | ratio | bytes each, in Redis | look-up | ratio |")
	fmt.Println("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, c := range all {
		remote := "– | – | –"
		if client != nil {
			remote = fmt.Sprintf("%.0f | %s | %.2f", c.eachInIt, median(c.tookInIt), ratio(c.tookInIt, all[0].tookInIt))
		}
		fmt.Printf("| %d | %.0f | %s | %.2f | %s | %.2f | %s |\n", c.n,
			c.each, median(c.few), ratio(c.few, all[0].few), median(c.all), ratio(c.all, all[0].all), remote)
	}
	last := all[len(all)-1]
	fmt.Printf("\nFor ten minutes a sign-in keeps %.0f bytes more in memory, so that its code is not sent twice.\n", last.attempt)
	return nil
}

func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// ratio compares turn by turn: what disturbs the machine for a while disturbs both.
func ratio(list, base []time.Duration) float64 {
	if len(list) == 0 {
		return 0
	}
	var each []float64
	for i := range list {
		each = append(each, float64(list[i])/float64(base[i]))
	}
	slices.Sort(each)
	return each[len(each)/2]
}

func newCrowd(ctx context.Context, n int, client *redis.Client) (*crowd, error) {
	c := &crowd{n: n}
	// With a store elsewhere, what is left in memory is what a sign-in leaves beside its session.
	elsewhere := &pipeStore{ctx: ctx, client: client, prefix: fmt.Sprintf("%s%d:", scratch.Keys, n)}
	used := redisMemory(ctx, client)
	before := heap()
	m, cookies, err := fill(elsewhere, n)
	if err != nil {
		return nil, err
	}
	if err := elsewhere.flush(); err != nil {
		return nil, err
	}
	cookies = some(cookies)
	c.attempt = float64(heap()-before) / float64(n)
	runtime.KeepAlive(m)
	c.inRedis = compact(cookies)
	if client != nil {
		c.eachInIt = float64(redisMemory(ctx, client)-used) / float64(n)
		if c.redis, err = middleware(goredisstore.NewWithPrefix(client, elsewhere.prefix)); err != nil {
			return nil, err
		}
	}

	m, cookies = nil, nil
	before = heap()
	if c.memory, cookies, err = fill(nil, n); err != nil {
		return nil, err
	}
	c.inMemory = compact(cookies)
	ours := cap(c.inMemory) * int(unsafe.Sizeof(""))
	for _, cookie := range c.inMemory {
		ours += len(cookie)
	}
	c.each = float64(heap()-before-int64(ours))/float64(n) - c.attempt
	return c, nil
}

// A pipeStore writes rows to Redis, many at a time, or nowhere, and keeps none.
type pipeStore struct {
	ctx     context.Context
	client  *redis.Client
	prefix  string
	mu      sync.Mutex
	pending redis.Pipeliner
}

func (s *pipeStore) Find(string) ([]byte, bool, error) { return nil, false, nil }
func (s *pipeStore) Delete(string) error               { return nil }

func (s *pipeStore) Commit(key string, row []byte, expires time.Time) error {
	if s.client == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = s.client.Pipeline()
	}
	s.pending.Set(s.ctx, s.prefix+key, row, time.Until(expires))
	if s.pending.Len() < 5000 {
		return nil
	}
	return s.flush()
}

// flush writes what is pending; s.mu is held, or nobody commits any more.
func (s *pipeStore) flush() error {
	if s.pending == nil {
		return nil
	}
	_, err := s.pending.Exec(s.ctx)
	s.pending = nil
	return err
}

// some returns 5,000 cookies from all over the store.
func some(cookies []string) []string {
	var list []string
	for i := 0; i < len(cookies); i += max(len(cookies)/5000, 1) {
		list = append(list, cookies[i])
	}
	return list
}

// fill signs n people in, lets each open a page if the store is the default, and returns their cookies.
func fill(store scs.Store, n int) (*wecom.Middleware, []string, error) {
	m, err := middleware(store)
	if err != nil {
		return nil, nil, err
	}
	h := m.Handler(page)
	var cookies []string
	for i := range n {
		cookie, err := signIn(h, fmt.Sprintf("user%07d", i))
		if err != nil {
			return nil, nil, err
		}
		if store == nil {
			if _, err := lookUp(m, []string{cookie}, 1); err != nil {
				return nil, nil, err
			}
		}
		cookies = append(cookies, cookie)
	}
	return m, cookies, nil
}

// compact copies strings into one piece of memory. Where they were made, between a million
// sessions, reading them would cost more than the look-up.
func compact(list []string) []string {
	all := strings.Join(list, "")
	for i := range list {
		list[i], all = all[:len(list[i])], all[len(list[i]):]
	}
	return list
}

// look appends the time of a look-up, unless there is no m.
func look(took *[]time.Duration, m *wecom.Middleware, cookies []string, times int) error {
	if m == nil {
		return nil
	}
	d, err := lookUp(m, cookies, times)
	*took = append(*took, d)
	return err
}

// lookUp goes through the cookies some times and returns the mean time of a signed-in request.
func lookUp(m *wecom.Middleware, cookies []string, times int) (time.Duration, error) {
	h := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := &answer{header: http.Header{}}
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api", nil)
	cookie := []string{""}
	r.Header["Cookie"] = cookie
	began := time.Now()
	for range times {
		for _, cookie[0] = range cookies {
			clear(w.header)
			h.ServeHTTP(w, r)
			if w.status != 0 {
				return 0, fmt.Errorf("a session was not found: %d", w.status)
			}
		}
	}
	return time.Since(began) / time.Duration(len(cookies)*times), nil
}

// An answer keeps its status and nothing else.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func redisMemory(ctx context.Context, client *redis.Client) int64 {
	if client == nil {
		return 0
	}
	info := client.Info(ctx, "memory").Val()
	_, rest, _ := strings.Cut(info, "used_memory:")
	text, _, _ := strings.Cut(rest, "\r")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
