package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisSessions keeps sessions in Redis, under the names of scs's goredisstore,
// which knows no Cluster.
type redisSessions struct {
	client redis.UniversalClient

	mu      sync.Mutex
	reading bool // a round trip is under way
	waiting []*read
}

// A read is a call that waits for its row.
type read struct {
	key    string
	answer *redis.StringCmd
	done   chan struct{}
}

const redisPrefix = "scs:session:"

// FindCtx shares its round trip with the calls that came during the one before, but
// not in a Cluster: there all would wait for a node that is away.
func (s *redisSessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	if _, ok := s.client.(*redis.ClusterClient); ok {
		return asRow(s.client.Get(ctx, redisPrefix+token))
	}
	r := &read{key: redisPrefix + token, done: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, r)
	if !s.reading {
		s.reading = true
		go s.read()
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return asRow(r.answer)
	case <-ctx.Done():
		s.mu.Lock()
		s.waiting = slices.DeleteFunc(s.waiting, func(other *read) bool { return other == r })
		s.mu.Unlock()
		return nil, false, ctx.Err()
	}
}

// read reads until nobody waits.
func (s *redisSessions) read() {
	for {
		s.mu.Lock()
		reads := s.waiting
		s.waiting = nil
		s.reading = len(reads) > 0
		s.mu.Unlock()
		if len(reads) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, r := range reads {
				r.answer = p.Get(ctx, r.key)
			}
			return nil
		})
		cancel()
		for _, r := range reads {
			if r.answer.Err() == nil && r.answer.Val() == "" {
				r.answer.SetErr(err) // such as a wrong password, of which go-redis tells no command
			}
			close(r.done)
		}
	}
}

// TakeCtx needs Redis 6.2. A client that repeats a command whose answer was lost finds nothing.
func (s *redisSessions) TakeCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return asRow(s.client.GetDel(ctx, redisPrefix+token))
}

func asRow(answer *redis.StringCmd) ([]byte, bool, error) {
	data, err := answer.Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s *redisSessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.client.Set(ctx, redisPrefix+token, data, max(time.Until(expiry), time.Millisecond)).Err()
}

func (s *redisSessions) AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (bool, error) {
	return s.client.SetNX(ctx, redisPrefix+token, data, max(time.Until(expiry), time.Millisecond)).Result()
}

func (s *redisSessions) DeleteCtx(ctx context.Context, token string) error {
	return s.client.Del(ctx, redisPrefix+token).Err()
}

// openRedis returns a client that waits for nothing longer than storeTimeout: for
// one server, for the master that Sentinels name (master_name), or for a Cluster (addr).
func openRedis(where string) (redis.UniversalClient, error) {
	wrong := errors.New("want redis://USER:PASSWORD@HOST:PORT/DB, with ?master_name=NAME for Sentinel or ?addr=HOST:PORT for a Cluster") // the parsers' errors show the password
	u, err := url.Parse(where)
	if err != nil || u.Hostname() == "" {
		return nil, wrong
	}
	switch q := u.Query(); {
	case q.Has("master_name"):
		o, err := redis.ParseFailoverURL(where)
		if err != nil || o.MasterName == "" {
			return nil, wrong
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = attemptTimeout, attemptTimeout, attemptTimeout, storeTimeout
		o.ConnMaxIdleTime, o.ContextTimeoutEnabled, o.DialerRetries, o.MaxRetries = maxIdle, true, 1, 2
		o.Dialer = dialer(o.TLSConfig)
		return redis.NewFailoverClient(o), nil
	case q.Has("addr"):
		o, err := redis.ParseClusterURL(where)
		if err != nil {
			return nil, wrong
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = attemptTimeout, attemptTimeout, attemptTimeout, storeTimeout
		o.ConnMaxIdleTime, o.ContextTimeoutEnabled, o.DialerRetries, o.MaxRetries = maxIdle, true, 1, 2
		o.Dialer = dialer(o.TLSConfig)
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(where)
	if err != nil {
		return nil, wrong
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = attemptTimeout, attemptTimeout, attemptTimeout, storeTimeout
	o.ConnMaxIdleTime, o.ContextTimeoutEnabled, o.DialerRetries, o.MaxRetries = maxIdle, true, 1, 2
	o.Dialer = dialer(o.TLSConfig)
	return redis.NewClient(o), nil
}

// dialer returns a dialer that never fails. After a row of failures the pool dials but
// once a second, so that sessions would stay away for a second after Redis is back. It
// counts failed dials only: a connection that fails at its first use is dialled anew at the next.
func dialer(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return &brokenConn{err: err}, nil
		}
		if config == nil {
			return conn, nil
		}
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			// Not wrapped: go-redis unwraps what fails at a connection's beginning.
			return &brokenConn{err: fmt.Errorf("no TLS with %s (for a Redis without TLS write redis://): %v", addr, err)}, nil
		}
		return encrypted, nil
	}
}

// hint adds what to do where Redis does not say it.
func hint(err error) error {
	if _, ok := redis.IsMovedError(err); ok {
		return fmt.Errorf("this is a Redis Cluster: add ?addr=HOST:PORT with another of its nodes to the URL: %w", err)
	}
	return err
}

// A brokenConn fails with the error of its dial.
type brokenConn struct {
	net.Conn
	err error
}

func (c *brokenConn) Read([]byte) (int, error)         { return 0, c.err }
func (c *brokenConn) Write([]byte) (int, error)        { return 0, c.err }
func (c *brokenConn) Close() error                     { return nil }
func (c *brokenConn) SetDeadline(time.Time) error      { return nil }
func (c *brokenConn) SetReadDeadline(time.Time) error  { return nil }
func (c *brokenConn) SetWriteDeadline(time.Time) error { return nil }
func (c *brokenConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *brokenConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
