package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/freeaddr"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
	"github.com/wecomauth/wecom/wecomtest"
)

// replicaOrders is what a replica, a process of its own, is told through the environment.
type replicaOrders struct {
	Number             int
	Addr               string
	CorpID, AgentID    string
	Secret             string
	CallbackURL        string
	Endpoints          wecom.Endpoints
	RedisURL, Prefix   string // tokens, and sessions if there is no PostgresURL
	PostgresURL, Table string // Table is the schema that holds scs's table
}

const replicaVariable = "WECOM_E2E_REPLICA"

// replicate is the program that a fleet runs: it serves until it is told to stop, or its parent is gone.
func replicate(orders string) error {
	var o replicaOrders
	if err := json.Unmarshal([]byte(orders), &o); err != nil {
		return err
	}
	ro, err := redis.ParseURL(o.RedisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(ro)
	var sessions scs.Store = goredisstore.NewWithPrefix(rdb, o.Prefix+"session:")
	if o.PostgresURL != "" {
		config, err := pgxpool.ParseConfig(o.PostgresURL)
		if err != nil {
			return err
		}
		config.ConnConfig.RuntimeParams["search_path"] = o.Table
		pool, err := pgxpool.NewWithConfig(context.Background(), config)
		if err != nil {
			return err
		}
		sessions = pgxstore.NewWithCleanupInterval(pool, 0)
	}
	auth, err := wecom.New(wecom.Options{
		CorpID: o.CorpID, AgentID: o.AgentID, Secret: wecom.NewSecret(o.Secret),
		CallbackURL: o.CallbackURL, Endpoints: o.Endpoints,
		SessionStore: sessions, TokenStore: redisstore.New(rdb, o.Prefix),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s %s", id.UserID, r.RequestURI)
	}))}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the parent holds its other end
		stop()
	}()
	go func() { _ = server.Serve(l) }()
	fmt.Println("ready")
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}

// A fleet is some replicas behind a proxy without stickiness.
type fleet struct {
	*testing.T
	fake     *wecomtest.Fake
	orders   []replicaOrders
	cmds     []*exec.Cmd
	backends []*backendCount
	front    *httptest.Server
	turn     atomic.Int64
}

// A backendCount is what the proxy saw of one replica.
type backendCount struct {
	url     *url.URL
	down    atomic.Bool // the test has told it to stop: it may fail now
	served  atomic.Int64
	refused atomic.Int64 // connections
	cut     atomic.Int64 // connections that ended without an answer
}

// servedBy is the header in which the proxy says which replica answered.
const servedBy = "X-Test-Replica"

func newFleet(t *testing.T, postgres bool) *fleet {
	t.Helper()
	address := redisURL(t)
	f := &fleet{T: t, fake: wecomtest.New()}
	f.fake.SignInAs("zhangsan")
	platform, err := f.fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = platform.Close() })

	o := replicaOrders{
		CorpID: f.fake.CorpID(), AgentID: f.fake.AgentID(), Secret: f.fake.Secret(), Endpoints: platform.Endpoints(),
		RedisURL: address, Prefix: newPrefix(t, newRedisClient(t, address)),
	}
	if postgres {
		o.PostgresURL = postgresURL(t)
		o.Table = newPool(t, o.PostgresURL).Config().ConnConfig.RuntimeParams["search_path"]
	}
	f.front = httptest.NewUnstartedServer(f.proxy())
	f.front.Start()
	t.Cleanup(f.front.Close)
	o.CallbackURL = f.front.URL + "/wecom/callback"
	for i := range 3 {
		o.Number, o.Addr = i, freeaddr.Get(t)
		f.orders, f.cmds = append(f.orders, o), append(f.cmds, nil)
		f.backends = append(f.backends, &backendCount{url: &url.URL{Scheme: "http", Host: o.Addr}})
		f.start(i)
	}
	return f
}

// start returns when the replica listens.
func (f *fleet) start(i int) {
	f.Helper()
	text, err := json.Marshal(f.orders[i])
	require.NoError(f, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), replicaVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(f, err)
	out, err := cmd.StdoutPipe()
	require.NoError(f, err)
	require.NoError(f, cmd.Start())
	f.cmds[i] = cmd
	f.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(f, err, "replica %d did not start", i)
	require.Equal(f, "ready\n", line)
	f.backends[i].down.Store(false)
}

// stop ends a replica and returns when it is gone.
func (f *fleet) stop(i int, how os.Signal) {
	f.Helper()
	f.backends[i].down.Store(true)
	require.NoError(f, f.cmds[i].Process.Signal(how))
	_ = f.cmds[i].Wait()
}

// proxy takes the replicas in turn, whoever asks.
func (f *fleet) proxy() http.Handler {
	type choiceKey struct{}
	type choice struct {
		i    int
		down bool // when the request was passed on
	}
	return &httputil.ReverseProxy{
		// A connection for each request: the next one goes elsewhere anyway.
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite: func(r *httputil.ProxyRequest) {
			i := int(f.turn.Add(1)) % len(f.backends)
			r.SetURL(f.backends[i].url)
			r.Out.Host = r.In.Host
			r.Out = r.Out.WithContext(context.WithValue(r.Out.Context(), choiceKey{}, choice{i, f.backends[i].down.Load()}))
		},
		ModifyResponse: func(res *http.Response) error {
			c := res.Request.Context().Value(choiceKey{}).(choice)
			f.backends[c.i].served.Add(1)
			res.Header.Set(servedBy, strconv.Itoa(c.i))
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil { // the client has left
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			c := r.Context().Value(choiceKey{}).(choice)
			b := f.backends[c.i]
			if errors.Is(err, syscall.ECONNREFUSED) {
				b.refused.Add(1)
			} else {
				b.cut.Add(1)
			}
			if !c.down && !b.down.Load() {
				f.Errorf("replica %d, which nobody stopped: %v", c.i, err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// A visitor is a person with a browser.
type visitor struct {
	*fleet
	client *http.Client
	start  string // who sent the browser to WeCom, and who took it back
	end    string
	pages  int // visits to the fake's sign-in page
}

func (f *fleet) visitor() *visitor {
	jar, _ := cookiejar.New(nil)
	v := &visitor{fleet: f}
	v.client = &http.Client{Jar: jar, Timeout: time.Minute, Transport: v}
	return v
}

// RoundTrip notes the ways to WeCom and back.
func (v *visitor) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch by := res.Header.Get(servedBy); {
	case by == "":
		if r.URL.Host != v.front.Listener.Addr().String() {
			v.pages++
		}
	case r.URL.Path == "/wecom/callback":
		v.end = by
	case res.StatusCode == http.StatusFound:
		v.start = by
	}
	return res, nil
}

// open opens a page as a browser does. A page that the proxy could not get is loaded again, as a person would.
func (v *visitor) open(target string) (status int, body string, err error) {
	address := v.front.URL + target
	for range 100 {
		r, err := http.NewRequestWithContext(v.Context(), http.MethodGet, address, nil)
		if err != nil {
			return 0, "", err
		}
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		res, err := v.client.Do(r)
		if err != nil {
			return 0, "", err
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return 0, "", err
		}
		if res.StatusCode != http.StatusBadGateway {
			return res.StatusCode, string(text), nil
		}
		address = res.Request.URL.String()
	}
	return 0, "", errors.New("nobody answered")
}

// signIn opens a page without a session.
func (v *visitor) signIn(target string) bool {
	status, body, err := v.open(target)
	if err != nil || status != http.StatusOK || body != "hello zhangsan "+target {
		v.Errorf("sign-in: %v: %d %s", err, status, body)
		return false
	}
	return true
}

// everyTime runs work on so many goroutines until done says so.
func everyTime(workers int, work func(worker int) (done bool)) *sync.WaitGroup {
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			for !work(i) {
			}
		})
	}
	return &group
}

func TestFleet(t *testing.T) {
	for _, store := range []string{"redis", "postgres"} {
		t.Run(store, func(t *testing.T) {
			f := newFleet(t, store == "postgres")
			f.signInAcross(often(60, 1000))
			f.rollUnderLoad(often(1, 2), often(10, 100))
			f.signOutEverywhere()
		})
	}
}

// signInAcross lets people sign in until so many began on one replica and ended on another.
func (f *fleet) signInAcross(want int) {
	began := time.Now()
	var n, crossed atomic.Int64
	everyTime(16, func(int) bool {
		if f.Failed() || crossed.Load() >= int64(want) {
			return true
		}
		v := f.visitor()
		if v.signIn(fmt.Sprintf("/reports?n=%d", n.Add(1))) && v.start != v.end {
			crossed.Add(1)
		}
		if v.pages != 1 {
			f.Errorf("%d visits to WeCom's page", v.pages)
		}
		return false
	}).Wait()
	require.False(f, f.Failed())
	assert.Equal(f, 1, f.fake.Calls("gettoken"), "for the whole fleet")
	assert.Equal(f, int(n.Load()), f.fake.Calls("auth/getuserinfo"), "each code was sent once")
	f.Logf("%d sign-ins, %d of them begun on one replica and ended on another: 0 errors, %d gettoken, %s",
		n.Load(), crossed.Load(), f.fake.Calls("gettoken"), time.Since(began).Round(time.Millisecond))
}

// rollUnderLoad kills or stops each replica in turn and starts it again, while people read pages and others sign in.
func (f *fleet) rollUnderLoad(rounds, people int) {
	visitors := make([]*visitor, people)
	for i := range visitors {
		visitors[i] = f.visitor()
		require.True(f, visitors[i].signIn("/"))
		visitors[i].pages = 0
	}
	var over atomic.Bool
	var read, signedIn atomic.Int64
	readers := everyTime(people, func(i int) bool {
		target := fmt.Sprintf("/page?n=%d", read.Add(1))
		status, body, err := visitors[i].open(target)
		if err != nil || status != http.StatusOK || body != "hello zhangsan "+target || visitors[i].pages > 0 {
			f.Errorf("reading: %v: %d %s, %d visits to WeCom", err, status, body, visitors[i].pages)
			return true
		}
		return over.Load() || f.Failed()
	})
	newcomers := everyTime(4, func(int) bool {
		if f.visitor().signIn(fmt.Sprintf("/new?n=%d", signedIn.Add(1))) {
			return over.Load() || f.Failed()
		}
		return true
	})
	began := time.Now()
	kills := 0
	for round := range rounds {
		for i, b := range f.backends {
			how := os.Interrupt
			if (round+i)%2 == 0 {
				how = os.Kill
				kills++
			}
			refused := b.refused.Load()
			f.stop(i, how)
			require.Eventually(f, func() bool { return b.refused.Load() > refused+10 || f.Failed() }, time.Minute, time.Millisecond)
			served := b.served.Load()
			f.start(i)
			require.Eventually(f, func() bool { return b.served.Load() > served+50 || f.Failed() }, time.Minute, time.Millisecond)
		}
	}
	took := time.Since(began)
	over.Store(true)
	readers.Wait()
	newcomers.Wait()
	require.False(f, f.Failed())
	var refused, cut int64
	for _, b := range f.backends {
		refused, cut = refused+b.refused.Load(), cut+b.cut.Load()
	}
	assert.Equal(f, 1, f.fake.Calls("gettoken"), "who is started again finds the token")
	f.Logf("%d restarts in %s, %d of them by SIGKILL: %d pages read by %d people and %d more sign-ins, nobody signed out; %d connections refused and %d cut, all by replicas that were down",
		rounds*len(f.backends), took.Round(time.Millisecond), kills, read.Load(), people, signedIn.Load(), refused, cut)
}

// signOutEverywhere signs out on one replica and asks all.
func (f *fleet) signOutEverywhere() {
	v := f.visitor()
	require.True(f, v.signIn("/"))
	front, err := url.Parse(f.front.URL)
	require.NoError(f, err)
	old := v.client.Jar.Cookies(front)
	ask := func(method, path string) *http.Response {
		r, err := http.NewRequestWithContext(f.Context(), method, f.front.URL+path, nil)
		require.NoError(f, err)
		for _, c := range old {
			r.AddCookie(c)
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(f, err)
		_ = res.Body.Close()
		return res
	}
	require.Equal(f, 200, ask(http.MethodGet, "/").StatusCode)
	require.Equal(f, 303, ask(http.MethodPost, "/wecom/logout").StatusCode)
	seen := map[string]bool{}
	for range 2 * len(f.backends) {
		res := ask(http.MethodGet, "/")
		assert.Equal(f, 401, res.StatusCode)
		seen[res.Header.Get(servedBy)] = true
	}
	assert.Len(f, seen, len(f.backends))
}
