package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
)

// secretLen is the length of what [secret] returns: 256 bits in base64url.
const secretLen = 43

func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// An access token is "REST.SECRET": REST is the hash of the code that it was given for, so that
// the code, when it comes a second time, leads to it.
type accessToken struct {
	Client   string
	Secret   string // its hash
	Scope    string
	Identity wecom.Identity
	Expires  time.Time
}

// token serves the token endpoint.
func (s *Issuer) token(w http.ResponseWriter, r *http.Request) {
	form, f := readForm(w, r)
	if f != nil {
		s.refuse(w, r, http.StatusBadRequest, f, "")
		return
	}
	client, f := s.authenticate(r, form)
	if f != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		s.refuse(w, r, http.StatusUnauthorized, f, form.Get("client_id"))
		return
	}
	if form.Get("grant_type") != "authorization_code" {
		s.refuse(w, r, http.StatusBadRequest, &refusal{"unsupported_grant_type", "only grant_type=authorization_code is supported"}, client.ID)
		return
	}
	answer, err := s.redeem(r.Context(), client, form)
	switch {
	case errors.As(err, &f):
		s.refuse(w, r, http.StatusBadRequest, f, client.ID)
	case err != nil:
		s.refused(r, "temporarily_unavailable", http.StatusServiceUnavailable, err, slog.String("client", client.ID))
		w.Header().Set("Retry-After", "5")
		writeJSON(w, r, http.StatusServiceUnavailable, &refusal{"temporarily_unavailable", "the store does not answer"})
	default:
		writeJSON(w, r, http.StatusOK, answer)
	}
}

func (s *Issuer) refuse(w http.ResponseWriter, r *http.Request, status int, f *refusal, client string) {
	s.refused(r, f.Code, status, errors.New(f.Description), slog.String("client", shortened(client)))
	writeJSON(w, r, status, f)
}

// readForm returns the parameters of a body, each of which comes once at most.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, invalid("the body is too long, or broke off")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !isForm(r) {
		return nil, invalid("the body is no application/x-www-form-urlencoded")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, invalid("a parameter comes twice")
		}
	}
	return form, nil
}

func isForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// authenticate returns the client that proved who it is. A public one cannot; it proves
// by PKCE that it is the one that asked.
func (s *Issuer) authenticate(r *http.Request, form url.Values) (*Client, *refusal) {
	wrong := &refusal{"invalid_client", "client_id or client_secret is wrong, or is given in two ways"}
	id, sent := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		user, err := url.QueryUnescape(user)
		if err != nil || sent != "" || id != "" && id != user {
			return nil, wrong
		}
		if plain, err := url.QueryUnescape(password); err == nil {
			password = plain
		}
		id, sent = user, password
	} else if r.Header.Get("Authorization") != "" {
		return nil, wrong
	}
	client := s.client(id)
	sum := sha256.Sum256([]byte(sent))
	switch {
	case client == nil, client.public() != (sent == ""):
		return nil, wrong
	case !client.public() && !equal(client.SecretSHA256, hex.EncodeToString(sum[:])):
		return nil, wrong
	}
	return client, nil
}

// redeem gives tokens for a code, once.
func (s *Issuer) redeem(ctx context.Context, client *Client, form url.Values) (any, error) {
	wrong := func(description string) error { return &refusal{"invalid_grant", description} }
	text := form.Get("code")
	if len(text) != secretLen {
		return nil, wrong("the code is none")
	}
	var c code
	found, err := s.rows.get(ctx, codeRow, text, &c)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, first(s.replayed(ctx, client, text), wrong("the code is used, expired or none"))
	}
	switch {
	case c.Client != client.ID:
		return nil, wrong("the code is another client's")
	case c.RedirectURI != form.Get("redirect_uri"):
		return nil, wrong("redirect_uri is not that of the authorization request")
	case !c.verifiedBy(form.Get("code_verifier")):
		return nil, wrong("code_verifier does not fit code_challenge")
	case time.Since(c.Issued) > codeLife:
		return nil, wrong("the code has expired")
	}
	expires := time.Now().Add(s.tokenLife)
	if ends := c.Identity.AuthenticatedAt.Add(s.lifetime); ends.Before(expires) {
		expires = ends
	}
	revoked, err := s.auth.Revoked(ctx, c.Identity)
	switch {
	case err != nil:
		return nil, err
	case revoked || !expires.After(time.Now()):
		return nil, wrong("the session has ended")
	}
	if found, err = s.rows.take(ctx, codeRow, text, &c); err != nil || !found {
		return nil, first(err, s.replayed(ctx, client, text), wrong("the code is used"))
	}

	c.Scope = client.scope(c.Scope) // what it may have now
	sent := secret()
	rest := hash(text)
	life := time.Until(expires)
	err = s.rows.put(ctx, tokenRow, rest, accessToken{client.ID, hash(sent), c.Scope, c.Identity, expires}, life)
	if err != nil {
		return nil, err
	}
	// Who brings the code again writes that down and then deletes the token, which was there
	// by then or is deleted here.
	var again bool
	if _, err = s.rows.get(ctx, replayedRow, text, &again); err != nil || again {
		return nil, first(err, s.rows.drop(ctx, tokenRow, rest), wrong("the code came twice"))
	}
	access := rest + "." + sent
	idToken, err := s.idToken(ctx, client, c, access, expires)
	if err != nil {
		return nil, err
	}
	return struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		IDToken     string `json:"id_token"`
		Scope       string `json:"scope"`
	}{access, "Bearer", int(life / time.Second), idToken, c.Scope}, nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// replayed ends what was given for a code that comes again: one of those who had it should
// not have had it.
func (s *Issuer) replayed(ctx context.Context, client *Client, text string) error {
	var given accessToken
	found, err := s.rows.get(ctx, tokenRow, hash(text), &given)
	if err != nil || found && given.Client != client.ID {
		return err
	}
	if err := s.rows.put(ctx, replayedRow, text, true, codeLife); err != nil {
		return err
	}
	return s.rows.drop(ctx, tokenRow, hash(text))
}

// verifiedBy says whether verifier is what the request's challenge was made of. A verifier
// for a code without one means that somebody took the challenge out of the request.
func (c *code) verifiedBy(verifier string) bool {
	if c.Challenge == "" || verifier == "" {
		return c.Challenge == verifier
	}
	return len(verifier) >= 43 && len(verifier) <= 128 && strings.Trim(verifier, unreserved) == "" && equal(hash(verifier), c.Challenge)
}
