package tokenserver_test

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/wecomtest"
)

// S1, a token keeper that every other service asks: one process has the secret
// and fetches; the others use WeCom's API without ever seeing it.
func TestCentralServerWithASubServiceThatNeverSeesTheSecret(t *testing.T) {
	fake := wecomtest.New()
	weCom, err := fake.Start("")
	require.NoError(t, err)
	defer weCom.Close()

	// The central process.
	keeper, err := wecom.NewClient(wecom.Options{
		CorpID: fake.CorpID(), AgentID: fake.AgentID(), Secret: wecom.NewSecret(fake.Secret()),
		Endpoints: wecom.Endpoints{API: weCom.URL()},
	})
	require.NoError(t, err)
	config := tokenserver.Config{Apps: map[string]wecom.TokenSource{"portal": keeper}, Logger: quiet}
	names := []string{"billing", "calendar", "reports"}
	keys := map[string]wecom.Secret{}
	for _, name := range names {
		key, sum := tokenserver.GenerateKey()
		keys[name] = key
		config.Clients = append(config.Clients, tokenserver.Client{Name: name, KeySHA256: sum, Apps: []string{"portal"}})
	}
	srv, err := tokenserver.New(config)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/token", srv)
	central := httptest.NewServer(mux)
	defer central.Close()

	// The services. All that comes over their wires is kept.
	var wire recorder
	var services []*wecom.Client
	for _, name := range names {
		src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: central.URL + "/token", App: "portal", Key: keys[name], Transport: &wire})
		require.NoError(t, err)
		service, err := wecom.NewClient(wecom.Options{
			CorpID: fake.CorpID(), TokenSource: src, Endpoints: wecom.Endpoints{API: weCom.URL()}, Transport: &wire,
		})
		require.NoError(t, err)
		services = append(services, service)
	}
	work := func() {
		var group sync.WaitGroup
		for _, service := range services {
			for range 50 {
				group.Go(func() {
					var member struct{ Name string }
					err := service.Call(t.Context(), http.MethodGet, "user/get", url.Values{"userid": {"zhangsan"}}, nil, &member)
					assert.NoError(t, err)
					assert.Equal(t, "张三", member.Name)
				})
			}
		}
		group.Wait()
	}
	work()
	assert.Equal(t, 1, fake.Calls("gettoken"), "one fetch for all")

	fake.KillTokens()
	work()
	assert.Equal(t, 2, fake.Calls("gettoken"), "one more for a killed token")

	seen := wire.String()
	assert.Contains(t, seen, "zhangsan")
	assert.NotContains(t, seen, fake.Secret())
	assert.NotContains(t, seen, "corpsecret")
	for _, key := range keys {
		assert.NotContains(t, wire.urls(), key.Reveal())
	}

	// A service that is taken off the list is out.
	config.Clients = config.Clients[1:]
	srv, err = tokenserver.New(config)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, ask(srv, keys["billing"].Reveal(), portal).Status)
	assert.Equal(t, http.StatusOK, ask(srv, keys["calendar"].Reveal(), portal).Status)
}

// A recorder keeps requests and answers as they are on the wire.
type recorder struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	lines bytes.Buffer
}

func (c *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	sent, err := httputil.DumpRequestOut(r, true)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := httputil.DumpResponse(resp, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes.Write(sent)
	c.bytes.Write(got)
	c.lines.WriteString(r.URL.String() + "\n")
	return resp, err
}

func (c *recorder) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes.String()
}

func (c *recorder) urls() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines.String()
}
