package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
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
func (s *Issuer) claims(ctx context.Context, id wecom.Identity, scope string) map[string]any {
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
		address, verified := s.address(id)
		put("email", address)
		if verified {
			all["email_verified"] = true
		}
	}
	if slices.Contains(scopes, "groups") && s.groups != nil {
		groups, err := s.groups(ctx, id)
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "issuer: the groups of a person cannot be told", slog.String("cause", err.Error()))
		}
		if err == nil && len(groups) > 0 {
			all["groups"] = groups
		}
	}
	return all
}

var fields = strings.NewReplacer("{biz_mail}", "", "{user_id}", "")

// address returns the address that the first rule gives whose fields are known. A user id may
// hold an @: what comes out must be one address all the same.
func (s *Issuer) address(id wecom.Identity) (address string, verified bool) {
	for _, rule := range s.email {
		if strings.Contains(rule, "{biz_mail}") && id.BizMail == "" || strings.Contains(rule, "{user_id}") && id.UserID == "" {
			continue
		}
		address = strings.NewReplacer("{biz_mail}", id.BizMail, "{user_id}", strings.ToLower(id.UserID)).Replace(rule)
		local, host, _ := strings.Cut(address, "@")
		if local != "" && host != "" && !strings.ContainsAny(host, "@") && !strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			return address, rule == "{biz_mail}"
		}
	}
	return "", false
}

func (s *Issuer) idToken(ctx context.Context, client *Client, c code, access string, expires time.Time) (string, error) {
	all := s.claims(ctx, c.Identity, c.Scope)
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
	return s.keys.sign(ctx, client.Algorithm, all)
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
	if claims.Issuer != s.url || len(claims.Audience) != 1 {
		return claims, errors.New("issuer: the hint is no ID token of ours")
	}
	return claims, nil
}

// userinfo serves the userinfo endpoint.
func (s *Issuer) userinfo(w http.ResponseWriter, r *http.Request) {
	token, err := s.bearer(r)
	if err == nil {
		writeJSON(w, r, http.StatusOK, s.claims(r.Context(), token.Identity, token.Scope))
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
func (s *Issuer) bearer(r *http.Request) (token accessToken, err error) {
	kind, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	rest, sent, _ := strings.Cut(text, ".")
	if !strings.EqualFold(kind, "Bearer") || len(rest) != secretLen || len(sent) != secretLen {
		return token, errToken
	}
	found, err := s.rows.get(r.Context(), tokenRow, rest, &token)
	if err != nil {
		return token, err
	}
	if !found || !equal(token.Secret, hash(sent)) || !time.Now().Before(token.Expires) || s.client(token.Client) == nil {
		return token, errToken
	}
	revoked, err := s.auth.Revoked(r.Context(), token.Identity)
	if err == nil && revoked {
		err = errToken
	}
	return token, err
}
