package tokenserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/jsonx"
)

const (
	maxBody = 4 << 10
	maxName = 128 // bytes of a client's or an app's name

	// maxWait is how long a request waits for a fetch: a little less than a Source waits for the
	// answer, so that the Source learns why there is none.
	maxWait = 4 * time.Second

	// reportPause is the shortest time between two fetches that reports cause.
	reportPause = time.Minute

	maxRetryAfter     = time.Minute // asking this server is cheap, unlike asking WeCom
	defaultRetryAfter = 2 * time.Second

	// assumedLife is the lifetime of a token whose source does not say when it expires.
	assumedLife = time.Minute
)

// A Config says which tokens a [Server] hands out, and to whom.
type Config struct {
	// Apps are the sources of the tokens, by the names under which clients ask for them: up to
	// 128 bytes without control characters. A [wecom.Client] is a source; give it a
	// wecom.Options.TokenStore, or every restart fetches.
	Apps map[string]wecom.TokenSource
	// Clients are the services that may ask.
	Clients []Client
	// Logger gets one line for each request, with the client's name, the app and the outcome,
	// and never a key or a token. Default: slog.Default().
	Logger *slog.Logger
}

// A Client is a service that may ask for tokens. To change its key, list it twice for a while,
// once with each key.
type Client struct {
	// Name names it in the log, up to 128 bytes without control characters.
	Name string
	// KeySHA256 is the SHA-256 of its key in hex; see [GenerateKey].
	KeySHA256 string
	// Apps are the names of the apps whose tokens it may have.
	Apps []string
}

// A Server hands out access tokens: see the package comment. Use [New]; the zero Server refuses
// every request. It is safe for concurrent use, ignores the request's path, and starts no
// goroutine.
type Server struct {
	apps    map[string]*app
	clients []client
	log     *slog.Logger
}

type client struct {
	name string
	key  [sha256.Size]byte
	apps []string
}

// New returns the server for c, or an error that lists every mistake in c (see [errors.Join]). It
// copies c, but not the sources, and does no I/O.
func New(c Config) (*Server, error) {
	s := &Server{apps: map[string]*app{}, log: c.Logger}
	var wrong config.Mistakes
	if len(c.Apps) == 0 {
		wrong.Add("Apps is empty: there is nothing to hand out")
	}
	for name, source := range c.Apps {
		if !isName(name) {
			wrong.Add("Apps: the name %.140q: want 1 to %d bytes without control characters", name, maxName)
		}
		if source == nil {
			wrong.Add("Apps[%q] is nil", name)
		}
		s.apps[name] = &app{source: source}
	}
	if len(c.Clients) == 0 {
		wrong.Add("Clients is empty: there is nobody to hand anything to")
	}
	for i, in := range c.Clients {
		out := client{name: in.Name, apps: slices.Clone(in.Apps)}
		if !isName(in.Name) {
			wrong.Add("Clients[%d].Name: want 1 to %d bytes without control characters", i, maxName)
		}
		// The value is not shown: it may be the key itself, by mistake.
		key, err := hex.DecodeString(in.KeySHA256)
		if err != nil || copy(out.key[:], key) != sha256.Size || len(key) != sha256.Size {
			wrong.Add("Clients[%d].KeySHA256: want the SHA-256 of the key, 64 hex digits", i)
		} else if slices.ContainsFunc(s.clients, func(other client) bool { return other.key == out.key }) {
			wrong.Add("Clients[%d].KeySHA256 is an earlier client's, too: every client needs a key of its own", i)
		}
		if len(in.Apps) == 0 {
			wrong.Add("Clients[%d].Apps is empty: it names the apps whose tokens the client may have", i)
		}
		for _, name := range in.Apps {
			if c.Apps[name] == nil {
				wrong.Add("Clients[%d].Apps: there is no app %.140q", i, name)
			}
		}
		s.clients = append(s.clients, out)
	}
	if err := wrong.Err("tokenserver: this configuration"); err != nil {
		return nil, err
	}
	return s, nil
}

func isName(s string) bool {
	return 1 <= len(s) && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

// ServeHTTP answers one request as the package comment says.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.answer(w, r)

	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/json")
	status := http.StatusOK
	var body any = struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}{a.token.Reveal(), int64(a.life / time.Second)}
	if refused, ok := refusals[a.outcome]; ok {
		status = refused.status
		body = struct {
			Error   string `json:"error"`
			Message string `json:"message"`
		}{a.outcome, refused.message}
	}
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(pauseOf(a.err).Seconds()))))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
	s.logAnswer(r, a, status)
}

// refusals are the codes of the protocol.
var refusals = map[string]struct {
	status  int
	message string
}{
	"query_not_allowed": {http.StatusBadRequest,
		"Nothing may stand in the URL's query, since URLs end up in logs. A key that was sent there must be replaced."},
	"method_not_allowed":     {http.StatusMethodNotAllowed, "Use POST."},
	"unauthorized":           {http.StatusUnauthorized, "The key is missing or unknown."},
	"unsupported_media_type": {http.StatusUnsupportedMediaType, "Use Content-Type: application/json."},
	"too_large":              {http.StatusRequestEntityTooLarge, "The body has more than 4096 bytes."},
	"bad_request": {http.StatusBadRequest,
		`The body must be an object with "app" and perhaps "rejected_sha256", 64 lower-case hex digits.`},
	"app_not_allowed": {http.StatusForbidden, "There is no such app, or not for this client."},
	"unavailable":     {http.StatusServiceUnavailable, "There is no token at the moment."},
}

// An answer is what a request leads to.
type answer struct {
	outcome     string // one of refusals, or what was done
	token       wecom.Secret
	life        time.Duration
	client, app string // "" until known
	err         error  // for the log
}

// answer decides. It spends nothing but one hash on a client that is not known.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) answer {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return answer{outcome: "query_not_allowed"}
	}
	if r.Method != http.MethodPost {
		return answer{outcome: "method_not_allowed"}
	}
	c := s.authenticate(r)
	if c == nil {
		return answer{outcome: "unauthorized"}
	}
	a := s.answerClient(w, r, c)
	a.client = c.name
	return a
}

func (s *Server) authenticate(r *http.Request) *client {
	header := r.Header.Values("Authorization")
	if len(header) != 1 {
		return nil
	}
	scheme, key, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || len(key) < minKey || len(key) > maxKey {
		return nil
	}
	sum := sha256.Sum256([]byte(key))
	var found *client
	for i := range s.clients {
		if subtle.ConstantTimeCompare(sum[:], s.clients[i].key[:]) == 1 {
			found = &s.clients[i]
		}
	}
	return found
}

func (s *Server) answerClient(w http.ResponseWriter, r *http.Request, c *client) answer {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return answer{outcome: "unsupported_media_type"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if errors.As(err, new(*http.MaxBytesError)) {
		return answer{outcome: "too_large"}
	}
	name, rejected, ok := parse(body)
	if err != nil || !ok {
		return answer{outcome: "bad_request"}
	}
	wanted := s.apps[name]
	if wanted == nil { // the name may be anything, even the key
		return answer{outcome: "app_not_allowed"}
	}
	if !slices.Contains(c.apps, name) {
		return answer{outcome: "app_not_allowed", app: name}
	}

	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	token, outcome, err := wanted.token(ctx, rejected)
	life := time.Until(token.Expires)
	if token.Expires.IsZero() {
		life = assumedLife
	}
	switch {
	case err == nil && token.Value.Reveal() == "":
		err = errors.New("the source returned neither a token nor an error")
	case err == nil && life < time.Second:
		err = errors.New("the source returned an expired token")
	}
	if err != nil {
		return answer{outcome: "unavailable", app: name, err: err}
	}
	return answer{outcome: outcome, token: token.Value, life: life, app: name}
}

// parse reads a request's body.
func parse(body []byte) (app, rejected string, ok bool) {
	o, err := jsonx.ParseObject(body)
	if err != nil {
		return "", "", false
	}
	app, _, err = o.String("app")
	if err != nil || app == "" {
		return "", "", false
	}
	rejected, present, err := o.String("rejected_sha256")
	if err != nil || present && !isHexSHA256(rejected) {
		return "", "", false
	}
	return app, rejected, true
}

func isHexSHA256(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// An app is one source, and limits the fetches that reports about its tokens cause.
type app struct {
	source wecom.TokenSource

	mu         sync.Mutex
	acted      bool
	lastReport time.Time   // that had an effect
	reported   wecom.Token // the zero Token once the source has another
}

// token returns the current token and what was done about the report, if there is one. A client
// that reports holds the current token, so comparing the two limits nothing: a service that
// reports endlessly must not make us fetch endlessly.
func (a *app) token(ctx context.Context, rejected string) (wecom.Token, string, error) {
	t, err := a.source.Token(ctx)
	if t, ok := a.doubted(t, err, rejected); ok {
		return t, "reported_token_served", nil
	}
	if err != nil || rejected == "" {
		return t, "token", err
	}
	if hexSHA256(t.Value.Reveal()) != rejected {
		return t, "token_newer_than_reported", nil
	}
	outcome := a.report(t)
	// Even if this report had no effect: another one about the same token may just have had one.
	next, err := a.source.Token(ctx)
	if err == nil && hexSHA256(next.Value.Reveal()) != rejected {
		outcome = "token_renewed"
	}
	return next, outcome, err
}

// doubted returns the reported token while the source has no other, for clients that did not
// report it: the report may be false.
func (a *app) doubted(t wecom.Token, err error, rejected string) (reported wecom.Token, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		if t.Value.Reveal() != a.reported.Value.Reveal() {
			a.reported = wecom.Token{}
		}
		return wecom.Token{}, false
	}
	value := a.reported.Value.Reveal()
	return a.reported, value != "" && hexSHA256(value) != rejected && time.Until(a.reported.Expires) >= time.Second
}

func (a *app) report(t wecom.Token) (outcome string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acted && time.Since(a.lastReport) < reportPause {
		return "report_passed_over"
	}
	a.acted, a.lastReport, a.reported = true, time.Now(), t
	if t.Expires.IsZero() {
		a.reported.Expires = time.Now().Add(assumedLife)
	}
	a.source.Invalidate(t) // does no I/O
	return "report_had_no_effect"
}

func (s *Server) logAnswer(r *http.Request, a answer, status int) {
	level := slog.LevelInfo
	if status != http.StatusOK || strings.HasPrefix(a.outcome, "report") {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.Int("status", status), slog.String("outcome", a.outcome), slog.String("remote", r.RemoteAddr)}
	if a.client != "" {
		attrs = append(attrs, slog.String("client", a.client))
	}
	if a.app != "" {
		attrs = append(attrs, slog.String("app", a.app))
	}
	if a.err != nil {
		attrs = append(attrs, slog.Any("error", a.err))
	}
	cmp.Or(s.log, slog.Default()).LogAttrs(r.Context(), level, "wecom: token server", attrs...)
}

// pauseOf returns the pause that err asks for, a minute at most. The method is not ours and may
// panic.
func pauseOf(err error) (pause time.Duration) {
	defer func() {
		if recover() != nil {
			pause = defaultRetryAfter
		}
	}()
	var e interface{ RetryAfter() time.Duration }
	if errors.As(err, &e) && e.RetryAfter() > 0 {
		return min(e.RetryAfter(), maxRetryAfter)
	}
	return defaultRetryAfter
}
