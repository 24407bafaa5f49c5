package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
