package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisSessions keeps sessions in Redis, under the names of scs's goredisstore,
// which knows no Cluster.
type redisSessions struct{ client redis.UniversalClient }

const redisPrefix = "scs:session:"

func (s *redisSessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	data, err := s.client.Get(ctx, redisPrefix+token).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s *redisSessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.client.Set(ctx, redisPrefix+token, data, max(time.Until(expiry), time.Millisecond)).Err()
}

func (s *redisSessions) DeleteCtx(ctx context.Context, token string) error {
	return s.client.Del(ctx, redisPrefix+token).Err()
}

// openRedis returns a client that waits for nothing longer than storeTimeout.
func openRedis(where string) (redis.UniversalClient, error) {
	wrong := errors.New("want redis://USER:PASSWORD@HOST:PORT/DB") // the parser's error shows the password
	if u, err := url.Parse(where); err != nil || u.Hostname() == "" {
		return nil, wrong
	}
	o, err := redis.ParseURL(where)
	if err != nil {
		return nil, wrong
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = attemptTimeout, attemptTimeout, attemptTimeout, storeTimeout
	o.ConnMaxIdleTime = maxIdle
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.MaxRetries = 2
	// After a row of failures the pool dials but once a second, so that sessions
	// would stay away for a second after Redis is back. It counts failed dials only: a
	// connection that fails at its first use is dialled anew at the next.
	dial := redis.NewDialer(o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return &brokenConn{err: err}, nil
		}
		return conn, nil
	}
	return redis.NewClient(o), nil
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
