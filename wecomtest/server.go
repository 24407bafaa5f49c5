package wecomtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Server is a [Fake] behind a socket.
type Server struct {
	fake   *Fake
	addr   string
	srv    *http.Server
	cancel context.CancelFunc
	served chan struct{}

	conns sync.WaitGroup
	once  sync.Once
}

// Start serves the fake on addr, a host and a port; "" means 127.0.0.1 and any free port. Every
// host that addr stands for must be a loopback address, since a fake lets everybody in. Close the
// server when it is no longer needed; several may run at the same time.
func (f *Fake) Start(addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("wecomtest: address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("wecomtest: address %q is not on loopback: the fake lets everybody in", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("wecomtest: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("wecomtest: address %q is not on loopback: the fake lets everybody in", addr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{fake: f, addr: l.Addr().String(), cancel: cancel, served: make(chan struct{})}
	s.srv = &http.Server{
		Handler:           f,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.count,
	}
	f.setServer(s.addr, true)
	go func() {
		defer close(s.served)
		_ = s.srv.Serve(l) // ErrServerClosed, as nothing else closes l
	}()
	return s, nil
}

func (f *Fake) setServer(addr string, up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if up {
		f.servers[addr] = true
	} else {
		delete(f.servers, addr)
	}
}

func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// URL returns the server's base URL, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.addr }

// Close ends all connections and returns when no call is being answered any more; calls that a
// [Fault] holds end as if their callers had left. Closing again does nothing. The Fake itself lives
// on.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.cancel()
		err = s.srv.Close()
		<-s.served
		s.conns.Wait()
		s.fake.setServer(s.addr, false)
	})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
