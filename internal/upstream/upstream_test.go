package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/upstream"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What was sent decides whether a code may be used again.
func TestSent(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "answer")
	}))
	defer server.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	noDial := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }}
	deaf := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		return near, far.Close()
	}}
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		rt     http.RoundTripper
		url    string
		status int
		sent   bool
	}{
		{"no connection", t.Context(), noDial, server.URL, 200, false},
		{"canceled before", canceled, upstream.NewTransport(), server.URL, 200, false},
		{"no URL", t.Context(), upstream.NewTransport(), "http://[", 200, false},
		{"a connection that dies", t.Context(), deaf, server.URL, 200, true},
		{"502", t.Context(), upstream.NewTransport(), server.URL, 502, true},
		{"an unknown transport", t.Context(), roundTrip(func(*http.Request) (*http.Response, error) { return nil, io.EOF }), server.URL, 200, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status = tt.status
			body, err := upstream.Do(tt.ctx, tt.rt, upstream.Request{Method: "GET", URL: tt.url})
			var failed *upstream.Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, tt.sent, failed.Sent(), err)
			assert.False(t, failed.Timeout())
			assert.Nil(t, body)
		})
	}
	status = http.StatusOK
	body, err := upstream.Do(t.Context(), upstream.NewTransport(), upstream.Request{Method: "GET", URL: server.URL})
	require.NoError(t, err)
	assert.Equal(t, "answer", string(body))
}

// HTTP/2 has rules of its own for sending a request again.
func TestF6_HTTP1Alone(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	rt := upstream.NewTransport()
	rt.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	body, err := upstream.Do(t.Context(), rt, upstream.Request{Method: "GET", URL: server.URL})
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1", string(body))
}

// Plain http stays on this machine, whatever the spelling of its name: a proxy would see the secrets.
func TestT31_NoProxyForPlainHTTP(t *testing.T) {
	const env = "http://192.0.2.1:3128"
	if os.Getenv("HTTP_PROXY") != env { // which net/http reads once in a process
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), "HTTP_PROXY="+env, "HTTPS_PROXY="+env, "NO_PROXY=")
		out, err := again.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	proxy := upstream.NewTransport().Proxy
	for _, address := range []string{"http://LOCALHOST:8082/token", "http://Localhost/", "http://127.0.0.1/", "http://[::1]/"} {
		r, err := http.NewRequest("POST", address, nil)
		require.NoError(t, err)
		u, err := proxy(r)
		require.NoError(t, err)
		assert.Nil(t, u, address)
	}
	r, err := http.NewRequest("GET", "https://qyapi.weixin.qq.com/", nil)
	require.NoError(t, err)
	u, err := proxy(r)
	require.NoError(t, err)
	require.NotNil(t, u)
	assert.Equal(t, env, u.String())
}
