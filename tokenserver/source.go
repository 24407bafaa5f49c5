package tokenserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	// A wecom.TokenSource keeps every token for at least a minute. One with less time left would
	// be used after it has expired. The server hands out such a token only while it fetches
	// the next one.
	minLife    = time.Minute
	minLifeAsk = 3 // times, a second apart

	// dyingPause is the pause after these tries.
	dyingPause = 5 * time.Second

	// refusedPause is the pause after a refusal that lasts until a person changes something.
	refusedPause = time.Minute
)

// A SourceConfig says where a [Source] gets its tokens. All fields except Transport are required.
type SourceConfig struct {
	// URL is the server's: https, or http to a loopback address; without user,
	// query and fragment.
	URL string
	// App is the name under which the server knows the app.
	App string
	// Key is this client's key: 32 to 512 printable ASCII characters without blanks.
	Key wecom.Secret
	// Transport makes the calls and decides about TLS and proxies. It sees the key. Default: one
	// of our own, with verified TLS and the environment's proxy.
	Transport http.RoundTripper
}

// A Source is a [wecom.TokenSource] that asks a [Server], with the cache, the shared fetch and the
// pauses of [wecom.NewTokenSource]. A call takes at most 5 seconds, reads at most 1 MiB and follows
// no redirect; no error shows the key or a token. A report to Invalidate is sent to the server with
// the next call.
//
// Use [NewSource]; the zero Source has no token. It is safe for concurrent use and starts no
// goroutine before its first use.
type Source struct{ tokens wecom.TokenSource }

// NewSource returns a source for c, or an error that lists every mistake in c. It does no I/O.
func NewSource(c SourceConfig) (*Source, error) {
	var wrong config.Mistakes
	wrong.Address("URL", cmp.Or(c.URL, "missing"))
	if !isName(c.App) {
		wrong.Add("App: want 1 to %d bytes without control characters", maxName)
	}
	if key := c.Key.Reveal(); len(key) < minKey || len(key) > maxKey || !upstream.IsToken(key) {
		wrong.Add("Key: want %d to %d printable ASCII characters without blanks, such as GenerateKey returns", minKey, maxKey)
	}
	if err := wrong.Err("tokenserver: this configuration"); err != nil {
		return nil, err
	}
	if c.Transport == nil {
		c.Transport = upstream.NewTransport()
	}
	return &Source{wecom.NewTokenSource("tokenserver:"+c.App, nil, remote(c).fetch)}, nil
}

var errZero = errors.New("tokenserver: no server: use NewSource")

// Token implements [wecom.TokenSource].
func (s *Source) Token(ctx context.Context) (wecom.Token, error) {
	if s.tokens == nil {
		return wecom.Token{}, errZero
	}
	return s.tokens.Token(ctx)
}

// Invalidate implements [wecom.TokenSource].
func (s *Source) Invalidate(rejected wecom.Token) {
	if s.tokens != nil {
		s.tokens.Invalidate(rejected)
	}
}

// A remote makes the calls to a server.
type remote SourceConfig

func (r remote) fetch(ctx context.Context, rejected wecom.Token) (wecom.Token, error) {
	for try := 1; ; try++ {
		t, err := r.ask(ctx, rejected)
		if err != nil {
			return wecom.Token{}, fmt.Errorf("tokenserver: %w", err)
		}
		if time.Until(t.Expires) > minLife-time.Second { // the server counts in seconds
			return t, nil
		}
		if try == minLifeAsk || !upstream.Sleep(ctx, time.Second) {
			return wecom.Token{}, &refusal{text: "tokenserver: the server's token is about to end, and it has no other", wait: dyingPause}
		}
	}
}

// ask makes one call.
func (r remote) ask(ctx context.Context, rejected wecom.Token) (wecom.Token, error) {
	request := struct {
		App      string `json:"app"`
		Rejected string `json:"rejected_sha256,omitempty"`
	}{App: r.App}
	if value := rejected.Value.Reveal(); value != "" {
		request.Rejected = hexSHA256(value)
	}
	body, err := json.Marshal(request)
	if err != nil {
		return wecom.Token{}, err
	}
	start := time.Now() // or the token would be used after it has expired
	text, err := upstream.Do(ctx, r, upstream.Request{
		Method: http.MethodPost, URL: r.URL, Body: body, Hide: upstream.Hidden{r.Key.Reveal(), rejected.Value.Reveal()},
	})
	if err != nil {
		return wecom.Token{}, err
	}
	answer, err := jsonx.ParseObject(text)
	if err != nil {
		return wecom.Token{}, errors.New("the answer is not a token server's")
	}
	value, _, err := answer.String("access_token")
	life, _, lifeErr := answer.Int("expires_in")
	if err != nil || lifeErr != nil || !upstream.IsToken(value) {
		return wecom.Token{}, errors.New("the answer is not a token server's")
	}
	life = min(max(life, 0), maxLife)
	return wecom.Token{Value: wecom.NewSecret(value), Expires: start.Add(time.Duration(life) * time.Second)}, nil
}

const maxLife = 86400 // seconds; NewTokenSource cuts it further

// RoundTrip adds the key to a request, and makes an error of an answer without a token.
func (r remote) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+r.Key.Reveal())
	resp, err := r.Transport.RoundTrip(req)
	if err != nil || resp == nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	return nil, newRefusal(resp)
}

// A refusal is an answer without a token. Asking again within wait is of no use.
type refusal struct {
	text string
	wait time.Duration
}

func (r *refusal) Error() string             { return r.text }
func (r *refusal) RetryAfter() time.Duration { return r.wait }

func newRefusal(resp *http.Response) *refusal {
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized:
		return &refusal{"the server does not know this key", refusedPause}
	case status == http.StatusForbidden:
		return &refusal{"the server has no such app, or not for this key", refusedPause}
	case status == http.StatusServiceUnavailable:
		wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &refusal{"the server has no token at the moment (HTTP status 503)", min(time.Duration(min(max(wait, 0), 3600))*time.Second, maxRetryAfter)}
	case 300 <= status && status < 400:
		return &refusal{fmt.Sprintf("HTTP status %d: redirects are not followed", status), refusedPause}
	case 400 <= status && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests:
		return &refusal{fmt.Sprintf("HTTP status %d: is the URL a token server's?", status), refusedPause}
	default:
		return &refusal{text: fmt.Sprintf("HTTP status %d", status)}
	}
}
