package main

import (
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// What a signed-in request costs in a process that has revoked somebody, ever.
func BenchmarkSignedInAfterARevocation(b *testing.B) {
	fake := wecomtest.New()
	m := mustNew(options(fake))
	h := m.Handler(whoAmI)
	p := peer{handler: h, request: get(signIn(fake, h)...)}
	require.NoError(b, m.Revoke(b.Context(), wecom.Identity{UserID: "lisi"}))
	w := &nullWriter{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		p.serve(w)
	}
}

// The bound holds whatever was revoked.
func TestAllocationsAfterARevocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too: run without -race")
	}
	fake := wecomtest.New()
	m := mustNew(options(fake))
	h := m.Handler(whoAmI)
	p := peer{handler: h, request: get(signIn(fake, h)...)}
	require.NoError(t, m.Revoke(t.Context(), wecom.Identity{UserID: "lisi"}))
	w := &nullWriter{http.Header{}}
	got := testing.AllocsPerRun(1000, func() { p.serve(w) })
	require.LessOrEqual(t, got, 10.0)
}

// The clock of 200 people who arrive at once starts when they arrive, not when
// the scheduler gets to them.
func BenchmarkTwoHundredArriveAtOnce(b *testing.B) {
	fake := wecomtest.New()
	o := options(fake)
	o.Transport = &counted{next: o.Transport, instant: true}
	h := mustNew(o).Handler(whoAmI)
	signIn(fake, h)
	var own, since []float64
	for b.Loop() {
		b.StopTimer()
		ready := make([]callback, 200)
		for i := range ready {
			var err error
			ready[i], err = begin(fake, h)
			require.NoError(b, err)
		}
		runtime.GC()
		a, s := make([]float64, len(ready)), make([]float64, len(ready))
		start := make(chan struct{})
		var wg sync.WaitGroup
		var arrived time.Time
		for i, c := range ready {
			wg.Go(func() {
				<-start
				began := time.Now()
				if c.run() != http.StatusSeeOther {
					panic("refused")
				}
				a[i], s[i] = float64(time.Since(began))/1e6, float64(time.Since(arrived))/1e6
			})
		}
		b.StartTimer()
		arrived = time.Now()
		close(start)
		wg.Wait()
		own, since = append(own, a...), append(since, s...)
	}
	slices.Sort(own)
	slices.Sort(since)
	b.ReportMetric(percentile(own, 50), "own-p50-ms")
	b.ReportMetric(percentile(own, 99), "own-p99-ms")
	b.ReportMetric(percentile(since, 50), "p50-ms")
	b.ReportMetric(percentile(since, 99), "p99-ms")
}
