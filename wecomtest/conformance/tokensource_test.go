package conformance_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

type fetchFunc = func(context.Context) (wecom.Token, error)

func TestTokenSource(t *testing.T) {
	conformance.TokenSource(t, func(_ *testing.T, fetch fetchFunc) wecom.TokenSource {
		return newSource(fetch)
	})
}

func newSource(fetch fetchFunc) wecom.TokenSource {
	return wecom.NewTokenSource("key", nil, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) { return fetch(ctx) })
}

// A source is one of wecom's own, but for what is replaced.
type source struct {
	wecom.TokenSource
	token      func(context.Context) (wecom.Token, error)
	invalidate func(wecom.Token)
}

func (s *source) Token(ctx context.Context) (wecom.Token, error) {
	if s.token != nil {
		return s.token(ctx)
	}
	return s.TokenSource.Token(ctx)
}

func (s *source) Invalidate(rejected wecom.Token) {
	if s.invalidate != nil {
		s.invalidate(rejected)
		return
	}
	s.TokenSource.Invalidate(rejected)
}

// cache is a source in twelve lines, as one finds it: what is wrong with it is up to its users.
type cache struct {
	mu    sync.Mutex
	fetch fetchFunc
	held  wecom.Token
	err   error
}

func (c *cache) Token(ctx context.Context) (wecom.Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held.Value.Reveal() == "" {
		c.held, c.err = c.fetch(ctx)
	}
	return c.held, c.err
}

func (c *cache) Invalidate(rejected wecom.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held.Value.Reveal() == rejected.Value.Reveal() {
		c.held = wecom.Token{}
	}
}

var faults = map[string]func(s *source, fetch fetchFunc){
	"none":                    func(*source, fetchFunc) {},
	"no cache":                func(s *source, fetch fetchFunc) { s.token = fetch },
	"fetches when it is made": func(_ *source, fetch fetchFunc) { _, _ = fetch(context.Background()) },
	"the first caller's context": func(s *source, fetch fetchFunc) {
		s.TokenSource = &cache{fetch: fetch}
	},
	"callers cannot leave": func(s *source, fetch fetchFunc) {
		s.TokenSource = &cache{fetch: func(ctx context.Context) (wecom.Token, error) { return fetch(context.WithoutCancel(ctx)) }}
	},
	"no expiry": func(s *source, _ fetchFunc) {
		s.token = func(ctx context.Context) (wecom.Token, error) {
			tok, err := s.TokenSource.Token(ctx)
			tok.Expires = time.Time{}
			return tok, err
		}
	},
	"a failure for ever": func(s *source, fetch fetchFunc) {
		var mu sync.Mutex
		var failed error
		s.token = func(ctx context.Context) (wecom.Token, error) {
			tok, err := s.TokenSource.Token(ctx)
			mu.Lock()
			defer mu.Unlock()
			failed = cmp.Or(failed, err)
			if failed != nil {
				return wecom.Token{}, failed
			}
			return tok, nil
		}
	},
	"a token beside an error": func(s *source, _ fetchFunc) {
		s.token = func(ctx context.Context) (wecom.Token, error) {
			tok, err := s.TokenSource.Token(ctx)
			if err != nil {
				tok.Value = wecom.NewSecret("x")
			}
			return tok, err
		}
	},
	"a hidden failure": func(s *source, _ fetchFunc) {
		s.token = func(ctx context.Context) (wecom.Token, error) {
			tok, _ := s.TokenSource.Token(ctx)
			return tok, nil
		}
	},
	"deaf to reports": func(s *source, _ fetchFunc) { s.invalidate = func(wecom.Token) {} },
	"no comparison": func(s *source, _ fetchFunc) {
		s.invalidate = func(wecom.Token) {
			if tok, err := s.TokenSource.Token(context.Background()); err == nil {
				s.TokenSource.Invalidate(tok)
			}
		}
	},
	"a report fetches": func(s *source, _ fetchFunc) {
		s.invalidate = func(rejected wecom.Token) {
			s.TokenSource.Invalidate(rejected)
			_, _ = s.TokenSource.Token(context.Background())
		}
	},
	"a goroutine for ever": func(*source, fetchFunc) { go func() { select {} }() },
}

const faultVariable = "CONFORMANCE_TEST_FAULT"

// What is wrong must be found: each fault runs in a process of its own.
func TestTokenSourceFindsFaults(t *testing.T) {
	for fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaultySource$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"=fault: "+fault)
			out, err := cmd.CombinedOutput()
			if fault == "none" {
				assert.NoError(t, err, "%s", out)
				return
			}
			assert.Error(t, err, "the suite found nothing wrong")
			assert.Contains(t, string(out), "--- FAIL: TestFaultySource")
			assert.NotContains(t, string(out), "panic: ")
		})
	}
}

func TestFaultySource(t *testing.T) {
	fault, ok := strings.CutPrefix(os.Getenv(faultVariable), "fault: ")
	if !ok {
		t.Skip("run by TestTokenSourceFindsFaults")
	}
	conformance.TokenSource(t, func(_ *testing.T, fetch fetchFunc) wecom.TokenSource {
		s := &source{TokenSource: newSource(fetch)}
		faults[fault](s, fetch)
		return s
	})
}
