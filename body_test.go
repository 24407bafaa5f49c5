package wecom_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// A pipeListener accepts connections in memory, for a server inside a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l pipeListener) Close() error   { close(l.closed); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A client that announces a body and does not send it must not hold its connection for
// ever: net/http waits for the rest before it sends an answer, and again after that.
func TestBodyThatNeverComes(t *testing.T) {
	apart := func(m *wecom.Middleware) http.Handler { return m.Routes() }
	handler := func(m *wecom.Middleware) http.Handler { return m.Handler(hello()) }
	cases := []struct {
		request string
		handler func(*wecom.Middleware) http.Handler
		status  int
	}{
		{"POST /page", handler, 401},
		{"GET /page", handler, 302},
		{"HEAD /page", handler, 302},
		{"POST /WW_verify_AbCd1234.txt", handler, 405},
		{"GET /WW_verify_AbCd1234.txt", handler, 200},
		{"GET /wecom/login", handler, 302},
		{"POST /wecom/login", handler, 405},
		{"GET /wecom/callback", handler, 400},
		{"POST /wecom/logout", handler, 303},
		{"GET /wecom/signed-out", handler, 200},
		{"GET /wecom/wecom.js", handler, 200},
		{"POST /wecom/attempt", handler, 400},
		{"POST /wecom/session", handler, 400},
		{"GET /wecom/session", handler, 401},
		{"POST /nowhere", apart, 404},
		{"POST /page", func(m *wecom.Middleware) http.Handler {
			return m.Optional(m.Require(func(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, nil })(hello()))
		}, 401},
		{"GET /page", func(m *wecom.Middleware) http.Handler { return wecom.AnyOf(m)(hello()) }, 401},
		{"POST /page", func(*wecom.Middleware) http.Handler { return new(wecom.Middleware).Handler(hello()) }, 500},
	}
	for _, tc := range cases {
		for _, framing := range []string{"Content-Length: 1000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"} {
			t.Run(tc.request, bubble(func(t *testing.T) {
				m := fixed(t, func(o *wecom.Options) { o.DomainProof = []string{"WW_verify_AbCd1234.txt"} })
				listener := pipeListener{make(chan net.Conn), make(chan struct{})}
				server := &http.Server{Handler: tc.handler(m)}
				go func() { _ = server.Serve(listener) }()
				defer server.Close()
				client, far := net.Pipe()
				defer client.Close()
				listener.conns <- far
				began := time.Now()
				require.NoError(t, client.SetDeadline(began.Add(time.Hour)))
				_, err := fmt.Fprintf(client, "%s HTTP/1.1\r\nHost: app.example.com\r\nAccept: text/html\r\nContent-Type: application/json\r\n%s", tc.request, framing)
				require.NoError(t, err)
				read := bufio.NewReader(client)
				res, err := http.ReadResponse(read, &http.Request{Method: strings.Fields(tc.request)[0]})
				require.NoError(t, err)
				assert.Equal(t, tc.status, res.StatusCode)
				_, _ = io.Copy(io.Discard, res.Body)
				_, err = read.ReadByte()
				assert.ErrorIs(t, err, io.EOF)
				assert.LessOrEqual(t, time.Since(began), 30*time.Second) // an own route that reads it waits, and then its answer
			}))
		}
	}
}
