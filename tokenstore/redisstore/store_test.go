package redisstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

func token(value string, expires time.Time) wecom.Token {
	return wecom.Token{Value: wecom.NewSecret(value), Expires: expires}
}

func inAnHour(value string) wecom.Token { return token(value, time.Now().Add(time.Hour)) }

func put(t *testing.T, s wecom.TokenStore, key string, tok wecom.Token) {
	t.Helper()
	_, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) { return tok, nil })
	require.NoError(t, err)
}

func load(t *testing.T, s wecom.TokenStore, key string) string {
	t.Helper()
	tok, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	return tok.Value.Reveal()
}

func TestConformance(t *testing.T) {
	address := sharedURL(t)
	prefix := newPrefix(t, newClient(t, address))
	conformance.TokenStore(t, func(t *testing.T) wecom.TokenStore {
		return redisstore.New(newClient(t, address), prefix)
	})
}

func TestZeroStoreFails(t *testing.T) {
	var s redisstore.Store
	_, err := s.Load(t.Context(), "key")
	assert.Error(t, err)
	_, err = s.Update(t.Context(), "key", func(context.Context, wecom.Token) (wecom.Token, error) {
		assert.Fail(t, "fn was called")
		return wecom.Token{}, nil
	})
	assert.Error(t, err)
}

func TestWhatIsStored(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	expires := time.Now().Add(time.Hour)
	put(t, s, "app", token("value", expires))

	assert.Equal(t, []string{prefix + "{app}"}, keysOf(t, rdb, prefix), "the lock is gone")
	text, err := rdb.Get(t.Context(), prefix+"{app}").Result()
	require.NoError(t, err)
	var stored map[string]string
	require.NoError(t, json.Unmarshal([]byte(text), &stored))
	assert.Equal(t, "value", stored["token"])
	assert.Equal(t, expires.UTC().Format(time.RFC3339Nano), stored["expires"])

	ttl, err := rdb.PTTL(t.Context(), prefix+"{app}").Result()
	require.NoError(t, err)
	assert.InDelta(t, 2*time.Hour, ttl, float64(time.Minute), "an hour past its expiry it goes")

	put(t, s, "app", token("value", time.Now().Add(-24*time.Hour)))
	ttl, err = rdb.PTTL(t.Context(), prefix+"{app}").Result()
	require.NoError(t, err)
	assert.InDelta(t, time.Hour, ttl, float64(time.Minute), "also if it was dead when it came")

	put(t, redisstore.New(rdb, ""), prefix+"app", inAnHour("value"))
	n, err := rdb.Del(t.Context(), "wecom:{"+prefix+"app}").Result()
	require.NoError(t, err)
	assert.Equal(t, int64(1), n, "the default prefix")
}

// Who asked has left, but the token was fetched, and others want it.
func TestF21_TokenOfACallerWhoLeft(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Update(ctx, "app", func(context.Context, wecom.Token) (wecom.Token, error) {
		cancel()
		return inAnHour("value"), nil
	})
	require.NoError(t, err)
	assert.Equal(t, "value", load(t, s, "app"))
	assert.Len(t, keysOf(t, rdb, prefix), 1, "no lock is left")
}

func TestT18_TwoAppsOneRedis(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	fake := wecomtest.New()
	fake.AddApp(wecomtest.App{AgentID: "1000003", Secret: "canary-secret-of-the-other-app-00000000000"})
	store := redisstore.New(rdb, prefix)

	values := map[string]bool{}
	for agent, secret := range map[string]string{fake.AgentID(): fake.Secret(), "1000003": "canary-secret-of-the-other-app-00000000000"} {
		for range 2 {
			client, err := wecom.NewClient(wecom.Options{
				CorpID: fake.CorpID(), AgentID: agent, Secret: wecom.NewSecret(secret), TokenStore: store, Transport: fake.Transport(),
			})
			require.NoError(t, err)
			tok, err := client.Token(t.Context())
			require.NoError(t, err)
			values[tok.Value.Reveal()] = true
		}
	}
	assert.Len(t, values, 2)
	assert.Equal(t, 2, fake.Calls("gettoken"))
	keys := keysOf(t, rdb, prefix)
	assert.Len(t, keys, 2)
	for _, key := range keys {
		value, err := rdb.Get(t.Context(), key).Result()
		require.NoError(t, err)
		for _, secret := range []string{fake.Secret(), "canary-secret"} {
			assert.NotContains(t, key+value, secret)
		}
	}
}

func TestF14_Garbage(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	put(t, s, "app", inAnHour("token-value"))
	sound, err := rdb.Get(t.Context(), prefix+"{app}").Result()
	require.NoError(t, err)

	check := func(name, key string, plant func(pipe redis.Pipeliner, key string)) {
		t.Helper()
		_, err := rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
			pipe.Del(t.Context(), prefix+"{"+key+"}")
			plant(pipe, prefix+"{"+key+"}")
			return nil
		})
		require.NoError(t, err, name)
		assert.Contains(t, []string{"", "token-value"}, load(t, s, key), name)
		_, err = s.Update(t.Context(), key, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
			assert.Contains(t, []string{"", "token-value"}, current.Value.Reveal(), name)
			return inAnHour("next"), nil
		})
		require.NoError(t, err, name)
		assert.Equal(t, "next", load(t, s, key), name)
	}
	set := func(value string) func(redis.Pipeliner, string) {
		return func(pipe redis.Pipeliner, key string) { pipe.Set(t.Context(), key, value, 0) }
	}
	for i := range sound {
		for _, mask := range []byte{0x01, 0x20, 0x80, 0xff} {
			flipped := []byte(sound)
			flipped[i] ^= mask
			check(fmt.Sprintf("byte %d ^ %#x", i, mask), "app", set(string(flipped)))
		}
		check(fmt.Sprintf("cut after %d bytes", i), "app", set(sound[:i]))
	}
	for _, value := range []string{"", "null", "{}", "[]", "42", `"token"`, `{"token":"token-value"}`, strings.Repeat("{", 1<<16)} {
		check(fmt.Sprintf("%.20q", value), "app", set(value))
	}
	check("a list", "app", func(pipe redis.Pipeliner, key string) { pipe.RPush(t.Context(), key, "x") })
	check("a hash", "app", func(pipe redis.Pipeliner, key string) { pipe.HSet(t.Context(), key, "token", "x") })
	check("a lock without an end", "app", func(pipe redis.Pipeliner, key string) { pipe.Set(t.Context(), key+":lock", "x", 0) })
	check("a lock with a foreign end", "app", func(pipe redis.Pipeliner, key string) { pipe.Set(t.Context(), key+":lock", "x", 24*time.Hour) })
	check("a list with an end as the lock", "app", func(pipe redis.Pipeliner, key string) {
		pipe.Del(t.Context(), key+":lock")
		pipe.RPush(t.Context(), key+":lock", "x")
		pipe.Expire(t.Context(), key+":lock", 5*time.Second)
	})
	check("a lock that is a list", "app", func(pipe redis.Pipeliner, key string) { pipe.RPush(t.Context(), key+":lock", "x") })
}

// What lasts longer than a duration can say is kept for a year.
func TestF20_HugeLife(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	s := redisstore.New(rdb, prefix)
	put(t, s, "app", wecom.Token{Value: wecom.NewSecret("x"), Expires: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})
	assert.Equal(t, "x", load(t, s, "app"))
}

// Both keys must be in one slot, or Cluster refuses the scripts.
func TestCluster(t *testing.T) {
	own := startServer(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
	node := newClient(t, own.url())
	require.NoError(t, node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.Eventually(t, func() bool {
		info, err := node.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}, 10*time.Second, 20*time.Millisecond)

	rdb := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{own.addr}, IsClusterMode: true})
	t.Cleanup(func() { _ = rdb.Close() })
	s := redisstore.New(rdb, "")
	for i := range 20 {
		key := fmt.Sprintf("wecom:ww1:10000%d:0123456789abcdef", i)
		put(t, s, key, inAnHour(key))
		assert.Equal(t, key, load(t, s, key))
	}
}

// The package comment says what an ACL has to grant.
func TestACL(t *testing.T) {
	own := startServer(t)
	require.NoError(t, newClient(t, own.url()).Do(t.Context(), "ACL", "SETUSER", "app", "on", ">password", "resetkeys", "~wecom:*", "-@all",
		"+get", "+set", "+del", "+pttl", "+eval").Err())
	rdb := newClient(t, "redis://app:password@"+own.addr)
	s := redisstore.New(rdb, "")
	put(t, s, "app", inAnHour("value"))
	assert.Equal(t, "value", load(t, s, "app"))

	_, err := redisstore.New(rdb, "other:").Load(t.Context(), "app")
	assert.ErrorContains(t, err, "NOPERM")
	_, err = redisstore.New(newClient(t, "redis://app:canary-password@"+own.addr), "").Load(t.Context(), "app")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "canary-password")
}

// Some proxies and forks repeat a command that they refuse.
func TestT20_ErrorsHoldNoToken(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	prefix := newPrefix(t, rdb)
	rdb.AddHook(repeater{})
	got, err := redisstore.New(rdb, prefix).Update(t.Context(), "app", func(context.Context, wecom.Token) (wecom.Token, error) {
		return inAnHour("canary-token"), nil
	})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "canary-token")
	assert.Equal(t, "canary-token", got.Value.Reveal())
}

type repeater struct{}

func (repeater) DialHook(next redis.DialHook) redis.DialHook { return next }
func (repeater) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (repeater) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if text := fmt.Sprint(cmd.Args()...); strings.Contains(text, "canary-token") {
			err := errors.New("unknown command: " + text)
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func TestF25_PanicInClient(t *testing.T) {
	rdb := newClient(t, sharedURL(t))
	rdb.AddHook(panicker{})
	_, err := redisstore.New(rdb, "").Load(t.Context(), "app")
	assert.ErrorContains(t, err, "panic")
}

type panicker struct{ repeater }

func (panicker) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { panic("hook") }
}
