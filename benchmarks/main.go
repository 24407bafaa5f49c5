package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

func main() {
	testing.Init()
	svg := flag.String("svg", "", "write the chart to this file")
	redisAddr := flag.String("redis", "redis://127.0.0.1:6379/0", "where Redis is; without one, those rows are left out")
	rounds := flag.Int("rounds", 5, "measure each this often, in turns, and take the median")
	flag.Parse()

	fmt.Printf("%s, %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	list := peers()
	remote, client := redisPeers(context.Background(), *redisAddr)
	if client != nil {
		defer client.Close()
	}
	list = append(list, remote...)

	rows := measureAll(list, *rounds)
	printSignedIn(rows)
	printOthers(*rounds)
	printSignIn()
	printStampede()
	if *svg != "" {
		if err := os.WriteFile(*svg, chart(rows[:len(rows)-len(remote)]), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// A row is one peer's result: medians, so that one disturbed round does not count.
type row struct {
	peer
	ns     float64
	allocs int64
}

// measureAll goes through the peers in turns: what disturbs the machine for a while disturbs them all.
func measureAll(list []peer, rounds int) []row {
	times := make([][]float64, len(list))
	rows := make([]row, len(list))
	for range rounds {
		for i, p := range list {
			res := testing.Benchmark(func(b *testing.B) {
				w := &nullWriter{http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					p.serve(w)
				}
			})
			times[i] = append(times[i], float64(res.T.Nanoseconds())/float64(res.N))
			rows[i].allocs = res.AllocsPerOp()
		}
	}
	for i, p := range list {
		rows[i].peer, rows[i].ns = p, median(times[i])
	}
	return rows
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

func printSignedIn(rows []row) {
	ours := rows[1].ns
	fmt.Println("| signed-in request | time | allocations | wecom is | the answer rests on |")
	fmt.Println("| --- | ---: | ---: | ---: | --- |")
	for _, r := range rows {
		fmt.Printf("| %s | %.2f µs | %d | %.2f × | %s |\n", r.name, r.ns/1000, r.allocs, ours/r.ns, r.does)
	}
	fmt.Println()
}

// anonymous returns what wecom does for people who are not signed in.
func anonymous() map[string]peer {
	h := mustNew(options(wecomtest.New())).Handler(whoAmI)
	script := get()
	script.Header.Set("Accept", "application/json")
	return map[string]peer{
		"redirect to WeCom": {handler: h, request: get()},
		"401 to a script":   {handler: h, request: script},
	}
}

func printOthers(rounds int) {
	list := anonymous()
	var all []peer
	for _, name := range []string{"redirect to WeCom", "401 to a script"} {
		p := list[name]
		p.name = name
		all = append(all, p)
	}
	fmt.Println("| anonymous request | time | allocations |\n| --- | ---: | ---: |")
	for _, r := range measureAll(all, rounds) {
		fmt.Printf("| %s | %.2f µs | %d |\n", r.name, r.ns/1000, r.allocs)
	}
	fmt.Println()
}

// printSignIn measures callbacks against an instant fake, 200 at a time: from the
// code in the request to the session's cookie in the answer.
func printSignIn() {
	const atOnce, waves = 200, 5
	fake := wecomtest.New()
	h := mustNew(options(fake)).Handler(whoAmI)
	signIn(fake, h)
	var alone, crowd []float64
	for range 200 {
		alone = append(alone, timed(fake, h, 1)...)
	}
	fake.ResetCalls()
	for range waves {
		crowd = append(crowd, timed(fake, h, atOnce)...)
	}
	fmt.Printf("| sign-in (callback) | p50 | p99 | calls to WeCom each |\n| --- | ---: | ---: | ---: |\n")
	slices.Sort(alone)
	slices.Sort(crowd)
	fmt.Printf("| one at a time | %.3f ms | %.3f ms | 1 |\n", percentile(alone, 50), percentile(alone, 99))
	fmt.Printf("| %d at once | %.3f ms | %.3f ms | %.2f |\n\n", atOnce, percentile(crowd, 50), percentile(crowd, 99),
		float64(fake.TotalCalls())/float64(atOnce*waves))
}

// timed runs n callbacks at once and returns what each took, in milliseconds.
func timed(fake *wecomtest.Fake, h http.Handler, n int) []float64 {
	ready := make([]callback, n)
	for i := range ready {
		c, err := begin(fake, h)
		if err != nil {
			panic(err)
		}
		ready[i] = c
	}
	took := make([]float64, n)
	var wg sync.WaitGroup
	for i, c := range ready {
		wg.Go(func() {
			began := time.Now()
			if status := c.run(); status != http.StatusSeeOther {
				panic(fmt.Sprintf("callback answered %d", status))
			}
			took[i] = float64(time.Since(began).Microseconds()) / 1000
		})
	}
	wg.Wait()
	return took
}

func percentile(sorted []float64, p int) float64 {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
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
