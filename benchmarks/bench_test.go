package main

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/benchmarks/internal/scratch"
	"github.com/wecomauth/wecom/wecomtest"
)

// connect looks for Redis where REDIS_URL says, or at the standard port.
func connect(ctx context.Context) (*redis.Client, error) {
	return scratch.Connect(ctx, cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379/0"), 0)
}

func BenchmarkSignedIn(b *testing.B) {
	list := peers()
	if client, err := connect(b.Context()); err == nil {
		defer scratch.Forget(client)
		list = append(list, redisPeers(client)...)
	}
	for _, p := range list {
		b.Run(p.name, p.bench)
	}
}

func BenchmarkAnonymous(b *testing.B) {
	for _, p := range anonymous() {
		b.Run(p.name, p.bench)
	}
}

func BenchmarkSignIn(b *testing.B) {
	fake := wecomtest.New()
	h := mustNew(options(fake)).Handler(whoAmI)
	signIn(fake, h)
	for b.Loop() {
		b.StopTimer()
		c, err := begin(fake, h)
		require.NoError(b, err)
		b.StartTimer()
		require.Equal(b, http.StatusSeeOther, c.run())
	}
}

func BenchmarkToken(b *testing.B) {
	for _, s := range tokenSources() {
		b.Run(s.name, s.alone)
		b.Run(s.name+", 200 goroutines", s.crowded)
	}
}

// Allocations do not depend on the machine: they are asserted.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too: run without -race")
	}
	for _, p := range []peer{wecomDefault(), wecomRevoked()} {
		w := &nullWriter{http.Header{}}
		assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { p.serve(w) }), 10.0, p.name)
	}
}

func TestPeersAgree(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			p.serve(&nullWriter{http.Header{}}) // panics if the handler does not see the user
			w := httptest.NewRecorder()
			p.handler.ServeHTTP(w, p.request)
			assert.Equal(t, http.StatusOK, w.Code)
		})
	}
}

func TestOneUpstreamCallPerSignIn(t *testing.T) {
	fake := wecomtest.New()
	h := mustNew(options(fake)).Handler(whoAmI)
	signIn(fake, h) // fetches the token
	fake.ResetCalls()
	const n = 50
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { signIn(fake, h) })
	}
	wg.Wait()
	assert.Equal(t, n, fake.TotalCalls())
}

func TestRedisRoundTrips(t *testing.T) {
	client, err := connect(t.Context())
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: redis: " + err.Error())
	}
	defer scratch.Forget(client)
	p := wecomRedis(client)
	w := &nullWriter{http.Header{}}
	p.serve(w)
	hook := &countHook{}
	client.AddHook(hook)
	const n = 200
	for range n {
		p.serve(w)
	}
	assert.LessOrEqual(t, hook.n.Load(), int64(n+4), "one round trip a request, beside looking for revocations every 2 seconds")
	assert.GreaterOrEqual(t, hook.n.Load(), int64(n))
}
