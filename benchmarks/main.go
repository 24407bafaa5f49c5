package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/benchmarks/internal/scratch"
	"github.com/wecomauth/wecom/wecomtest"
)

func main() {
	flags := flag.NewFlagSet("benchmarks", flag.ExitOnError)
	svg := flags.String("svg", "", "write the chart to this `file`, in this module's folder if its path is relative")
	redisURL := flags.String("redis", "redis://127.0.0.1:6379/0", "`URL` of a Redis; without one, its rows are left out")
	rounds := flags.Int("rounds", 5, "measure each this often, in turns, and take the median")
	_ = flags.Parse(os.Args[1:]) // ends the program
	if flags.NArg() > 0 {
		fail(2, fmt.Errorf("%q is no flag", flags.Arg(0)))
	}
	if *rounds < 1 {
		fail(2, errors.New("-rounds: want 1 or more"))
	}
	var file *os.File
	if *svg != "" {
		var err error
		if file, err = os.Create(*svg); err != nil {
			fail(1, err)
		}
	}
	testing.Init()

	fmt.Printf("%s, %s/%s, %d CPUs; this takes some two minutes\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	list := peers()
	inMemory := len(list)
	client, err := scratch.Connect(context.Background(), *redisURL, 0)
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchmarks: no Redis, so its rows are left out: %v\n", err)
	} else {
		defer scratch.Forget(client)
		list = append(list, redisPeers(client)...)
	}

	rows := measureAll(list, *rounds)
	printSignedIn(rows)
	printAdded()
	printOthers(*rounds)
	printSignIn()
	printTokens(*rounds)
	printStampede()
	if file == nil {
		return
	}
	_, err = file.Write(chart(rows[:inMemory]))
	if err = errors.Join(err, file.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "benchmarks:", err)
	os.Exit(code)
}

// A row is one peer's result: medians, so that one disturbed round does not count.
type row struct {
	peer
	ns     float64
	allocs int64
}

// measureAll goes through the peers in turns: what disturbs the machine for a while disturbs them all.
func measureAll(list []peer, rounds int) []row {
	var all []func(*testing.B)
	for _, p := range list {
		all = append(all, p.bench)
	}
	rows := make([]row, len(list))
	for i, m := range measure(all, rounds) {
		rows[i] = row{list[i], m.ns, m.allocs}
	}
	return rows
}

type measured struct {
	ns     float64
	allocs int64
}

// measure runs benchmarks in turns.
func measure(all []func(*testing.B), rounds int) []measured {
	times, results := make([][]float64, len(all)), make([]measured, len(all))
	for range rounds {
		for i, bench := range all {
			res := testing.Benchmark(bench)
			times[i] = append(times[i], float64(res.T.Nanoseconds())/float64(res.N))
			results[i] = measured{percentile(times[i], 50), res.AllocsPerOp()}
		}
	}
	return results
}

func printSignedIn(rows []row) {
	ours := rows[1].ns
	fmt.Println("| signed-in request | time | allocations | wecom is | the answer rests on |")
	fmt.Println("| --- | ---: | ---: | ---: | --- |")
	for _, r := range rows {
		fmt.Printf("| %s | %.2f µs | %d | %.3f × | %s |\n", r.name, r.ns/1000, r.allocs, ours/r.ns, r.does)
	}
	fmt.Println()
}

// printAdded tells what the middleware adds to an scs session that holds one value. It is small
// beside what scs takes itself, so they take turns, a hundredth of a second each.
func printAdded() {
	alone := scsGob()
	outside, leftOut := wecomInSCS(nil)
	w := &nullWriter{http.Header{}}
	const requests = 500
	each := func(p peer) float64 {
		began := time.Now()
		for range requests {
			p.serve(w)
		}
		return float64(time.Since(began).Nanoseconds()) / requests
	}
	var base, added, loading []float64
	for range 201 {
		a, b, c, d := each(alone), each(outside), each(leftOut), each(alone)
		base = append(base, (a+d)/2)
		added = append(added, b-(a+d)/2)
		loading = append(loading, c-(a+d)/2)
	}
	fmt.Printf("in an scs session: %.2f µs more than scs alone, which takes %.2f µs; %.2f µs more if LoadAndSave is left out (medians of %d turns)\n\n",
		percentile(added, 50)/1000, percentile(base, 50)/1000, percentile(loading, 50)/1000, len(base))
}

// anonymous returns what wecom does for people who are not signed in.
func anonymous() []peer {
	h := mustNew(options(wecomtest.New())).Handler(whoAmI)
	script := get()
	script.Header.Set("Accept", "application/json")
	return []peer{
		{name: "redirect to WeCom", handler: h, request: get()},
		{name: "401 to a script", handler: h, request: script},
	}
}

func printOthers(rounds int) {
	fmt.Println("| anonymous request | time | allocations |\n| --- | ---: | ---: |")
	for _, r := range measureAll(anonymous(), rounds) {
		fmt.Printf("| %s | %.2f µs | %d |\n", r.name, r.ns/1000, r.allocs)
	}
	fmt.Println()
}

// printSignIn measures callbacks: from the code in the request to the session's cookie in the
// answer. WeCom answers at once, so that what is left is ours; the last row is the same with the
// fake that tests use, which does WeCom's part too.
func printSignIn() {
	fmt.Printf("| sign-in | p50 | p99 | calls to WeCom per sign-in |\n| --- | ---: | ---: | ---: |\n")
	for _, c := range []struct {
		name          string
		instant       bool
		atOnce, waves int
	}{
		{"redirect and callback, one at a time", true, 0, 2000},
		{"callback, one at a time", true, 1, 2000},
		{"callback, 200 at once", true, 200, 20},
		{"callback, 200 at once, answered by wecomtest", false, 200, 20},
	} {
		fake := wecomtest.New()
		o := options(fake)
		calls := &counted{next: o.Transport, instant: c.instant}
		o.Transport = calls
		h := mustNew(o).Handler(whoAmI)
		signIn(fake, h) // fetches the token
		calls.n.Store(0)
		var took, since []float64
		for range c.waves {
			if c.atOnce == 0 {
				took = append(took, whole(h))
				continue
			}
			own, all := timed(fake, h, c.atOnce)
			took, since = append(took, own...), append(since, all...)
		}
		each := float64(calls.n.Load()) / float64(len(took))
		fmt.Printf("| %s | %.3f ms | %.3f ms | %.2f |\n", c.name, percentile(took, 50), percentile(took, 99), each)
		if c.atOnce > 1 {
			fmt.Printf("| … with the wait for a processor | %.3f ms | %.3f ms | %.2f |\n", percentile(since, 50), percentile(since, 99), each)
		}
	}
	fmt.Println()
}

// counted counts the calls that reach WeCom. If instant, it says who somebody is without any work.
type counted struct {
	next    http.RoundTripper
	instant bool
	n       atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	if !c.instant || !strings.HasSuffix(r.URL.Path, "/getuserinfo") {
		return c.next.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"errcode":0,"errmsg":"ok","userid":"` + userID + `"}`)),
	}, nil
}

// whole runs a sign-in from the first page to the session's cookie and returns what it took, in milliseconds.
func whole(h http.Handler) float64 {
	began := time.Now()
	away := httptest.NewRecorder()
	h.ServeHTTP(away, get())
	to, err := away.Result().Location()
	if err != nil {
		panic(err)
	}
	back := get(away.Result().Cookies()...)
	state := to.Query().Get("state")
	back.URL = &url.URL{Path: "/wecom/callback", RawQuery: "code=" + state + "&state=" + state} // a code works once
	back.RequestURI = back.URL.RequestURI()
	if status := (callback{h, back}).run(); status != http.StatusSeeOther {
		panic(fmt.Sprintf("callback answered %d", status))
	}
	return ms(time.Since(began))
}

// timed runs n callbacks that arrive at the same instant. It returns what each took from when a
// processor took it up, and from that instant, in milliseconds.
func timed(fake *wecomtest.Fake, h http.Handler, n int) (own, all []float64) {
	ready := make([]callback, n)
	for i := range ready {
		c, err := begin(fake, h)
		if err != nil {
			panic(err)
		}
		ready[i] = c
	}
	if n > 1 {
		runtime.GC() // the browsers' garbage is not the server's
	}
	own, all = make([]float64, n), make([]float64, n)
	start := make(chan struct{})
	var arrived time.Time
	var waiting, wg sync.WaitGroup
	waiting.Add(n)
	for i, c := range ready {
		wg.Go(func() {
			waiting.Done()
			<-start
			began := time.Now()
			if status := c.run(); status != http.StatusSeeOther {
				panic(fmt.Sprintf("callback answered %d", status))
			}
			own[i], all[i] = ms(time.Since(began)), ms(time.Since(arrived))
		})
	}
	waiting.Wait()
	arrived = time.Now()
	close(start)
	wg.Wait()
	return own, all
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func percentile(list []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}

func printTokens(rounds int) {
	list := tokenSources()
	var all []func(*testing.B)
	for _, s := range list {
		all = append(all, s.alone, s.crowded)
	}
	m := measure(all, rounds)
	fmt.Println("| cached access token | alone | 200 goroutines | wecom is, alone | wecom is, 200 goroutines |\n| --- | ---: | ---: | ---: | ---: |")
	for i, s := range list {
		alone, crowded := m[2*i].ns, m[2*i+1].ns
		fmt.Printf("| %s | %.0f ns | %.0f ns | %.2f × | %.2f × |\n", s.name, alone, crowded, m[0].ns/alone, m[1].ns/crowded)
	}
	fmt.Println()
}

// printStampede counts what 200 callers of a cold token source cost.
func printStampede() {
	fake := wecomtest.New()
	client, err := wecom.NewClient(options(fake))
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := client.Token(context.Background()); err != nil {
				panic(err)
			}
		})
	}
	wg.Wait()
	fmt.Printf("200 callers on a cold token: %d call(s) of gettoken\n", fake.Calls("gettoken"))
}
