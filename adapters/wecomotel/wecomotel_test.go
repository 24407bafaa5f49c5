package wecomotel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/adapters/wecomotel"
	"github.com/wecomauth/wecom/internal/upstream"
	"github.com/wecomauth/wecom/wecomtest"
)

const site = "https://app.example.com"

// A world is an application that is measured.
type world struct {
	*testing.T
	fake   *wecomtest.Fake
	auth   *wecom.Middleware
	app    http.Handler
	tracer trace.Tracer
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
	sent   *wire
}

func newWorld(t *testing.T, change ...func(*wecom.Options)) *world {
	t.Helper()
	w := &world{T: t, fake: wecomtest.New(), spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader))
	w.tracer = tracers.Tracer("the application")
	telemetry, err := wecomotel.New(meters, tracers)
	require.NoError(t, err)
	o := w.fake.Options(site + "/wecom/callback")
	w.sent = &wire{next: o.Transport}
	o.Transport = telemetry.Transport(w.sent)
	o.Observe = telemetry.Observe
	o.Logger = slog.New(slog.DiscardHandler)
	o.SessionStore = &store{MemStore: memstore.NewWithCleanupInterval(0)}
	for _, c := range change {
		c(&o)
	}
	w.auth, err = wecom.New(o)
	require.NoError(t, err)
	hello := w.auth.Handler(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprint(out, "hello ", id.UserID)
	}))
	w.app = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		ctx, span := w.tracer.Start(r.Context(), "request "+r.URL.Path, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		hello.ServeHTTP(out, r.WithContext(ctx))
	})
	return w
}

// A store is not scs's own memory store, which is not worth timing.
type store struct {
	*memstore.MemStore
	err error
}

var _ scs.Store = (*store)(nil)

func (s *store) Find(key string) ([]byte, bool, error) {
	if s.err != nil {
		return nil, false, s.err
	}
	return s.MemStore.Find(key)
}

// A wire keeps what was sent to WeCom.
type wire struct {
	next http.RoundTripper

	mu     sync.Mutex
	urls   []*url.URL
	header []http.Header
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.urls, w.header = append(w.urls, r.URL), append(w.header, r.Header.Clone())
	w.mu.Unlock()
	return w.next.RoundTrip(r)
}

func (w *world) browser() *wecomtest.Browser {
	return w.fake.Browser(site, w.app).SignInAs("zhangsan")
}

// collect returns the metrics by name.
func (w *world) collect() map[string]metricdata.Aggregation {
	w.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(w, w.reader.Collect(context.Background(), &rm))
	all := map[string]metricdata.Aggregation{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			all[m.Name] = m.Data
			assert.NotEmpty(w, m.Description, m.Name)
			assert.NotEmpty(w, m.Unit, m.Name)
		}
	}
	return all
}

// counts returns a counter's values, or a histogram's number of measurements, by attributes.
func (w *world) counts(name string) map[string]int64 {
	w.Helper()
	found := map[string]int64{}
	text := func(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }
	switch data := w.collect()[name].(type) {
	case metricdata.Sum[int64]:
		assert.True(w, data.IsMonotonic)
		for _, p := range data.DataPoints {
			found[text(p.Attributes)] = p.Value
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			found[text(p.Attributes)] = int64(p.Count)
			assert.Less(w, p.Sum/float64(p.Count), 10.0, "seconds")
		}
	case nil:
	default:
		require.Fail(w, "neither", "%s is a %T", name, data)
	}
	return found
}

func (w *world) span(name string) tracetest.SpanStub {
	w.Helper()
	var found []tracetest.SpanStub
	for _, s := range w.spans.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	require.NotEmpty(w, found, name)
	return found[len(found)-1]
}

func TestMetrics(t *testing.T) {
	broken := &store{MemStore: memstore.NewWithCleanupInterval(0)}
	w := newWorld(t, func(o *wecom.Options) { o.SessionStore = broken })
	b := w.browser()
	require.Equal(t, 200, b.Get("/reports").Status)
	require.Equal(t, 200, b.Get("/reports").Status)

	w.fake.Script("auth/getuserinfo", wecomtest.Fault{ErrCode: 40029})
	require.Equal(t, 200, w.browser().Get("/").Status, "after a restart")
	w.fake.Script("auth/getuserinfo", wecomtest.Fault{ErrCode: 50001})
	require.Equal(t, 500, w.browser().Get("/").Status)
	w.fake.Script("auth/getuserinfo", wecomtest.Fault{Status: 502}, wecomtest.Fault{Drop: wecomtest.DropAfter})
	require.Equal(t, 503, w.browser().Get("/").Status)
	w.fake.KillTokens()
	w.fake.Script("gettoken", wecomtest.Fault{ErrCode: 40001})
	require.Equal(t, 500, w.browser().Get("/").Status)
	broken.err = errors.New("down")
	require.Equal(t, 503, b.Get("/").Status)
	broken.err = nil
	require.Equal(t, 200, b.Post("/wecom/logout").Status)

	assert.Equal(t, map[string]int64{"wecom.outcome=first": 5, "wecom.outcome=restart": 2}, w.counts("wecom.signin.starts"))
	assert.Equal(t, map[string]int64{
		"wecom.errcode=0,wecom.outcome=ok":              2,
		"wecom.errcode=40029,wecom.outcome=start_over":  1,
		"wecom.errcode=50001,wecom.outcome=setup_fault": 1,
		"wecom.errcode=0,wecom.outcome=start_over":      2,
		"wecom.errcode=40001,wecom.outcome=setup_fault": 1,
	}, w.counts("wecom.signins"))
	assert.Equal(t, map[string]int64{"wecom.outcome=ok": 2, "wecom.outcome=start_over": 3, "wecom.outcome=setup_fault": 2}, w.counts("wecom.signin.duration"))
	assert.Equal(t, map[string]int64{"wecom.errcode=0,wecom.outcome=ok": 1, "wecom.errcode=40001,wecom.outcome=failed": 1}, w.counts("wecom.token.refreshes"))
	assert.Equal(t, map[string]int64{"": 1}, w.counts("wecom.signouts"))
	assert.Equal(t, map[string]int64{
		"wecom.errcode=50001,wecom.outcome=setup_fault":   1,
		"wecom.errcode=0,wecom.outcome=wecom_unavailable": 1,
		"wecom.errcode=40001,wecom.outcome=setup_fault":   1,
		"wecom.errcode=0,wecom.outcome=session_store":     1,
	}, w.counts("wecom.refusals"))

	stores := w.counts("wecom.session_store.duration")
	assert.Equal(t, int64(2), stores["wecom.operation=commit,wecom.outcome=ok"])
	assert.Equal(t, int64(1), stores["wecom.operation=delete,wecom.outcome=ok"])
	assert.Equal(t, int64(1), stores["wecom.operation=find,wecom.outcome=failed"])
	assert.Positive(t, stores["wecom.operation=find,wecom.outcome=ok"])

	calls := w.counts("wecom.call.duration")
	assert.Equal(t, int64(2), calls["http.response.status_code=200,wecom.operation=gettoken"])
	assert.Equal(t, int64(1), calls["http.response.status_code=502,wecom.operation=auth/getuserinfo"])
	var all int64
	for _, n := range calls {
		all += n
	}
	assert.Equal(t, int64(len(w.sent.urls)), all)
	assert.Len(t, calls, 4, "%v", calls) // and the connection that was dropped
}

func TestRecheckIsCounted(t *testing.T) {
	w := newWorld(t)
	telemetry, err := wecomotel.New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader2())), nil)
	require.NoError(t, err)
	telemetry.Observe(t.Context(), wecom.Event{Name: "recheck", Outcome: "revoked"})
	telemetry.Observe(t.Context(), wecom.Event{Name: "refused", Outcome: "Somebody's 机密 code"})
	telemetry.Observe(t.Context(), wecom.Event{Name: "of a later version", Outcome: "ok"})
	assert.Equal(t, map[string]int64{"wecom.outcome=revoked": 1}, w.counts("wecom.rechecks"))
	assert.Equal(t, map[string]int64{"wecom.errcode=0,wecom.outcome=other": 1}, w.counts("wecom.refusals"), "no attribute holds anything but words")
}

// reader2 makes the world read another provider's metrics.
func (w *world) reader2() *sdkmetric.ManualReader {
	w.reader = sdkmetric.NewManualReader()
	return w.reader
}

func TestSpans(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.browser().Get("/reports?q=1").Status)

	request := w.span("request /wecom/callback")
	signIn, call, token := w.span("wecom signin"), w.span("wecom auth/getuserinfo"), w.span("wecom gettoken")
	for _, child := range []tracetest.SpanStub{signIn, call} {
		assert.Equal(t, request.SpanContext.TraceID(), child.SpanContext.TraceID())
		assert.Equal(t, request.SpanContext.SpanID(), child.Parent.SpanID())
		assert.Equal(t, codes.Unset, child.Status.Code)
	}
	assert.False(t, token.Parent.IsValid(), "it serves many requests and belongs to none")
	assert.Equal(t, trace.SpanKindClient, call.SpanKind)
	assert.Equal(t, trace.SpanKindInternal, signIn.SpanKind)
	assert.False(t, signIn.StartTime.After(call.StartTime), "the exchange lasts longer than its call")
	assert.False(t, signIn.EndTime.Before(call.EndTime))
	assert.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("wecom.operation", "auth/getuserinfo"),
		attribute.String("http.request.method", "GET"),
		attribute.String("server.address", "qyapi.weixin.qq.com"),
		attribute.Int("http.response.status_code", 200),
	}, call.Attributes)
	assert.ElementsMatch(t, []attribute.KeyValue{attribute.String("wecom.outcome", "ok"), attribute.Int("wecom.errcode", 0)}, signIn.Attributes)
	for _, h := range w.sent.header {
		assert.Empty(t, h.Get("Traceparent"), "WeCom learns nothing about our traces")
	}

	for _, tt := range []struct {
		fault   wecomtest.Fault
		outcome string
		status  codes.Code
		call    codes.Code
	}{
		{wecomtest.Fault{ErrCode: 40029}, "start_over", codes.Unset, codes.Unset},
		{wecomtest.Fault{ErrCode: 50001}, "setup_fault", codes.Error, codes.Unset},
		{wecomtest.Fault{Status: 503}, "start_over", codes.Unset, codes.Error},
		{wecomtest.Fault{Drop: wecomtest.DropAfter}, "start_over", codes.Unset, codes.Error},
		{wecomtest.Fault{Drop: wecomtest.DropMidway}, "start_over", codes.Unset, codes.Error},
	} {
		w.spans.Reset()
		w.fake.Script("auth/getuserinfo", tt.fault)
		w.browser().StopAt(func(r *http.Request) bool { return r.URL.Path == "/wwlogin/sso/login" && len(w.spans.GetSpans()) > 2 }).Get("/")
		signIn, call := w.span("wecom signin"), w.span("wecom auth/getuserinfo")
		assert.Contains(t, signIn.Attributes, attribute.String("wecom.outcome", tt.outcome))
		assert.Equal(t, tt.status, signIn.Status.Code, "%+v", tt.fault)
		assert.Equal(t, tt.call, call.Status.Code, "%+v", tt.fault)
		assert.Empty(t, call.Status.Description)
		assert.Empty(t, call.Events, "an error's text may hold the URL")
	}
}

// Nothing that anybody could use, and nobody's name, gets into metrics and spans (T33).
func TestTelemetryHoldsNoSecret(t *testing.T) {
	const key = "canary-statekey-0123456789abcdef0123456789abcdef"
	w := newWorld(t, func(o *wecom.Options) {
		o.StateKey = wecom.NewSecret(key)
		o.Profile, o.Scope = true, "snsapi_privateinfo"
	})
	secrets := map[string]string{"corp secret": w.fake.Secret(), "state key": key, "user id": "zhangsan", "mail": "zhangsan@corp.example.com", "query": "canary-query"}
	know := func(what, value string) {
		if value != "" {
			secrets[fmt.Sprintf("%s %d", what, len(secrets))] = value
		}
	}
	faults := []wecomtest.Fault{
		{}, {ErrCode: 40029}, {ErrCode: 50001}, {ErrCode: 40014}, {ErrCode: -1}, {Status: 500}, {Body: []byte("<html>")},
		{Drop: wecomtest.DropDial}, {Drop: wecomtest.DropBefore}, {Drop: wecomtest.DropAfter}, {Drop: wecomtest.DropMidway},
	}
	meet := func(w *world, path string) {
		for _, f := range faults {
			w.fake.ClearFaults()
			w.fake.Script(path, f, f)
			b := w.browser().InApp()
			b.Get("/reports?canary-query=1")
			for _, c := range b.Cookies("/") {
				know("cookie", c.Value)
			}
			for _, hop := range b.History() {
				if u, err := url.Parse(hop.URL); err == nil {
					know("state", u.Query().Get("state"))
					know("code", u.Query().Get("code"))
				}
			}
		}
	}
	for _, path := range []string{"auth/getuserinfo", "auth/getuserdetail", "user/get"} {
		meet(w, path)
	}
	// An error of the transport that quotes what it was given.
	w.sent.next = quoting{}
	_, err := w.auth.Client().User(t.Context(), "zhangsan")
	require.Error(t, err)
	w.sent.next = w.fake.Transport()
	w.fake.KillTokens()
	meet(w, "gettoken") // the last, since it is not asked again at once after a fault
	for _, u := range w.sent.urls {
		know("token", u.Query().Get("access_token"))
	}
	require.Greater(t, len(secrets), 100)

	var said strings.Builder
	for _, s := range w.spans.GetSpans() {
		text, err := json.Marshal(s.Attributes)
		require.NoError(t, err)
		fmt.Fprintf(&said, "%s %s %+v %+v %s\n", s.Name, text, s.Events, s.Status, s.SpanContext.TraceState())
	}
	for name, m := range w.collect() {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		fmt.Fprintf(&said, "%s %s\n", name, text)
	}
	for _, call := range []string{"gettoken", "auth/getuserinfo", "auth/getuserdetail", "user/get"} {
		require.Contains(t, said.String(), `{"Type":"STRING","Value":"`+call+`"}`)
	}
	require.Contains(t, said.String(), "*url.Error")
	for what, value := range secrets {
		assert.NotContains(t, said.String(), value, what)
		assert.NotContains(t, said.String(), url.QueryEscape(value), what)
	}
}

// quoting is a transport whose errors show the URL, as those of http.Client do.
type quoting struct{}

func (quoting) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("refused")}
}

// What a call is named after never depends on more than its path, and on that only if it is an operation's.
func TestOperations(t *testing.T) {
	for path, want := range map[string]string{
		"/cgi-bin/gettoken":                    "wecom gettoken",
		"/cgi-bin/user/get?userid=zhangsan":    "wecom user/get",
		"/sns/oauth2/access_token?secret=x":    "wecom sns/oauth2/access_token",
		"/cgi-bin/user/get/":                   "wecom other",
		"/":                                    "wecom other",
		"/cgi-bin/a%20b":                       "wecom other",
		"/" + strings.Repeat("0123456789", 10): "wecom other",
		"/a/b/c/d/e/f":                         "wecom other",
	} {
		w := newWorld(t)
		telemetry, err := wecomotel.New(nil, sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.spans)))
		require.NoError(t, err)
		rt := telemetry.Transport(w.fake.Transport())
		r := httptest.NewRequest("PROPFIND", "https://qyapi.weixin.qq.com"+path, nil)
		res, err := rt.RoundTrip(r)
		require.NoError(t, err, path)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		spans := w.spans.GetSpans()
		require.Len(t, spans, 1)
		assert.Equal(t, want, spans[0].Name)
		assert.Contains(t, spans[0].Attributes, attribute.String("http.request.method", "_OTHER"))
	}
}

// The transport keeps what package wecom relies on: one request for one code, whatever happens to it.
func TestTransportSendsOnce(t *testing.T) {
	w := newWorld(t)
	for _, drop := range []wecomtest.Drop{wecomtest.DropBefore, wecomtest.DropAfter, wecomtest.DropMidway} {
		w.fake.Script("auth/getuserinfo", wecomtest.Fault{Drop: drop})
		b := w.browser()
		require.Equal(t, 200, b.Get("/").Status, "after a restart")
	}
	var codes []string
	for _, u := range w.sent.urls {
		if code := u.Query().Get("code"); code != "" {
			codes = append(codes, code)
		}
	}
	require.Len(t, codes, 6)
	slices.Sort(codes)
	assert.Len(t, slices.Compact(codes), 6)
}

// The default transport and the global providers need nothing.
func TestDefaults(t *testing.T) {
	fake := wecomtest.New()
	server, err := fake.Start("")
	require.NoError(t, err)
	defer server.Close()
	telemetry, err := wecomotel.New(nil, nil)
	require.NoError(t, err)
	o := fake.Options(site + "/wecom/callback")
	o.Endpoints, o.Transport, o.Observe = server.Endpoints(), telemetry.Transport(nil), telemetry.Observe
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	require.NoError(t, c.Check(t.Context()))
}

// The transport is the same as package wecom's own, whose internal package a test may import.
func TestTransportOfPackageWecom(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.example:3128")
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	got, want := wecomotel.NewTransport(), upstream.NewTransport()
	for _, target := range []string{"http://127.0.0.1/", "http://LOCALHOST/", "https://qyapi.weixin.qq.com/"} {
		r := httptest.NewRequest("GET", target, nil)
		gotProxy, err := got.Proxy(r)
		require.NoError(t, err)
		wantProxy, err := want.Proxy(r)
		require.NoError(t, err)
		assert.Equal(t, wantProxy, gotProxy, target)
		assert.Equal(t, r.URL.Scheme == "https", gotProxy != nil, target)
	}
	for _, transport := range []*http.Transport{got, want} { // functions cannot be compared
		require.NotNil(t, transport.DialContext)
		transport.Proxy, transport.DialContext = nil, nil
	}
	assert.Equal(t, want, got)
}
