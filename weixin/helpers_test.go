package weixin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
	"github.com/wecomauth/wecom/weixin"
)

const (
	secret    = "CANARY+secret/0123456789=="
	oneAppID  = "wxd930ea5d5a258f4f"
	oneCode   = "CANARYcode041n9EvH0JxR2u2qI9uH0"
	userValue = "CANARY-user-token"
	refresher = "CANARY-refresh-token"
)

// A script is Weixin's API without a network: bodies by path, one after the other and then the last again.
type script struct {
	mu     sync.Mutex
	bodies map[string][]string
	seen   []seen
	header string
}

type seen struct{ method, path, query, body string }

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, seen{r.Method, r.URL.Host + r.URL.Path, r.URL.RawQuery, string(body)})
	list := s.bodies[r.URL.Path]
	if len(list) == 0 {
		return nil, fmt.Errorf("no such path: %s", r.URL.Path)
	}
	if len(list) > 1 {
		s.bodies[r.URL.Path] = list[1:]
	}
	if list[0] == "lost" {
		return nil, io.ErrUnexpectedEOF
	}
	if text, ok := strings.CutPrefix(list[0], "error: "); ok {
		return nil, errors.New(text)
	}
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {s.header}}, Body: io.NopCloser(strings.NewReader(list[0])),
	}, nil
}

func says(bodies map[string][]string) *script {
	return &script{bodies: bodies, header: "text/plain"}
}

func (s *script) count(path string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.seen {
		if strings.HasSuffix(c.path, path) {
			n++
		}
	}
	return n
}

func options(rt http.RoundTripper) weixin.Options {
	return weixin.Options{AppID: oneAppID, Secret: wecom.NewSecret(secret), Transport: rt, Logger: slog.New(slog.DiscardHandler)}
}

func website(t testing.TB, o weixin.Options) *weixin.Website {
	t.Helper()
	w, err := weixin.NewWebsite(o)
	require.NoError(t, err)
	return w
}

func account(t testing.TB, o weixin.Options) *weixin.OfficialAccount {
	t.Helper()
	a, err := weixin.NewOfficialAccount(o)
	require.NoError(t, err)
	return a
}

// fakeOptions are those of one of the fake's apps.
func fakeOptions(f *wecomtest.Fake, app wecomtest.WeixinApp) weixin.Options {
	return weixin.Options{AppID: app.AppID, Secret: wecom.NewSecret(app.Secret), Transport: f.Transport(), Logger: slog.New(slog.DiscardHandler)}
}

// A memoryStore is a TokenStore for several sources of one process.
type memoryStore struct {
	mu     sync.Mutex
	tokens map[string]wecom.Token
}

func (s *memoryStore) Load(_ context.Context, key string) (wecom.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[key], nil
}

func (s *memoryStore) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := fn(ctx, s.tokens[key])
	if err != nil {
		return wecom.Token{}, err
	}
	if s.tokens == nil {
		s.tokens = map[string]wecom.Token{}
	}
	s.tokens[key] = t
	return t, nil
}
