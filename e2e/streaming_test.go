package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// streams is an application that streams, behind the middleware and perhaps inside its own scs session.
type streams struct {
	*testing.T
	manager *scs.SessionManager
	app     http.Handler
	cookies []*http.Cookie // of somebody who is signed in
	more    chan struct{}  // lets /events send the next event
}

// A stacking is an order of this package's middleware and scs's.
type stacking struct {
	name    string
	carried bool                                                  // the sign-in lies in the application's session
	wrapped bool                                                  // handlers see scs's ResponseWriter instead of the server's
	stack   func(s *streams, auth *wecom.Middleware) http.Handler // puts them around handlers
}

var stackings = []stacking{
	{"own cookie", false, false, func(s *streams, auth *wecom.Middleware) http.Handler {
		return auth.Handler(s.handlers())
	}},
	{"own cookie, the application's session inside", false, true, func(s *streams, auth *wecom.Middleware) http.Handler {
		return auth.Handler(s.manager.LoadAndSave(s.handlers()))
	}},
	{"own cookie, the application's session outside", false, true, func(s *streams, auth *wecom.Middleware) http.Handler {
		return s.manager.LoadAndSave(auth.Handler(s.handlers()))
	}},
	{"scs session, loaded by us", true, true, func(s *streams, auth *wecom.Middleware) http.Handler {
		return auth.Handler(s.handlers())
	}},
	{"scs session, loaded outside", true, true, func(s *streams, auth *wecom.Middleware) http.Handler {
		return s.manager.LoadAndSave(auth.Handler(s.handlers()))
	}},
}

func newStreams(t *testing.T, how stacking) *streams {
	t.Helper()
	s := &streams{T: t, manager: scs.New(), more: make(chan struct{})}
	s.manager.HashTokenInStore = true
	s.manager.Cookie.Name, s.manager.Cookie.Secure = "__Host-session", true
	fake := wecomtest.New()
	o := fake.Options(site + "/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	if how.carried {
		o.Sessions = s.manager
	}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	s.app = how.stack(s, auth)
	b := fake.Browser(site, s.app).SignInAs("zhangsan")
	res := b.Get("/who")
	require.Equal(t, 200, res.Status, res.Body)
	require.Contains(t, res.Body, "zhangsan")
	s.cookies = b.Cookies("/")
	return s
}

func (s *streams) handlers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		fmt.Fprintf(w, "%s %T", id.UserID, w)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		s.put(r, "early")
		w.Header().Set("Content-Type", "text/event-stream")
		for _, data := range []string{"one", "two"} {
			fmt.Fprintf(w, "data: %s\n\n", data)
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			select {
			case <-s.more:
			case <-r.Context().Done():
				return
			}
		}
		s.put(r, "late")
	})
	mux.HandleFunc("/flush", func(w http.ResponseWriter, r *http.Request) {
		s.put(r, "early")
		_ = http.NewResponseController(w).Flush()
		fmt.Fprint(w, "flushed before it was written to")
	})
	mux.HandleFunc("/saved", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, s.manager.Keys(r.Context()))
	})
	mux.HandleFunc("/deadlines", func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		fmt.Fprintln(w, errors.Join(rc.SetReadDeadline(time.Now().Add(time.Minute)), rc.SetWriteDeadline(time.Now().Add(time.Minute)), rc.EnableFullDuplex()), flusher, hijacker)
	})
	mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
		fmt.Fprint(w, strings.Repeat("too late", 10_000))
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 299 By hand\r\nContent-Length: 0\r\n\r\n")
	})
	mux.HandleFunc("/coder", func(w http.ResponseWriter, r *http.Request) {
		conn, err := coder.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer conn.CloseNow()
		kind, text, err := conn.Read(r.Context())
		if err == nil {
			_ = conn.Write(r.Context(), kind, s.greet(r, text))
			_ = conn.Close(coder.StatusNormalClosure, "")
		}
	})
	mux.HandleFunc("/gorilla", func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer conn.Close()
		kind, text, err := conn.ReadMessage()
		if err == nil {
			_ = conn.WriteMessage(kind, s.greet(r, text))
		}
	})
	return mux
}

func (s *streams) put(r *http.Request, key string) {
	defer func() { _ = recover() }() // there is no session in some stackings
	s.manager.Put(r.Context(), key, true)
}

func (s *streams) greet(r *http.Request, text []byte) []byte {
	id, _ := wecom.FromContext(r.Context())
	return fmt.Appendf(nil, "%s %s", text, id.UserID)
}

// serve starts a server with TLS, for HTTP/2 or for HTTP/1.1.
func (s *streams) serve(http2 bool) *httptest.Server {
	server := httptest.NewUnstartedServer(s.app)
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	s.Cleanup(server.Close)
	return server
}

func (s *streams) get(server *httptest.Server, path string, cookies []*http.Cookie) (*http.Response, error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	s.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	require.NoError(s, err)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return server.Client().Do(r)
}

func (s *streams) header() http.Header {
	var pairs []string
	for _, c := range s.cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return http.Header{"Cookie": {strings.Join(pairs, "; ")}}
}

// T29: streaming works with both carriers, in every order, over HTTP/1.1 and HTTP/2.
func TestT29_Streaming(t *testing.T) {
	for _, how := range stackings {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(how.name+", "+proto, func(t *testing.T) {
				t.Parallel()
				s := newStreams(t, how)
				server := s.serve(proto == "HTTP/2.0")

				res, err := s.get(server, "/who", s.cookies)
				require.NoError(t, err)
				defer res.Body.Close()
				require.Equal(t, proto, res.Proto)
				writer := bodyOf(res)
				assert.Equal(t, how.wrapped, strings.Contains(writer, "scs."), "the handler has %s", writer)

				res, err = s.get(server, "/deadlines", s.cookies)
				require.NoError(t, err)
				defer res.Body.Close()
				said := strings.TrimSpace(bodyOf(res))
				if proto == "HTTP/2.0" { // which is full duplex always, and says so by an error
					said = strings.Replace(said, "feature not supported", "<nil>", 1)
				}
				// scs's writer claims to be a Hijacker over HTTP/2 too.
				assert.Equal(t, fmt.Sprintf("<nil> true %t", how.wrapped || proto == "HTTP/1.1"), said, "deadlines; http.Flusher and http.Hijacker by assertion")
				if res, err := s.get(server, "/late", s.cookies); err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					require.NoError(t, res.Body.Close())
					assert.Error(t, err, "the deadline for writing is over")
				}

				s.events(server)
				res, err = s.get(server, "/events", nil)
				require.NoError(t, err)
				defer res.Body.Close()
				assert.Equal(t, 401, res.StatusCode, "without a session there is no stream")
				assert.Contains(t, bodyOf(res), `"login_required"`)
			})
		}
	}
}

// events reads an event while the handler waits, and another one after a logout.
func (s *streams) events(server *httptest.Server) {
	s.Helper()
	res, err := s.get(server, "/events", s.cookies)
	require.NoError(s, err)
	defer res.Body.Close()
	require.Equal(s, 200, res.StatusCode)
	lines := bufio.NewScanner(res.Body)
	require.True(s, lines.Scan())
	assert.Equal(s, "data: one", lines.Text())

	require.Equal(s, 303, do(s.app, http.MethodPost, "/wecom/logout", s.cookies).StatusCode)
	s.more <- struct{}{}
	require.True(s, lines.Scan(), "the line that ends an event")
	require.True(s, lines.Scan())
	assert.Equal(s, "data: two", lines.Text(), "a stream that runs is not cut off by a logout")
	s.more <- struct{}{}
	assert.True(s, lines.Scan())
	assert.False(s, lines.Scan())
	after, err := s.get(server, "/who", s.cookies)
	require.NoError(s, err)
	defer after.Body.Close()
	assert.Equal(s, 401, after.StatusCode)
}

// T29: WebSockets by the two libraries that people use, and by hand.
func TestT29_WebSockets(t *testing.T) {
	for _, how := range stackings {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := newStreams(t, how)
			server := s.serve(false)
			address := "wss" + strings.TrimPrefix(server.URL, "https")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()

			conn, res, err := coder.Dial(ctx, address+"/coder", &coder.DialOptions{HTTPClient: server.Client(), HTTPHeader: s.header()})
			require.NoError(t, err)
			assert.Equal(t, 101, res.StatusCode)
			require.NoError(t, conn.Write(ctx, coder.MessageText, []byte("hello")))
			_, text, err := conn.Read(ctx)
			require.NoError(t, err)
			assert.Equal(t, "hello zhangsan", string(text))
			require.NoError(t, conn.CloseNow())

			dialer := gorilla.Dialer{TLSClientConfig: server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
			dialer.TLSClientConfig.NextProtos = nil
			ws, _, err := dialer.DialContext(ctx, address+"/gorilla", s.header())
			require.NoError(t, err)
			defer ws.Close()
			require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("hello")))
			_, text, err = ws.ReadMessage()
			require.NoError(t, err)
			assert.Equal(t, "hello zhangsan", string(text))

			res, err = s.get(server, "/hijack", s.cookies)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.Equal(t, 299, res.StatusCode, "by http.ResponseController")

			_, res, err = coder.Dial(ctx, address+"/coder", &coder.DialOptions{HTTPClient: server.Client()})
			require.Error(t, err)
			assert.Equal(t, 401, res.StatusCode, "without a session there is no handshake")
			assert.NotContains(t, res.Header, "Location")
			assert.Empty(t, res.Header.Values("Set-Cookie"))
		})
	}
}

// What scs itself saves of a stream: what was put into the session before the first
// byte, and nothing later; and its cookie is lost if the headers are flushed
// before something is written. docs/sessions.md says so.
func TestSessionOfAStreamIsSavedAtItsFirstByte(t *testing.T) {
	for _, how := range stackings {
		if !how.wrapped {
			continue
		}
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			s := newStreams(t, how)
			server := s.serve(false)
			res, err := s.get(server, "/flush", s.cookies)
			require.NoError(t, err)
			defer res.Body.Close()
			require.Equal(t, 200, res.StatusCode)
			assert.Empty(t, res.Cookies())

			res, err = s.get(server, "/events", s.cookies)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.NotEmpty(t, res.Cookies())
			for range 2 {
				s.more <- struct{}{}
			}
			_, err = io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			saved, err := s.get(server, "/saved", merged(s.cookies, res.Cookies()))
			require.NoError(t, err)
			defer saved.Body.Close()
			keys := bodyOf(saved)
			assert.Contains(t, keys, "early")
			assert.NotContains(t, keys, "late")
		})
	}
}
