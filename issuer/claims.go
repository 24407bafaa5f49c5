package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wecomauth/wecom"
)

// The subject is [wecom.Identity.Key] for every client: it never changes, one person has one in all
// systems of the company, and the user id in it is no secret there. A hash by
// client would hide nothing, since preferred_username tells the same.

// claims returns what the scopes tell about a person. What is not known is left out.
func (s *Issuer) claims(ctx context.Context, id wecom.Identity, scope string) (map[string]any, error) {
	all := map[string]any{"sub": id.Key()}
	put := func(name, value string) {
		if value != "" {
			all[name] = value
		}
	}
	scopes := strings.Fields(scope)
	if slices.Contains(scopes, "profile") {
		put("name", id.Name)
		put("preferred_username", id.UserID)
		put("picture", id.AvatarURL)
	}
	if slices.Contains(scopes, "email") {
		address := s.email(id)
		put("email", address)
		if address != "" && address == id.BizMail {
			all["email_verified"] = true
		}
	}
	if slices.Contains(scopes, "groups") {
		if len(id.Departments) > 0 {
			all["departments"] = id.Departments
		}
		groups, err := s.groups(ctx, id)
		if err != nil {
			return nil, err
		}
		if len(groups) > 0 {
			all["groups"] = groups
		}
	}
	return all, nil
}

func (s *Issuer) idToken(ctx context.Context, client *Client, c code, access string, expires time.Time) (string, error) {
	all, err := s.claims(ctx, c.Identity, c.Scope)
	if err != nil {
		return "", err
	}
	all["iss"] = s.url
	all["aud"] = client.ID
	all["iat"] = time.Now().Unix()
	all["exp"] = expires.Unix()
	all["auth_time"] = c.Identity.AuthenticatedAt.Unix()
	sum := sha256.Sum256([]byte(access))
	all["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if c.Nonce != "" {
		all["nonce"] = c.Nonce
	}
	if client.BackChannelLogoutURI != "" {
		all["sid"] = s.sid(c.Identity)
	}
	return s.keys.sign(ctx, client.Algorithm, "JWT", all)
}

const assertionLife = 5 * time.Minute

// Assertion returns a JWT, valid for five minutes, that tells the program behind a proxy who is
// signed in: what an ID token with all scopes says, and the whole identity in the claim
// identity, for package assertion. audience names that program, by a URL: it can be no
// client's ID, so that no client takes an assertion for an ID token. It is signed with ES256 if
// there is a key for that.
func (s *Issuer) Assertion(ctx context.Context, id wecom.Identity, audience string) (string, error) {
	if !strings.Contains(audience, "://") {
		return "", errors.New("issuer: the audience of an assertion is a URL")
	}
	all, err := s.claims(ctx, id, strings.Join(allScopes, " "))
	if err != nil {
		return "", err
	}
	now := time.Now()
	all["iss"] = s.url
	all["aud"] = audience
	all["iat"] = now.Unix()
	all["exp"] = now.Add(assertionLife).Unix()
	all["auth_time"] = id.AuthenticatedAt.Unix()
	all["jti"] = rand.Text()
	all["identity"] = id
	alg := s.keys.algorithms[0]
	if slices.Contains(s.keys.algorithms, "ES256") {
		alg = "ES256"
	}
	return s.keys.sign(ctx, alg, "JWT", all)
}

// readHint returns the claims of an ID token of ours, expired or not.
func (s *Issuer) readHint(ctx context.Context, hint string) (jwt.Claims, error) {
	var claims jwt.Claims
	token, err := jwt.ParseSigned(hint, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return claims, err
	}
	set, err := s.keys.published(ctx)
	if err != nil {
		return claims, err
	}
	if err := token.Claims(&set, &claims); err != nil {
		return claims, err
	}
	// An assertion is for no client.
	if claims.Issuer != s.url || len(claims.Audience) != 1 || s.client(claims.Audience[0]) == nil || token.Headers[0].ExtraHeaders[jose.HeaderType] != "JWT" {
		return claims, errors.New("issuer: the hint is no ID token of ours")
	}
	return claims, nil
}

// userinfo serves the userinfo endpoint.
func (s *Issuer) userinfo(w http.ResponseWriter, r *http.Request) {
	token, err := s.bearer(r)
	var all map[string]any
	if err == nil {
		all, err = s.claims(r.Context(), token.Identity, token.Scope)
	}
	if err == nil {
		writeJSON(w, r, http.StatusOK, all)
		return
	}
	if !errors.Is(err, errToken) {
		s.fail(w, r, unavailable(err))
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="userinfo", error="invalid_token"`)
	s.refuse(w, r, http.StatusUnauthorized, &refusal{"invalid_token", "the access token is missing, expired, revoked or none"}, "")
}

var errToken = errors.New("issuer: no valid access token")

// bearer returns the access token that the request brings. It is valid as long as the
// session that it stands for would be.
func (s *Issuer) bearer(r *http.Request) (token credential, err error) {
	kind, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	name, sent, _ := strings.Cut(text, ".")
	if !strings.EqualFold(kind, "Bearer") || len(name) != secretLen || len(sent) != secretLen {
		return token, errToken
	}
	found, err := s.rows.get(r.Context(), tokenRow, text, &token)
	if err != nil {
		return token, err
	}
	client := s.client(token.Client)
	if !found || !time.Now().Before(token.Ends) || client == nil {
		return token, errToken
	}
	if ended, err := s.rows.get(r.Context(), endedRow, name, new(bool)); err != nil || ended {
		return token, first(err, errToken)
	}
	token.Scope = client.scope(token.Scope) // what it may have now
	revoked, err := s.auth.Revoked(r.Context(), token.Identity)
	if err == nil && revoked {
		err = errToken
	}
	return token, err
}
