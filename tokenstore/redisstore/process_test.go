package redisstore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/redisstore"
	"github.com/wecomauth/wecom/wecomtest"
)

// A replica's orders; it reads them from the environment, as JSON.
type orders struct {
	RedisURL, Prefix    string
	API, CorpID, Secret string
}

const ordersVariable = "REDISSTORE_TEST_REPLICA"

func TestMain(m *testing.M) {
	if text := os.Getenv(ordersVariable); text != "" {
		var o orders
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		replicate(o)
		return
	}
	redis.SetLogger(silence{}) // it reports every refused connection
	os.Exit(m.Run())
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// replicate is a process of its own: for each line with codes it signs them in,
// all at once, and answers with a line of what went wrong.
func replicate(o orders) {
	ro, err := redis.ParseURL(o.RedisURL)
	if err != nil {
		panic(err)
	}
	client, err := wecom.NewClient(wecom.Options{
		CorpID: o.CorpID, AgentID: "1000002", Secret: wecom.NewSecret(o.Secret),
		TokenStore: redisstore.New(redis.NewClient(ro), o.Prefix),
		Endpoints:  wecom.Endpoints{API: o.API},
	})
	if err != nil {
		panic(err)
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var codes []string
		if in.Decode(&codes) != nil {
			return
		}
		var (
			mu    sync.Mutex
			wrong = []string{}
			group sync.WaitGroup
		)
		for _, code := range codes {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				var who struct{ UserID string }
				err := client.Call(ctx, http.MethodGet, "auth/getuserinfo", url.Values{"code": {code}}, nil, &who)
				if err != nil || who.UserID != "zhangsan" {
					mu.Lock()
					defer mu.Unlock()
					wrong = append(wrong, fmt.Sprintf("%q: %v", who.UserID, err))
				}
			})
		}
		group.Wait()
		if out.Encode(wrong) != nil {
			return
		}
	}
}

type replica struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startReplica(t *testing.T, o orders) *replica {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	r := &replica{cmd: exec.Command(os.Args[0])}
	r.cmd.Env = append(os.Environ(), ordersVariable+"="+string(text))
	r.cmd.Stderr = os.Stderr
	r.in, err = r.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := r.cmd.StdoutPipe()
	require.NoError(t, err)
	r.out = bufio.NewScanner(out)
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	})
	return r
}

func (r *replica) send(t *testing.T, codes []string) {
	t.Helper()
	require.NoError(t, json.NewEncoder(r.in).Encode(codes))
}

func (r *replica) wrong(t *testing.T) (wrong []string) {
	t.Helper()
	require.True(t, r.out.Scan(), "the replica is gone")
	require.NoError(t, json.Unmarshal(r.out.Bytes(), &wrong))
	return wrong
}

// fleet starts a fake WeCom and n processes beside each other.
func fleet(t *testing.T, n int) (*wecomtest.Fake, []*replica) {
	t.Helper()
	address := sharedURL(t)
	fake := wecomtest.New()
	srv, err := fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = srv.Close() })
	o := orders{RedisURL: address, Prefix: newPrefix(t, newClient(t, address)), API: srv.URL(), CorpID: fake.CorpID(), Secret: fake.Secret()}
	var all []*replica
	for range n {
		all = append(all, startReplica(t, o))
	}
	for _, r := range all { // they are up when they have signed nobody in
		r.send(t, []string{})
		require.Empty(t, r.wrong(t))
	}
	return fake, all
}

func codes(fake *wecomtest.Fake, n int) (list []string) {
	for range n {
		list = append(list, fake.IssueCode(wecomtest.Grant{Who: "zhangsan"}))
	}
	return list
}

func TestF18_EightProcesses(t *testing.T) {
	fake, all := fleet(t, 8)
	const each = 50
	signIn := func(name string) {
		for _, r := range all {
			r.send(t, codes(fake, each))
		}
		failed := 0
		for _, r := range all {
			wrong := r.wrong(t)
			failed += len(wrong)
			assert.Empty(t, wrong, name)
		}
		t.Logf("%s: %d of %d signed in, %d gettoken", name, len(all)*each-failed, len(all)*each, fake.Calls("gettoken"))
		assert.Equal(t, 1, fake.Calls("gettoken"), name)
		fake.ResetCalls()
	}
	signIn("a cold token")
	fake.KillTokens()
	signIn("a killed token")
	fake.ExpireTokens()
	signIn("an expired token")
}

// The holder of the lock is killed in the middle of its fetch. Others go on within 15
// seconds, and who has a token that is still valid waits for nothing.
func TestF19_HolderKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a lock lasts, 13 seconds")
	}
	fake, all := fleet(t, 3)
	holder, waiter, served := all[0], all[1], all[2]

	served.send(t, codes(fake, 1))
	require.Empty(t, served.wrong(t))
	// The others shall not find its token: as if it had died since.
	rdb := newClient(t, sharedURL(t))
	for _, key := range keysOf(t, rdb, "wecom-test-") {
		require.NoError(t, rdb.Del(t.Context(), key).Err())
	}
	fake.ResetCalls()

	fetching := make(chan struct{})
	fake.Script("gettoken", wecomtest.Fault{OnCall: func(*http.Request) { close(fetching) }, Until: make(chan struct{})})
	holder.send(t, codes(fake, 1))
	<-fetching
	killed := time.Now()
	require.NoError(t, holder.cmd.Process.Kill())
	waiter.send(t, codes(fake, 50))

	served.send(t, codes(fake, 50))
	require.Empty(t, served.wrong(t))
	assert.Less(t, time.Since(killed), 5*time.Second, "a still valid token serves meanwhile")

	require.Empty(t, waiter.wrong(t))
	took := time.Since(killed)
	t.Logf("the others went on after %v", took.Round(10*time.Millisecond))
	assert.Less(t, took, 15*time.Second)
	assert.Greater(t, took, 5*time.Second, "the lock was held")
	assert.Equal(t, 2, fake.Calls("gettoken"), "the killed one's and one more")
}
