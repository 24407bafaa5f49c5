package e2e_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A proxy stands between a program and its database and makes the network
// between them a bad one. Requests always arrive; replies may not.
type proxy struct {
	net.Listener
	target string

	swallow  atomic.Bool  // no reply arrives
	perMille atomic.Int64 // so many of a thousand replies do not arrive
	delay    atomic.Int64 // nanoseconds before a reply arrives
	dropped  atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: l, target: target}
	go p.serve()
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
	})
	return p
}

func (p *proxy) addr() string { return p.Addr().String() }

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.copy(server, client, nil)
		go p.copy(client, server, p.lost)
	}
}

// lost decides about one reply.
func (p *proxy) lost() bool {
	if p.swallow.Load() {
		return true
	}
	if rand.Int64N(1000) < p.perMille.Load() {
		p.dropped.Add(1)
		return true
	}
	return false
}

// copy passes on what one read yields: with requests that wait for their reply, one of them.
func (p *proxy) copy(to, from net.Conn, lost func() bool) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && lost != nil {
			if d := time.Duration(p.delay.Load()); d > 0 {
				<-time.After(d)
			}
		}
		if n > 0 && (lost == nil || !lost()) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
