// Package redisstore keeps access tokens in Redis, so that all processes that
// share it fetch each token once.
//
//	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"redis:6379"}})
//	auth, err := wecom.New(wecom.Options{…, TokenStore: redisstore.New(rdb, "")})
//
// It works with a single server, with Sentinel and with Cluster: both keys of a token are in one
// hash slot. It uses the commands GET, SET, DEL, PTTL and EVAL; an ACL may grant just these, on the
// prefix's keys. User name, password and TLS are configured on the client.
//
// Anyone who can read this Redis has the tokens, but never the app's secret: key names do not
// contain it. Instrumentation that records the arguments of commands (redisotel does so unless
// WithDBStatement(false) is given) records tokens.
//
// If a failover loses a lock that the replica had not received, two processes may fetch. WeCom
// answers both with the same token.
package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/wecomauth/wecom"
)

const (
	defaultPrefix = "wecom:"

	// lease is how long a lock lasts if its holder does not give it back. It is not renewed: it
	// covers a fetch (10 seconds) and a write (commandTimeout) with a second to spare, and is
	// shorter than the 15 seconds after which others must be able to continue, whether the
	// holder died, hangs or is cut off.
	lease = 13 * time.Second

	// commandTimeout bounds one exchange with Redis, even if the client ignores contexts and
	// retries.
	commandTimeout = 2 * time.Second

	// Waiting processes ask for the lock this often, give or take half: a hundred of them are
	// no load, and gettoken takes longer.
	pollEvery = 100 * time.Millisecond

	// grace keeps a token past its expiry, so that a process whose clock is ahead does not
	// delete it for the others. The process that loads it checks the expiry.
	grace = time.Hour

	maxLife = 365 * 24 * time.Hour // so that grace can be added
)

// ErrLockLost means that the lock was lost before the token could be stored: the fetch took longer
// than the lock lasts, or Redis lost it. Another process may have stored a newer token since, so
// this one was not stored.
var ErrLockLost = errors.New("redisstore: the lock was lost before the token was stored")

// A Store is a [wecom.TokenStore] in Redis. Use [New]; every call of the zero
// Store fails. It is safe for concurrent use and starts no goroutine before its first use.
type Store struct {
	client redis.UniversalClient
	prefix string
}

// New returns a store that uses client, which the caller configures and closes. All keys begin
// with prefix, which must not contain braces; "" means "wecom:". New does no I/O.
func New(client redis.UniversalClient, prefix string) *Store {
	return &Store{client: client, prefix: cmp.Or(prefix, defaultPrefix)}
}

var errNoClient = errors.New("redisstore: no client: use New")

// Load returns the token under key with one GET, or the zero Token if there is none or the key
// holds something else. It takes at most two seconds.
func (s *Store) Load(ctx context.Context, key string) (wecom.Token, error) {
	if s.client == nil {
		return wecom.Token{}, errNoClient
	}
	value, err := within(ctx, func(ctx context.Context) (string, error) {
		return s.client.Get(ctx, s.tokenKey(key)).Result()
	}, nil)
	switch {
	case errors.Is(err, redis.Nil), redis.HasErrorPrefix(err, "WRONGTYPE"):
		return wecom.Token{}, nil
	case err != nil:
		return wecom.Token{}, fmt.Errorf("redisstore: load: %w", err)
	}
	return decode(value), nil
}

// Update implements [wecom.TokenStore]. It waits for the lock until ctx ends.
// fn's context ends with the lock, 13 seconds after it was taken. If another process holds the
// lock by the time fn returns, fn's token is returned with [ErrLockLost]. The token is stored even
// if ctx ended while fn ran.
func (s *Store) Update(ctx context.Context, key string, fn func(ctx context.Context, current wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	if s.client == nil {
		return wecom.Token{}, errNoClient
	}
	l := lock{client: s.client, keys: []string{s.lockKey(key), s.tokenKey(key)}, owner: rand.Text()}
	current, end, err := l.acquire(ctx)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("redisstore: lock: %w", err)
	}
	released := false
	defer func() {
		if !released { // fn failed, or panics
			l.release()
		}
	}()

	fnCtx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	t, err := fn(fnCtx, decode(current))
	if err != nil {
		return wecom.Token{}, err
	}
	if t.Value.Reveal() == "" {
		return wecom.Token{}, errors.New("redisstore: there is no token to store")
	}
	err = l.commit(ctx, t)
	released = err == nil
	return t, err
}

// The braces put a token and its lock into the same slot of a Cluster.
func (s *Store) tokenKey(key string) string { return s.prefix + "{" + key + "}" }
func (s *Store) lockKey(key string) string  { return s.prefix + "{" + key + "}:lock" }

// A lock is one caller's attempt to take a key's lock. The client may send a command twice when an
// answer is lost, so each script returns the same answer when it runs again.
type lock struct {
	client redis.UniversalClient
	keys   []string // the lock's, the token's
	owner  string
}

const (
	// A lock without an expiry, or with one later than a lease, is not ours: nobody would give it back.
	acquireScript = `
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= tonumber(ARGV[2]) and redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
	return {0, ''}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local token = redis.pcall('GET', KEYS[2])
if type(token) ~= 'string' then
	token = ''
end
return {1, token}`

	commitScript = `
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
	redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
	redis.call('DEL', KEYS[1])
	return 1
end
if redis.pcall('GET', KEYS[2]) == ARGV[2] then
	return 1
end
return 0`

	releaseScript = `
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
	redis.call('DEL', KEYS[1])
end
return 1`
)

// acquire waits for the lock. It returns what is stored as the token and when the lock ends.
func (l lock) acquire(ctx context.Context) (current string, end time.Time, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return "", end, err
		}
		end = time.Now().Add(lease) // before Redis begins to count
		answer, err := within(ctx, func(ctx context.Context) ([]any, error) {
			return l.client.Eval(ctx, acquireScript, l.keys, l.owner, lease.Milliseconds()).Slice()
		}, l.release)
		if err != nil {
			// We may hold the lock without knowing. If the answer is still to come, the lock is
			// given back then: a release sent now might arrive first.
			go l.release()
			return "", end, err
		}
		if len(answer) != 2 {
			return "", end, errors.New("unexpected answer")
		}
		if answer[0] == int64(1) {
			current, _ := answer[1].(string)
			return current, end, nil
		}
		if err := pause(ctx); err != nil {
			return "", end, err
		}
	}
}

// commit stores t and gives the lock back, unless it is not ours any more.
func (l lock) commit(ctx context.Context, t wecom.Token) error {
	value, err := encode(t)
	if err != nil {
		return err
	}
	life := min(max(time.Until(t.Expires), 0), maxLife) + grace
	stored, err := within(context.WithoutCancel(ctx), func(ctx context.Context) (int, error) {
		return l.client.Eval(ctx, commitScript, l.keys, l.owner, value, life.Milliseconds()).Int()
	}, nil)
	switch {
	case err != nil && strings.Contains(err.Error(), t.Value.Reveal()):
		return errors.New("redisstore: store: an error whose text holds the token") // a proxy's that repeats the command
	case err != nil:
		return fmt.Errorf("redisstore: store: %w", err)
	case stored != 1:
		return ErrLockLost
	}
	return nil
}

// release gives the lock back if it is ours. If that fails, its lease ends.
func (l lock) release() {
	_, _ = within(context.Background(), func(ctx context.Context) (any, error) {
		return l.client.Eval(ctx, releaseScript, l.keys[:1], l.owner).Result()
	}, nil)
}

func pause(ctx context.Context) error {
	var jitter [1]byte
	_, _ = rand.Read(jitter[:]) // never fails
	select {
	case <-time.After(pollEvery/2 + pollEvery*time.Duration(jitter[0])/256):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// within runs f for at most commandTimeout and not beyond ctx. It does not wait for f: by default,
// go-redis continues to read after its context has ended. If f ends after within has returned, late
// is called, which may be nil.
func within[T any](ctx context.Context, f func(ctx context.Context) (T, error), late func()) (value T, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	var settled atomic.Bool // by the one that decides what within returns
	ended := make(chan struct{})
	go func() {
		defer cancel()
		var v T
		e := errors.New("the client ended its goroutine")
		defer func() {
			if p := recover(); p != nil { // of a hook in the client, say: it would end the process
				e = fmt.Errorf("panic in the client: %T", p)
			}
			if !settled.Swap(true) {
				value, err = v, e
				close(ended)
			} else if late != nil {
				late()
			}
		}()
		v, e = f(ctx)
	}()
	select {
	case <-ended:
		return value, err
	case <-ctx.Done():
		if settled.Swap(true) {
			<-ended
			return value, err
		}
		var none T
		return none, ctx.Err()
	}
}

// An entry is what is stored, as JSON so that people can read it. The sum detects a damaged token.
type entry struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Sum     string    `json:"sum"`
}

func encode(t wecom.Token) (string, error) {
	e := entry{Token: t.Value.Reveal(), Expires: t.Expires.UTC()}
	e.Sum = e.sum()
	text, err := json.Marshal(e)
	if err != nil {
		return "", errors.New("redisstore: store: the expiry is not within the years 0 to 9999")
	}
	return string(text), nil
}

// decode returns the zero Token for everything that encode did not make.
func decode(value string) wecom.Token {
	var e entry
	if json.Unmarshal([]byte(value), &e) != nil || e.Token == "" || e.Sum != e.sum() {
		return wecom.Token{}
	}
	return wecom.Token{Value: wecom.NewSecret(e.Token), Expires: e.Expires}
}

func (e entry) sum() string {
	sum := sha256.Sum256([]byte(e.Expires.UTC().Format(time.RFC3339Nano) + "\n" + e.Token))
	return hex.EncodeToString(sum[:8])
}
