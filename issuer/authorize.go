package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
)

const (
	codeLife    = 60 * time.Second
	requestLife = 10 * time.Minute // from leaving for WeCom to coming back
	clockSkew   = 5 * time.Second  // between replicas
)

// A request is an authorization request of a client that is known, with a redirect URI of that client's:
// it may be answered there.
type request struct {
	client      *Client
	redirectURI string
	state       string
	nonce       string
	challenge   string // of PKCE, by S256; "" for none
	scope       string
	prompt      []string
	maxAge      time.Duration // less than 0: any
	hint        string
}

// A refusal is an error of RFC 6749.
type refusal struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (f *refusal) Error() string { return f.Code + ": " + f.Description }

func invalid(description string) *refusal { return &refusal{"invalid_request", description} }

var (
	errClient   = &wecom.Failure{Status: http.StatusBadRequest, Code: "client_unknown"}
	errRedirect = &wecom.Failure{Status: http.StatusBadRequest, Code: "redirect_unknown"}
	errRequest  = &wecom.Failure{Status: http.StatusBadRequest, Code: "bad_request"}
)

// readRequest judges the parameters of an authorization request. If f is not nil, nobody
// may be redirected; else, if refused is not nil, the client is told.
func (s *Issuer) readRequest(q url.Values) (in request, refused *refusal, f *wecom.Failure) {
	if len(q["client_id"]) != 1 {
		return in, nil, errRequest
	}
	if in.client = s.client(q.Get("client_id")); in.client == nil {
		return in, nil, errClient
	}
	if len(q["redirect_uri"]) != 1 || !slices.Contains(in.client.RedirectURIs, q.Get("redirect_uri")) {
		return in, nil, errRedirect
	}
	in.redirectURI = q.Get("redirect_uri")
	if len(q["state"]) == 1 {
		in.state = q.Get("state")
	}
	in.nonce, in.challenge, in.hint, in.maxAge = q.Get("nonce"), q.Get("code_challenge"), q.Get("id_token_hint"), -1
	in.prompt, in.scope = strings.Fields(q.Get("prompt")), in.client.scope(q.Get("scope"))
	return in, in.judge(q), nil
}

func (in *request) judge(q url.Values) *refusal {
	for name, values := range q {
		if len(values) > 1 && slices.Contains(parameters, name) {
			return invalid("a parameter comes twice")
		}
	}
	method := q.Get("code_challenge_method")
	switch {
	case q.Has("request"):
		return &refusal{"request_not_supported", "request objects are not supported"}
	case q.Has("request_uri"):
		return &refusal{"request_uri_not_supported", "request objects are not supported"}
	case q.Has("registration"):
		return &refusal{"registration_not_supported", "registration is not supported"}
	case q.Get("response_type") == "":
		return invalid("response_type is missing")
	case q.Get("response_type") != "code":
		return &refusal{"unsupported_response_type", "only response_type=code is supported"}
	case q.Get("response_mode") != "" && q.Get("response_mode") != "query":
		return invalid("only response_mode=query is supported")
	case !slices.Contains(strings.Fields(in.scope), "openid"):
		return &refusal{"invalid_scope", "the scope openid is missing"}
	case in.challenge == "" && in.client.public():
		return invalid("PKCE is required: code_challenge is missing")
	case in.challenge == "" && method != "":
		return invalid("code_challenge_method without code_challenge")
	case in.challenge != "" && method != "S256":
		return invalid("only code_challenge_method=S256 is supported")
	case in.challenge != "" && (len(in.challenge) != 43 || !isBase64URL(in.challenge)):
		return invalid("code_challenge is not a SHA-256 in base64url")
	case slices.Contains(in.prompt, "none") && len(in.prompt) > 1:
		return invalid("prompt=none stands alone")
	}
	if age := q.Get("max_age"); age != "" {
		n, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return invalid("max_age is no number of seconds")
		}
		in.maxAge = time.Duration(n) * time.Second
	}
	return nil
}

var parameters = []string{
	"state", "nonce", "scope", "response_type", "response_mode", "prompt", "max_age", "id_token_hint", "code_challenge", "code_challenge_method",
}

func isBase64URL(s string) bool {
	return strings.Trim(s, unreserved) == "" && !strings.ContainsAny(s, ".~")
}

// A waiting request is one that does not fit into a return path, or that wants a
// sign-in later than Since. It names nobody.
type waiting struct {
	Query []byte // as a string, its JSON could be six times as long
	Since time.Time
}

// maxWaiting bounds what is put aside in requestLife, in bytes: anybody can ask. Most
// requests are not put aside, and do not notice when it is spent.
const maxWaiting = 32 << 20

// A budget counts what this process put aside.
type budget struct {
	mu    sync.Mutex
	began time.Time
	spent int
}

// spend reports whether there was enough left for n bytes and a row around them.
func (b *budget) spend(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.began) > requestLife {
		b.began, b.spent = now, 0
	}
	b.spent += n + 1<<10
	return b.spent <= maxWaiting
}

// authorize serves the authorization endpoint.
func (s *Issuer) authorize(w http.ResponseWriter, r *http.Request, id wecom.Identity) {
	query, since, f := s.readQuery(w, r)
	if f != nil {
		s.fail(w, r, f)
		return
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		s.fail(w, r, errRequest)
		return
	}
	in, refused, f := s.readRequest(q)
	if f != nil {
		s.fail(w, r, &wecom.Failure{Status: f.Status, Code: f.Code, Err: errors.New("client " + strconv.Quote(shortened(q.Get("client_id"))))})
		return
	}
	if refused != nil {
		s.sendError(w, r, in, refused)
		return
	}
	switch s.next(r.Context(), in, id, since) {
	case signInAgain:
		s.wait(w, r, query, true)
	case signIn:
		s.signIn(w, r, query)
	case refuseLogin:
		s.sendError(w, r, in, &refusal{"login_required", "nobody is signed in as asked"})
	default:
		s.grant(w, r, in, id)
	}
}

// shortened bounds what a client calls itself, for the log.
func shortened(name string) string { return name[:min(len(name), 100)] }

// readQuery returns the parameters, and when the request was put aside, if it was.
func (s *Issuer) readQuery(w http.ResponseWriter, r *http.Request) (query string, since time.Time, f *wecom.Failure) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
		if err != nil || !isForm(r) {
			return "", since, errRequest
		}
		return string(body), since, nil
	}
	if len(r.URL.RawQuery) > maxQuery {
		return "", since, errRequest
	}
	id, ok := strings.CutPrefix(r.URL.RawQuery, "continue=")
	if !ok {
		return r.URL.RawQuery, since, nil
	}
	var kept waiting
	found, err := s.rows.get(r.Context(), requestRow, id, &kept)
	switch {
	case err != nil:
		return "", since, unavailable(err)
	case !found:
		return "", since, errRequest
	}
	return string(kept.Query), kept.Since, nil
}

// A step is what follows a request that is in order.
type step int

const (
	grantCode   step = iota
	signIn           // nobody is signed in
	signInAgain      // somebody is, or not, and must be anew
	refuseLogin
)

// next decides. since is when the request was put aside for a new sign-in.
func (s *Issuer) next(ctx context.Context, in request, id wecom.Identity, since time.Time) step {
	none := slices.Contains(in.prompt, "none")
	fresh := !since.IsZero() && !id.AuthenticatedAt.Before(since.Add(-clockSkew))
	old := slices.Contains(in.prompt, "login") || slices.Contains(in.prompt, "select_account") ||
		in.maxAge >= 0 && time.Since(id.AuthenticatedAt) > in.maxAge
	another := s.meansAnother(ctx, in, id, none)
	switch {
	case none && (id.Key() == "" || old || another):
		return refuseLogin
	case (old || another) && !fresh:
		return signInAgain
	case id.Key() == "":
		return signIn
	case another:
		return refuseLogin
	}
	return grantCode
}

// meansAnother says whether the client asks for somebody else than id. A hint that cannot be
// read, such as one of a key that is gone, counts only if nobody can be asked.
func (s *Issuer) meansAnother(ctx context.Context, in request, id wecom.Identity, none bool) bool {
	if in.hint == "" {
		return false
	}
	hint, err := s.readHint(ctx, in.hint)
	if err != nil {
		return none
	}
	return hint.Subject != id.Key()
}

// signIn lets the middleware sign somebody in and come back.
func (s *Issuer) signIn(w http.ResponseWriter, r *http.Request, query string) {
	here := s.path + "/authorize?" + r.URL.RawQuery
	if r.Method != http.MethodGet || !strings.Contains(s.auth.LoginURL(here), "?") { // too long to come back to
		s.wait(w, r, query, false)
		return
	}
	s.auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		redirect(w, r, here) // signed in a moment ago
	})).ServeHTTP(w, r)
}

// wait puts the request aside and sends the browser to sign in, or to the request's new address.
func (s *Issuer) wait(w http.ResponseWriter, r *http.Request, query string, again bool) {
	if !s.waiting.spend(len(query)) {
		s.fail(w, r, &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "busy", Err: errors.New("too many requests wait for a sign-in")})
		return
	}
	id := rand.Text()
	kept := waiting{Query: []byte(query)}
	if again {
		kept.Since = time.Now()
	}
	if err := s.rows.put(r.Context(), requestRow, id, kept, requestLife); err != nil {
		s.fail(w, r, unavailable(err))
		return
	}
	here := s.path + "/authorize?continue=" + id
	if again {
		here = s.auth.LoginURL(here)
	}
	redirect(w, r, here)
}

// A code is what is kept of an authorization until the client fetches it.
type code struct {
	Client, RedirectURI, Challenge, Nonce, Scope string
	Identity                                     wecom.Identity
	Issued                                       time.Time
}

// grant gives the client a code.
func (s *Issuer) grant(w http.ResponseWriter, r *http.Request, in request, id wecom.Identity) {
	if in.client.Authorize != nil {
		// By the middleware, which knows when departments and tags changed, and logs a cause.
		asked, allowed := &answer{header: http.Header{}}, false
		s.auth.Require(in.client.Authorize)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { allowed = true })).ServeHTTP(asked, r)
		switch {
		case allowed:
		case asked.status == http.StatusServiceUnavailable:
			s.sendError(w, r, in, &refusal{"temporarily_unavailable", "it cannot be told whether this person may sign in"})
			return
		default:
			s.sendError(w, r, in, &refusal{"access_denied", "this person may not use this client"})
			return
		}
	}
	text := secret()
	err := s.rows.put(r.Context(), codeRow, text, code{
		Client: in.client.ID, RedirectURI: in.redirectURI, Challenge: in.challenge, Nonce: in.nonce, Scope: in.scope,
		Identity: id, Issued: time.Now(),
	}, codeLife)
	if err != nil {
		s.refused(r, "temporarily_unavailable", http.StatusServiceUnavailable, err, slog.String("client", in.client.ID))
		s.sendError(w, r, in, &refusal{"temporarily_unavailable", "the store does not answer"})
		return
	}
	s.send(w, r, in, url.Values{"code": {text}})
}

func (s *Issuer) sendError(w http.ResponseWriter, r *http.Request, in request, f *refusal) {
	if _, isHost := s.hosts.Load(in.client.ID); isHost { // its callback would say that the person refused
		shown := errRequest
		if f.Code == "temporarily_unavailable" {
			shown = unavailable(f)
		}
		s.fail(w, r, shown)
		return
	}
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "issuer: the client is told of an error",
		slog.String("client", in.client.ID), slog.String("code", f.Code), slog.String("cause", f.Description))
	s.send(w, r, in, url.Values{"error": {f.Code}, "error_description": {f.Description}})
}

// send answers at the client's redirect URI, which stays as it was registered.
func (s *Issuer) send(w http.ResponseWriter, r *http.Request, in request, answer url.Values) {
	answer.Set("iss", s.url)
	if in.state != "" {
		answer.Set("state", in.state)
	}
	mark := "?"
	if strings.Contains(in.redirectURI, "?") {
		mark = "&"
	}
	redirect(w, r, in.redirectURI+mark+answer.Encode())
}
