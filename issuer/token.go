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
	"slices"
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

// A grant is what a code gave, and is named by the code's hash. Its access and refresh tokens
// are "GRANT.SECRET".
//
// Rows of grants and tokens are written once and never deleted: a store's client that repeats a write
// whose answer was lost, or a write that arrives late, could bring a deleted row back. So one row more
// ends a grant, not one less.
type grant struct {
	Client string
	Ends   time.Time // no token of it is valid for longer
}

// A credential is what an access token or a refresh token stands for.
type credential struct {
	Client, Scope string
	Identity      wecom.Identity
	Ends          time.Time
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
	var answer any
	var err error
	switch form.Get("grant_type") {
	case "authorization_code":
		answer, err = s.redeem(r.Context(), client, form)
	case "refresh_token":
		answer, err = s.refresh(r.Context(), client, form)
	default:
		err = &refusal{"unsupported_grant_type", "only grant_type=authorization_code and refresh_token are supported"}
	}
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

func wrongGrant(description string) error { return &refusal{"invalid_grant", description} }

// redeem gives tokens for a code, once.
func (s *Issuer) redeem(ctx context.Context, client *Client, form url.Values) (any, error) {
	text := form.Get("code")
	c, err := s.findCode(ctx, client, text, form.Get("redirect_uri"), form.Get("code_verifier"))
	if err != nil {
		return nil, err
	}
	c.Scope = client.scope(c.Scope) // what it may have now
	given := grant{client.ID, c.Issued.Add(codeLife + s.tokenLife)}
	var renewable time.Time
	if slices.Contains(strings.Fields(c.Scope), offlineAccess) {
		renewable = c.Identity.AuthenticatedAt.Add(client.OfflineAccess)
		if renewable.After(given.Ends) {
			given.Ends = renewable
		}
	}
	if err = s.rows.put(ctx, grantRow, hash(text), given, time.Until(given.Ends)); err != nil {
		return nil, err
	}
	answer, err := s.give(ctx, client, hash(text), c, s.ends(c.Identity), renewable)
	if err != nil {
		return nil, err
	}
	// The code goes last. Until then nobody knows the tokens, so the client may repeat a request that
	// failed; and who finds no code finds the grant.
	return answer, s.takeCode(ctx, client, text)
}

// findCode returns what a code of the client's stands for.
func (s *Issuer) findCode(ctx context.Context, client *Client, text, redirectURI, verifier string) (c code, err error) {
	if len(text) != secretLen {
		return c, wrongGrant("the code is none")
	}
	found, err := s.rows.get(ctx, codeRow, text, &c)
	if err != nil {
		return c, err
	}
	if !found {
		return c, first(s.end(ctx, client, hash(text)), wrongGrant("the code is used, expired or none"))
	}
	switch {
	case c.Client != client.ID:
		return c, wrongGrant("the code is another client's")
	case c.RedirectURI != redirectURI:
		return c, wrongGrant("redirect_uri is not that of the authorization request")
	case !c.verifiedBy(verifier):
		return c, wrongGrant("code_verifier does not fit code_challenge")
	case time.Since(c.Issued) > codeLife:
		return c, wrongGrant("the code has expired")
	}
	if !s.ends(c.Identity).After(time.Now()) {
		return c, errEnded
	}
	return c, s.alive(ctx, client, c.Identity)
}

// ends returns when a session ends.
func (s *Issuer) ends(id wecom.Identity) time.Time { return id.AuthenticatedAt.Add(s.lifetime) }

// takeCode takes a code that was found, for one caller alone.
func (s *Issuer) takeCode(ctx context.Context, client *Client, text string) error {
	found, err := s.rows.take(ctx, codeRow, text, &code{})
	if err != nil || !found {
		return first(err, s.end(ctx, client, hash(text)), wrongGrant("the code is used"))
	}
	return nil
}

// refresh gives new tokens for a refresh token, once. As with a code, that goes last. The person is
// asked for as at a sign-in: may they use this client, now?
func (s *Issuer) refresh(ctx context.Context, client *Client, form url.Values) (any, error) {
	text := form.Get("refresh_token")
	name, sent, _ := strings.Cut(text, ".")
	if len(name) != secretLen || len(sent) != secretLen {
		return nil, wrongGrant("the refresh token is none")
	}
	var c credential
	found, err := s.rows.get(ctx, refreshRow, text, &c)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, first(s.end(ctx, client, name), wrongGrant("the refresh token is used, expired or none"))
	}
	ended, err := s.rows.get(ctx, endedRow, name, new(bool))
	ends := earlier(c.Ends, c.Identity.AuthenticatedAt.Add(client.OfflineAccess)) // what it may have now
	switch {
	case err != nil:
		return nil, err
	case c.Client != client.ID:
		return nil, wrongGrant("the refresh token is another client's")
	case ended:
		return nil, wrongGrant("a code or refresh token of this sign-in came twice")
	case !ends.After(time.Now()):
		return nil, wrongGrant("the refresh token has expired")
	}
	if err := s.alive(ctx, client, c.Identity); err != nil {
		return nil, err
	}
	if client.Authorize != nil {
		if ok, err := client.Authorize(ctx, s.auth.Client(), c.Identity); err != nil || !ok {
			return nil, first(err, wrongGrant("this person may not use this client"))
		}
	}
	answer, err := s.give(ctx, client, name, code{Scope: client.scope(c.Scope), Identity: c.Identity}, ends, ends)
	if err != nil {
		return nil, err
	}
	if found, err = s.rows.take(ctx, refreshRow, text, &credential{}); err != nil || !found {
		return nil, first(err, s.end(ctx, client, name), wrongGrant("the refresh token is used"))
	}
	return answer, nil
}

var errEnded = wrongGrant("the session has ended")

// alive returns nil if the session of id was not revoked. The client is told if it is from now on.
func (s *Issuer) alive(ctx context.Context, client *Client, id wecom.Identity) error {
	if err := s.remember(ctx, client, id); err != nil {
		return err
	}
	revoked, err := s.auth.Revoked(ctx, id)
	if err == nil && revoked {
		err = errEnded
	}
	return err
}

// give makes tokens that are valid until ends at most, and a refresh token that is valid until
// renewable, if that is to come.
func (s *Issuer) give(ctx context.Context, client *Client, grant string, c code, ends, renewable time.Time) (any, error) {
	expires := earlier(time.Now().Add(s.tokenLife), ends)
	access, life := grant+"."+secret(), time.Until(expires)
	idToken, err := s.idToken(ctx, client, c, access, expires)
	if err != nil {
		return nil, err
	}
	if err := s.rows.put(ctx, tokenRow, access, credential{client.ID, c.Scope, c.Identity, expires}, life); err != nil {
		return nil, err
	}
	var refresh string
	if renewable.After(time.Now()) {
		refresh = grant + "." + secret()
		if err := s.rows.put(ctx, refreshRow, refresh, credential{client.ID, c.Scope, c.Identity, renewable}, time.Until(renewable)); err != nil {
			return nil, err
		}
	}
	return struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int    `json:"expires_in"`
		IDToken      string `json:"id_token"`
		RefreshToken string `json:"refresh_token,omitempty"`
		Scope        string `json:"scope"`
	}{access, "Bearer", int(life / time.Second), idToken, refresh, c.Scope}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
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

// end ends a grant of the client's, if there is such a grant: what works once came twice, so one of
// those who had it should not have had it.
func (s *Issuer) end(ctx context.Context, client *Client, name string) error {
	var g grant
	found, err := s.rows.get(ctx, grantRow, name, &g)
	if err != nil || !found || g.Client != client.ID || !time.Now().Before(g.Ends) {
		return err
	}
	return s.rows.put(ctx, endedRow, name, true, time.Until(g.Ends))
}

// verifiedBy says whether verifier is what the request's challenge was made of. A verifier
// for a code without one means that somebody took the challenge out of the request.
func (c *code) verifiedBy(verifier string) bool {
	if c.Challenge == "" || verifier == "" {
		return c.Challenge == verifier
	}
	return len(verifier) >= 43 && len(verifier) <= 128 && strings.Trim(verifier, unreserved) == "" && equal(hash(verifier), c.Challenge)
}
