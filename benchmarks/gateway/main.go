// Gateway compares wecom-gateway with what people put in front of a program instead:
// a plain httputil.ReverseProxy, which checks nothing, and oauth2-proxy, which it builds
// from the module proxy. Each proxy is a process of its own.
//
//	go run -C benchmarks ./gateway [-rounds 5] [-seconds 2] [-connections 20]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/wecomauth/wecom/benchmarks/internal/loop"
)

func main() {
	if serve := servers[os.Getenv("BENCHMARK_SERVES")]; serve != nil {
		fail(serve(os.Args[1:]))
	}
	rounds := flag.Int("rounds", 5, "measure each proxy this often, in turns, and take the median")
	seconds := flag.Float64("seconds", 2, "length of each measurement")
	connections := flag.Int("connections", 20, "how many ask at the same time")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 || *connections < 1 || !(*seconds >= 0.1 && *seconds <= 3600) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b, err := newBench(ctx)
	if err == nil {
		err = b.measure(*rounds, *connections, time.Duration(*seconds*float64(time.Second)))
	}
	b.close()
	stop()
	fail(err)
}

// fail ends the program.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure goes through the proxies in turns: what disturbs the machine for a while disturbs them all.
func (b *bench) measure(rounds, connections int, length time.Duration) error {
	for range rounds {
		for _, p := range b.proxies {
			before := cpuTime(p.cmd)
			res, err := b.drive(p.addr, "/page", p, connections, length)
			if err != nil {
				return err
			}
			p.results = append(p.results, res)
			p.ratios = append(p.ratios, res.PerSecond/b.proxies[0].results[len(p.results)-1].PerSecond)
			p.answers += res.Answers
			p.cpu += cpuTime(p.cmd) - before
		}
	}
	for range rounds {
		var alone time.Duration
		for i, p := range b.proxies {
			if b.nginx == "" {
				break
			}
			res, err := b.drive(b.nginx, fmt.Sprintf("/%d/page", i), p, 1, length/2)
			if err != nil {
				return fmt.Errorf("nginx in front: %w", err)
			}
			if i == 0 {
				alone = res.P50
			}
			p.added = append(p.added, res.P50-alone)
		}
	}

	fmt.Printf("%s, %s/%s, %d CPUs, %d connections, %s each; upstream, proxy and clients share the machine\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), connections, length)
	fmt.Println("| proxy | requests/s | ratio | p50 | p99 | CPU a request | nginx's auth_request adds |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, p := range b.proxies {
		slices.SortFunc(p.results, func(a, b loop.Result) int { return cmp.Compare(a.PerSecond, b.PerSecond) })
		res := p.results[rounds/2]
		cpu, added := "–", "–"
		if p.cpu > 0 {
			cpu = (p.cpu / time.Duration(p.answers)).Round(time.Microsecond).String()
		}
		if p.auth != "" && p.added != nil {
			added = median(p.added).String()
		}
		fmt.Printf("| %s | %.0f | %.2f | %s | %s | %s | %s |\n", p.name, res.PerSecond, median(p.ratios), res.P50, res.P99, cpu, added)
	}
	return nil
}

func (b *bench) drive(addr, path string, p *proxy, connections int, length time.Duration) (loop.Result, error) {
	if b.ctx.Err() != nil {
		return loop.Result{}, errors.New("interrupted")
	}
	res, err := loop.Drive(addr, []loop.Request{loop.Get(path, p.cookie, "200")}, connections, length)
	if err != nil {
		return res, fmt.Errorf("%s: %w", p.name, err)
	}
	return res, nil
}

func median[T cmp.Ordered](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}
