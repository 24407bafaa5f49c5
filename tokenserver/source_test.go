package tokenserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

// A direct transport calls the handler in the caller's goroutine.
type direct struct {
	http.Handler
	calls atomic.Int64
}

func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	d.calls.Add(1)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

const serverURL = "https://tokens.example.com/token"

func newSource(t *testing.T, key string, rt http.RoundTripper) *tokenserver.Source {
	t.Helper()
	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: serverURL, App: "portal", Key: wecom.NewSecret(key), Transport: rt})
	require.NoError(t, err)
	return src
}

func TestConformance(t *testing.T) {
	conformance.TokenSource(t, func(t *testing.T, fetch func(context.Context) (wecom.Token, error)) wecom.TokenSource {
		srv, key := serve(t, wecom.NewTokenSource("app", nil, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) { return fetch(ctx) }))
		hs := httptest.NewServer(srv)
		t.Cleanup(hs.Close)
		rt := &http.Transport{}
		t.Cleanup(rt.CloseIdleConnections)
		src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: hs.URL + "/token", App: "portal", Key: wecom.NewSecret(key), Transport: rt})
		require.NoError(t, err)
		return src
	})
}

func TestZeroSourceHasNoToken(t *testing.T) {
	var src tokenserver.Source
	tok, err := src.Token(t.Context())
	assert.Error(t, err)
	assert.Zero(t, tok.Expires)
	src.Invalidate(wecom.Token{Value: wecom.NewSecret("x")})
}

func TestNewSourceFindsAllMistakes(t *testing.T) {
	key := wecom.NewSecret(strings.Repeat("k", 32))
	for _, c := range []struct {
		url, app string
		key      wecom.Secret
		wrong    []string
	}{
		{"", "", wecom.Secret{}, []string{"URL", "App", "Key"}},
		{"https://tokens.internal/token", "portal", key, nil},
		{"https://tokens.internal:8443/token", "portal", key, nil},
		{"http://127.0.0.1:8082/token", "portal", key, nil},
		{"http://[::1]:8082/token", "portal", key, nil},
		{"http://localhost/token", "portal", key, nil},
		{"http://tokens.internal/token", "portal", key, []string{"URL: want https"}},
		{"http://10.0.0.1/token", "portal", key, []string{"URL: want https"}},
		{"http://127.0.0.1.evil.example/token", "portal", key, []string{"URL: want https"}},
		{"http://localhost.evil.example/token", "portal", key, []string{"URL: want https"}},
		{"ftp://localhost/token", "portal", key, []string{"URL: want https"}},
		{"tokens.internal/token", "portal", key, []string{"URL"}},
		{"https://canary@tokens.internal/token", "portal", key, []string{"URL"}},
		{"https://tokens.internal/token?key=canary", "portal", key, []string{"URL"}},
		{"https://tokens.internal/token#canary", "portal", key, []string{"URL"}},
		{"https://tokens.internal/token%zzcanary", "portal", key, []string{"URL"}},
		{"https://tokens.internal/token", "a\nb", key, []string{"App"}},
		{"https://tokens.internal/token", "portal", wecom.NewSecret("canary"), []string{"Key"}},
		{"https://tokens.internal/token", "portal", wecom.NewSecret(strings.Repeat("canary ", 10)), []string{"Key"}},
		{"https://tokens.internal/token", "portal", wecom.NewSecret(strings.Repeat("canary", 10) + "\r\nX: y"), []string{"Key"}},
		{"https://tokens.internal/token", "portal", wecom.NewSecret(strings.Repeat("canary", 100)), []string{"Key"}},
	} {
		src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: c.url, App: c.app, Key: c.key})
		assert.Equal(t, len(c.wrong) > 0, err != nil, "%s: %v", c.url, err)
		assert.Equal(t, err == nil, src != nil)
		for _, want := range c.wrong {
			assert.ErrorContains(t, err, want)
		}
		if err != nil {
			assert.NotContains(t, err.Error(), "canary")
		}
	}
}

func TestF5_ReportTravels(t *testing.T) {
	var up issuer
	srv, key := serve(t, up.source())
	src := newSource(t, key, &direct{Handler: srv})
	first, err := src.Token(t.Context())
	require.NoError(t, err)
	src.Invalidate(first)
	next, err := src.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "token-2", next.Value.Reveal())
	assert.Equal(t, int64(2), up.calls.Load())
}

// The source must keep no token beyond its end, and its early refreshes must not
// become a storm as the end comes near.
func TestF20_NeverBeyondItsEnd(t *testing.T) {
	for name, up := range map[string]*issuer{
		"WeCom answers":                          {},
		"tokens live 5min":                       {life: 5 * time.Minute},
		"WeCom is down from the second fetch on": {fail: failAfter(1)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slogDefault(t, quiet)
				var ends sync.Map // of tokens
				srv, key := serve(t, wecom.NewTokenSource("app", nil, func(ctx context.Context, rejected wecom.Token) (wecom.Token, error) {
					tok, err := up.fetch(ctx, rejected)
					ends.Store(tok.Value.Reveal(), tok.Expires)
					return tok, err
				}))
				rt := &direct{Handler: srv}
				src := newSource(t, key, rt)
				const hours = 24
				var failed int
				busiest, before := int64(0), int64(0)
				for i := range hours * 3600 {
					tok, err := src.Token(t.Context())
					if err != nil {
						failed++
					} else if end, _ := ends.Load(tok.Value.Reveal()); time.Now().After(end.(time.Time)) {
						require.Fail(t, "a token that has ended", "%v after its end", time.Since(end.(time.Time)))
					}
					time.Sleep(time.Second)
					synctest.Wait()
					if i%60 == 59 {
						busiest, before = max(busiest, rt.calls.Load()-before), rt.calls.Load()
					}
				}
				t.Logf("%d calls of the server in %d h, at most %d in a minute, %d of %d Token failed", rt.calls.Load(), hours, busiest, failed, hours*3600)
				assert.LessOrEqual(t, busiest, int64(30))
				if up.fail == nil {
					assert.Zero(t, failed)
					assert.LessOrEqual(t, rt.calls.Load(), 4*up.calls.Load())
				}
			})
		})
	}
}

func failAfter(n int64) func() error {
	var calls atomic.Int64
	return func() error {
		if calls.Add(1) > n {
			return errors.New("upstream down")
		}
		return nil
	}
}

// A service starts when the server's token is about to end and nobody has asked since it was due.
func TestF20_ServersTokenIsAboutToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up issuer
		srv, key := serve(t, up.source())
		ask(srv, key, portal)
		time.Sleep(2*time.Hour - 10*time.Second)
		tok, err := newSource(t, key, &direct{Handler: srv}).Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "token-2", tok.Value.Reveal())
	})
}

func TestF3_PausesAfterARefusal(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		most   int64 // calls in 10 minutes of asking each second
		text   string
	}{
		"unauthorized": {401, "", 12, "does not know this key"},
		"forbidden":    {403, "", 12, "no such app"},
		"not found":    {404, "", 12, "404"},
		"redirect":     {302, "", 12, "redirects are not followed"},
		"unavailable":  {503, "20", 31, "no token at the moment"},
		"for ever":     {503, "999999999999", 12, "no token at the moment"},
		"nonsense":     {503, "-5, soon", 40, "no token at the moment"},
		"broken":       {500, "", 40, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := &direct{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", "https://evil.example.com/")
					w.Header().Set("Retry-After", c.header)
					w.WriteHeader(c.status)
				})}
				src := newSource(t, strings.Repeat("k", 64), rt)
				for range 600 {
					tok, err := src.Token(t.Context())
					require.ErrorContains(t, err, c.text)
					assert.Equal(t, wecom.Token{}, tok)
					time.Sleep(time.Second)
				}
				assert.LessOrEqual(t, rt.calls.Load(), c.most)
				assert.Greater(t, rt.calls.Load(), int64(5), "it comes back to ask")
			})
		})
	}
}

// A life that makes no sense is the longest, or none. In nanoseconds, these numbers wrap round.
func TestOddLives(t *testing.T) {
	for seconds, want := range map[string]time.Duration{
		"9223372036854775807": 2 * time.Hour,
		"-18446740000":        0,
		"-1":                  0,
	} {
		synctest.Test(t, func(t *testing.T) {
			src := newSource(t, strings.Repeat("k", 64), roundTripper(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"access_token":"x","expires_in":` + seconds + `}`))}, nil
			}))
			token, err := src.Token(t.Context())
			if want == 0 {
				assert.ErrorContains(t, err, "about to end")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, want, time.Until(token.Expires), seconds)
		})
	}
}

func TestF10_HostileServers(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"HTML":     func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"nothing":  func(http.ResponseWriter, *http.Request) {},
		"no token": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"expires_in":7200}`) },
		"a number": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":1,"expires_in":7200}`)
		},
		"a line break": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a\nb","expires_in":7200}`)
		},
		"a long token": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("x", 5000)+`","expires_in":7200}`)
		},
		"a life in text": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"x","expires_in":"7200"}`)
		},
		"100 MiB": func(w http.ResponseWriter, _ *http.Request) {
			for range 1600 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"an error that repeats the key": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			hs := httptest.NewServer(handler)
			defer hs.Close()
			src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: hs.URL, App: "portal", Key: wecom.NewSecret(canaryKey)})
			require.NoError(t, err)
			_, err = src.Token(t.Context())
			require.Error(t, err)
			assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "canary")
		})
	}
	t.Run("no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newSource(t, canaryKey, &direct{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })})
			start := time.Now()
			_, err := src.Token(t.Context())
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 5*time.Second, time.Since(start))
		})
	})
}

const canaryKey = "canary-key-0123456789abcdef0123456789abcdef"

func TestT20_RedirectsAreNotFollowed(t *testing.T) {
	var sunk atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sunk.Add(1) }))
	defer sink.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		hs := httptest.NewServer(http.RedirectHandler(sink.URL, status))
		src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: hs.URL, App: "portal", Key: wecom.NewSecret(canaryKey)})
		require.NoError(t, err)
		_, err = src.Token(t.Context())
		assert.ErrorContains(t, err, "redirects are not followed")
		hs.Close()
	}
	assert.Zero(t, sunk.Load())
}

func TestT31_TLSIsVerified(t *testing.T) {
	var seen atomic.Int64
	hs := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	hs.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	hs.StartTLS()
	defer hs.Close()
	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: hs.URL, App: "portal", Key: wecom.NewSecret(canaryKey)})
	require.NoError(t, err)
	_, err = src.Token(t.Context())
	var unknown *tls.CertificateVerificationError
	assert.ErrorAs(t, err, &unknown)
	assert.Zero(t, seen.Load())
}

func TestT20_ErrorsHoldNoSecrets(t *testing.T) {
	var out bytes.Buffer
	slogDefault(t, slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	fail := false
	src := newSource(t, canaryKey, roundTripper(func(r *http.Request) (*http.Response, error) {
		if fail {
			body, _ := io.ReadAll(r.Body)
			return nil, fmt.Errorf("proxy refused: %q %v %s", r.Header, r.URL, body)
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"canary-token","expires_in":7200}`))}, nil
	}))
	tok, err := src.Token(t.Context())
	require.NoError(t, err)
	fail = true
	src.Invalidate(tok)
	_, err = src.Token(t.Context())
	require.ErrorContains(t, err, "proxy refused")
	all := fmt.Sprintf("%v %+v %#v %q %#v", err, err, err, err, src) + out.String()
	assert.NotContains(t, all, "canary")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
