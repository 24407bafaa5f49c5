// Package assertion lets a Go program behind wecom-gateway know who is signed in, by the
// signed header X-Wecom-Assertion. Nobody on the network can forge that, unlike the
// gateway's other headers.
//
//	verifier, err := assertion.New(assertion.Options{
//		Issuer:   "https://wiki.example.com/wecom",
//		Audience: "https://wiki.example.com",
//	})
//	…
//	http.ListenAndServe(addr, verifier.Handler(mux))
//
// Handlers find the person by [wecom.FromContext], as behind a [wecom.Middleware]: the same
// program runs with a middleware of its own or behind the gateway. An assertion is valid for five
// minutes and is not bound to the request: the program MUST NOT log it or hand it on.
package assertion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wecomauth/wecom"
)

const (
	// Header holds the assertion.
	Header = "X-Wecom-Assertion"

	maxAssertion = 16 << 10
	maxKeys      = 64 << 10
	fetchTimeout = 5 * time.Second
	keysKnown    = 5 * time.Minute  // then they are fetched again, in the background
	keysTried    = 10 * time.Second // between two fetches, whatever keys assertions name
	leeway       = 30 * time.Second // between the clocks of gateway and program
)

// Options says everything about a [Verifier]. Only keyed literals compile.
type Options struct {
	_ [0]func()

	// Issuer is the gateway's issuer identifier: its CallbackURL without the last element,
	// such as https://wiki.example.com/wecom.
	Issuer string
	// Audience names this program: WECOM_ASSERTION_AUDIENCE of the gateway.
	Audience string
	// KeysURL is where the gateway publishes its keys. Default: Issuer + "/keys".
	KeysURL string
	// DangerouslyAllowHTTP accepts a KeysURL with http outside loopback: everybody on the
	// network path to the gateway can then sign in as anybody.
	DangerouslyAllowHTTP bool
	// Transport fetches the keys. Default: one of its own.
	Transport http.RoundTripper
	// Logger gets causes, and no assertion. Default: slog.Default().
	Logger *slog.Logger
}

// A Verifier verifies assertions. Make one with [New] and share it: it is safe for
// concurrent use. The zero Verifier lets nobody in.
type Verifier struct {
	issuer, audience, keysURL string
	client                    *http.Client
	log                       *slog.Logger

	mu       sync.Mutex
	keys     *jose.JSONWebKeySet
	fetched  time.Time
	tried    time.Time
	fetching chan struct{} // closed when the fetch that runs has ended; nil: none
}

// New returns a Verifier, or every mistake that it finds in o. It does no I/O.
func New(o Options) (*Verifier, error) {
	v := &Verifier{issuer: o.Issuer, audience: o.Audience, keysURL: o.KeysURL, log: o.Logger}
	var errs []error
	if u, err := url.Parse(o.Issuer); err != nil || u.Host == "" {
		errs = append(errs, errors.New("assertion: Issuer: want a URL such as https://wiki.example.com/wecom"))
	}
	if o.Audience == "" {
		errs = append(errs, errors.New("assertion: Audience: missing"))
	}
	if v.keysURL == "" {
		v.keysURL = o.Issuer + "/keys"
	}
	if u, err := url.Parse(v.keysURL); err != nil || u.Scheme != "https" && !(u.Scheme == "http" && (o.DangerouslyAllowHTTP || isLoopback(u.Hostname()))) {
		errs = append(errs, errors.New("assertion: KeysURL: want https, unless on loopback or with DangerouslyAllowHTTP"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: fetchTimeout, IdleConnTimeout: time.Minute}
	}
	v.client = &http.Client{
		Transport: o.Transport, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return v, nil
}

func (v *Verifier) logger() *slog.Logger {
	if v.log == nil {
		return slog.Default()
	}
	return v.log
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Handler returns a handler that calls next with the identity of the request's assertion in
// its context. A request without a valid one gets 401: it did not come through the gateway.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := v.read(r)
		var away *keysError
		switch {
		case errors.As(err, &away):
			v.logger().LogAttrs(r.Context(), slog.LevelError, "assertion: the gateway's keys cannot be fetched", slog.String("cause", err.Error()))
			w.Header().Set("Retry-After", "10")
			(&wecom.Failure{Status: http.StatusServiceUnavailable, Code: "busy", Err: err}).ServeHTTP(w, r)
		case err != nil:
			v.logger().LogAttrs(r.Context(), slog.LevelWarn, "assertion: request refused", slog.String("cause", err.Error()))
			(&wecom.Failure{Status: http.StatusUnauthorized, Code: "login_required", Err: err}).ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r.WithContext(wecom.NewContext(r.Context(), id)))
		}
	})
}

func (v *Verifier) read(r *http.Request) (wecom.Identity, error) {
	sent := r.Header[Header]
	if len(sent) != 1 || sent[0] == "" {
		return wecom.Identity{}, fmt.Errorf("assertion: %d headers %s: want one", len(sent), Header)
	}
	return v.Verify(r.Context(), sent[0])
}

// Verify returns whom the assertion names. An error names nobody, and holds nothing of the
// assertion. It may fetch the gateway's keys, for at most five seconds.
func (v *Verifier) Verify(ctx context.Context, assertion string) (wecom.Identity, error) {
	if v.client == nil {
		return wecom.Identity{}, errors.New("assertion: this Verifier was not made by New")
	}
	if len(assertion) > maxAssertion {
		return wecom.Identity{}, errors.New("assertion: too long")
	}
	token, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil || len(token.Headers) != 1 {
		return wecom.Identity{}, errors.New("assertion: no JWT that ES256 or RS256 signs")
	}
	key, err := v.key(ctx, token.Headers[0].KeyID, token.Headers[0].Algorithm)
	if err != nil {
		return wecom.Identity{}, err
	}
	var claims struct {
		jwt.Claims
		Identity wecom.Identity `json:"identity"`
	}
	if err := token.Claims(key, &claims); err != nil {
		return wecom.Identity{}, errors.New("assertion: the signature is wrong")
	}
	err = claims.ValidateWithLeeway(jwt.Expected{Issuer: v.issuer, AnyAudience: jwt.Audience{v.audience}}, leeway)
	switch {
	case err != nil:
		return wecom.Identity{}, fmt.Errorf("assertion: %w", err)
	case claims.Expiry == nil || claims.IssuedAt == nil:
		return wecom.Identity{}, errors.New("assertion: it has no end")
	case claims.Subject == "" || claims.Subject != claims.Identity.Key():
		return wecom.Identity{}, errors.New("assertion: it names nobody")
	}
	return claims.Identity, nil
}

// A keysError says that the gateway's keys are not known.
type keysError struct{ err error }

func (e *keysError) Error() string { return "assertion: keys: " + e.err.Error() }
func (e *keysError) Unwrap() error { return e.err }

// key returns the public key of that id. Keys that the assertion brings along do not count.
func (v *Verifier) key(ctx context.Context, id, alg string) (any, error) {
	for {
		v.mu.Lock()
		known, wait := v.keys, v.fetching
		now := time.Now()
		key := find(known, id, alg)
		if wait == nil && now.Sub(v.tried) >= keysTried && (key == nil || now.Sub(v.fetched) >= keysKnown) {
			wait = make(chan struct{})
			v.fetching, v.tried = wait, now
			go v.fetch(context.WithoutCancel(ctx), wait)
		}
		v.mu.Unlock()
		switch {
		case key != nil:
			return key, nil
		case wait == nil && known == nil:
			return nil, &keysError{errors.New("they could not be fetched a moment ago")}
		case wait == nil:
			return nil, errors.New("assertion: the gateway has no such key")
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, &keysError{ctx.Err()}
		}
	}
}

func find(keys *jose.JSONWebKeySet, id, alg string) any {
	if keys == nil {
		return nil
	}
	for _, k := range keys.Key(id) {
		if k.Algorithm == alg && k.IsPublic() && k.Valid() {
			return k.Key
		}
	}
	return nil
}

// fetch fetches the keys. If that fails, those that are known stay.
func (v *Verifier) fetch(ctx context.Context, done chan struct{}) {
	keys, err := v.get(ctx)
	v.mu.Lock()
	if err == nil {
		v.keys, v.fetched = keys, time.Now()
	}
	v.fetching = nil
	v.mu.Unlock()
	close(done)
	if err != nil {
		v.logger().LogAttrs(ctx, slog.LevelWarn, "assertion: the gateway's keys were not fetched", slog.String("cause", err.Error()))
	}
}

func (v *Verifier) get(ctx context.Context) (*jose.JSONWebKeySet, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.keysURL, nil)
	if err != nil {
		return nil, err
	}
	res, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", v.keysURL, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxKeys))
	if err != nil {
		return nil, err
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, fmt.Errorf("%s answers no keys: %w", v.keysURL, err)
	}
	return &keys, nil
}
