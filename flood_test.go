package wecom_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// T25: what somebody costs who never signs in.

func TestT25_F27_AnonymousRequestsStoreNothing(t *testing.T) {
	const requests = 20_000
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			store := newTestStore()
			w := newWorld(t, func(o *wecom.Options) {
				carry(o, store)
				o.IdleTimeout = time.Hour
				o.Logger = slog.New(slog.DiscardHandler)
			})
			w.fake.Always("*", wecomtest.Fault{Drop: wecomtest.DropDial}) // WeCom is down, too
			shapes := []*http.Request{
				request("GET", "/"), request("GET", "/reports?x=1"), request("GET", "/wecom/login"), request("HEAD", "/"), request("POST", "/"),
				request("GET", "/api"), request("GET", "/wecom/session"), request("GET", "/wecom/signed-out"),
			}
			shapes[5].Header.Set("Accept", "*/*")
			state := stateOf(t, do(w.app, request("GET", "/")).Header().Get("Location"))
			lost := request("GET", "/wecom/callback?code=x&state="+state) // a state of ours without its cookie
			garbage := request("GET", "/")
			garbage.Header.Set("Cookie", "__Host-wecom-322fe9d8=x; other=y")
			shapes = append(shapes, lost, garbage)
			ask := func(n int) {
				for i := range n {
					r := *shapes[i%len(shapes)]
					r.RemoteAddr = fmt.Sprintf("198.51.%d.%d:1234", i>>8&255, i&255) // a crowd
					w.app.ServeHTTP(&nowhere{h: http.Header{}}, &r)
				}
			}
			ask(200)
			goroutines, before := runtime.NumGoroutine(), heap()
			finds := store.find.Load()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { ask(requests / 4) })
			}
			wg.Wait()
			assert.Empty(t, store.rows(), "rows")
			assert.Zero(t, store.commit.Load())
			assert.Equal(t, finds, store.find.Load(), "not even a look-up: nobody sent a token")
			assert.Zero(t, w.fake.TotalCalls(), "calls to WeCom")
			assert.Less(t, heap()-before, int64(8<<20), "bytes of heap")
			assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines+5)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}
