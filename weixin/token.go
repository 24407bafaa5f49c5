package weixin

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/tokenkey"
	"github.com/wecomauth/wecom/internal/upstream"
)

// Weixin replaces a stable token on demand 20 times a day, 30 seconds apart.
const (
	forcedADay  = 20
	forcedApart = 30 * time.Second
)

// newTokenSource returns the source of an official account's token. The two kinds of token are
// independent, and so are their keys in the store.
func newTokenSource(a *app) wecom.TokenSource {
	kind, fetch := "stable", (&stableToken{app: a}).fetch
	if a.o.ClassicToken {
		kind, fetch = "classic", a.fetchClassic
	}
	return wecom.NewTokenSource(tokenkey.Of(errcode.Weixin, kind, a.o.AppID, a.o.Secret.Reveal()), a.o.TokenStore, fetch)
}

// fetchClassic asks cgi-bin/token, which invalidates the previous token at once or within five
// minutes. Processes that still use that one are refused, and then find the new one in the store.
func (a *app) fetchClassic(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
	return a.fetch(ctx, http.MethodGet, "token", url.Values{
		"grant_type": {"client_credential"}, "appid": {a.o.AppID}, "secret": {a.o.Secret.Reveal()},
	}, nil)
}

// A stableToken asks cgi-bin/stable_token, which returns the same token to every process.
type stableToken struct {
	app    *app
	mu     sync.Mutex
	forced []time.Time // of the last day, oldest first
}

// fetch forces a new token only if Weixin still returns the one that it refused.
func (s *stableToken) fetch(ctx context.Context, rejected wecom.Token) (wecom.Token, error) {
	token, err := s.ask(ctx, false)
	if err != nil || rejected.Value.Reveal() == "" || token.Value.Reveal() != rejected.Value.Reveal() || !s.mayForce() {
		return token, err
	}
	fresh, err := s.ask(ctx, true)
	if errcode.ClassOf(err) == errcode.Limited {
		return token, nil // other processes have used up the day's replacements
	}
	return fresh, err
}

func (s *stableToken) ask(ctx context.Context, force bool) (wecom.Token, error) {
	return s.app.fetch(ctx, http.MethodPost, "stable_token", nil, struct {
		GrantType string `json:"grant_type"`
		AppID     string `json:"appid"`
		Secret    string `json:"secret"`
		Force     bool   `json:"force_refresh,omitempty"`
	}{"client_credential", s.app.o.AppID, s.app.o.Secret.Reveal(), force})
}

// mayForce reports whether this process may force a new token, within Weixin's limits.
func (s *stableToken) mayForce() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.forced) > 0 && now.Sub(s.forced[0]) >= 24*time.Hour {
		s.forced = s.forced[1:]
	}
	n := len(s.forced)
	if n >= forcedADay || n > 0 && now.Sub(s.forced[n-1]) < forcedApart {
		return false
	}
	s.forced = append(s.forced, now)
	return true
}

func (a *app) fetch(ctx context.Context, method, op string, query url.Values, body any) (wecom.Token, error) {
	// From the request's start and not from the answer: a token must not be
	// thought to live longer than it does.
	start := time.Now()
	answer, err := a.call(ctx, wecom.Secret{}, method, op, query, body)
	if err != nil {
		return wecom.Token{}, err
	}
	value, life, err := upstream.ReadToken(answer, "access_token")
	if err != nil {
		return wecom.Token{}, unreadable(op, err)
	}
	return wecom.Token{Value: wecom.NewSecret(value), Expires: start.Add(life)}, nil
}
