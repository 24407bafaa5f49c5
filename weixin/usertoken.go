package weixin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

// The operations that concern one person's tokens.
const (
	opExchange = "/sns/oauth2/access_token"
	opRefresh  = "/sns/oauth2/refresh_token"
	opUserInfo = "/sns/userinfo"
)

// A UserToken is what Weixin returns for a person's sign-in: tokens with which the program can
// read about this one person. No part of it belongs in a browser. The tokens print as
// [REDACTED]; a program that stores them calls Reveal.
type UserToken struct {
	// AccessToken is valid until Expires, two hours after the sign-in or the last Refresh.
	AccessToken wecom.Secret
	Expires     time.Time
	// RefreshToken is valid for 30 days from the sign-in and cannot be renewed.
	RefreshToken wecom.Secret

	// OpenID names the person in this app.
	OpenID string
	// UnionID names the person in all apps of the same Open Platform account;
	// empty if the app is in none, or if an official account did not ask (see Options.Profile).
	UnionID string
	// Scopes are what the person granted, such as snsapi_login.
	Scopes []string
	// Snapshot reports that the page was opened in snapshot mode: this person does not exist.
	Snapshot bool
}

// A User is what Weixin returns about a person. Recent answers leave place and sex empty.
type User struct {
	OpenID  string `json:"open_id"`
	UnionID string `json:"union_id,omitempty"`
	// Name is the nickname, which the person may change at any time. It is valid UTF-8 without
	// control characters; invalid bytes were replaced.
	Name      string `json:"name"`
	AvatarURL string `json:"avatar_url,omitempty"`
	// Sex is 1 for male, 2 for female, 0 for unknown.
	Sex        int      `json:"sex,omitempty"`
	Country    string   `json:"country,omitempty"`
	Province   string   `json:"province,omitempty"`
	City       string   `json:"city,omitempty"`
	Privileges []string `json:"privileges,omitempty"`
}

// Exchange exchanges the code for the person's tokens (sns/oauth2/access_token), for programs
// without a middleware. The code is sent once, and again only while Weixin answers that it is
// busy, three times in all. If a fresh sign-in can succeed, the error wraps
// [wecom.ErrStartOver]; if Weixin refused, it wraps a *[wecom.APIError].
func (a *app) Exchange(ctx context.Context, code string) (UserToken, error) {
	if a == nil {
		return UserToken{}, errZero
	}
	if len(code) > maxCode || !upstream.IsToken(code) {
		return UserToken{}, fmt.Errorf("%w: the code is not 1 to %d characters of printable ASCII", wecom.ErrStartOver, maxCode)
	}
	token, err := a.userToken(ctx, opExchange, url.Values{
		"appid": {a.o.AppID}, "secret": {a.o.Secret.Reveal()}, "code": {code}, "grant_type": {"authorization_code"},
	})
	if upstream.Lost(err) {
		err = fmt.Errorf("%w: %w", wecom.ErrStartOver, err)
	}
	return token, err
}

// Refresh returns t with a new access token, or with the same one and a new expiry if that is
// still valid (sns/oauth2/refresh_token). An error that wraps [wecom.ErrStartOver] means that the
// refresh token is no longer valid: the person has to sign in again.
func (a *app) Refresh(ctx context.Context, t UserToken) (UserToken, error) {
	if a == nil {
		return UserToken{}, errZero
	}
	fresh, err := a.userToken(ctx, opRefresh, url.Values{
		"appid": {a.o.AppID}, "grant_type": {"refresh_token"}, "refresh_token": {t.RefreshToken.Reveal()},
	})
	switch {
	case err != nil:
		return UserToken{}, err
	case t.OpenID != "" && fresh.OpenID != t.OpenID:
		return UserToken{}, unreadable(opRefresh, errors.New("it is about another person"))
	}
	fresh.UnionID = t.UnionID // this answer has none
	if fresh.RefreshToken.Reveal() == "" {
		fresh.RefreshToken = t.RefreshToken
	}
	return fresh, nil
}

// Validate asks Weixin whether t's access token is still valid (sns/auth). An error means that
// it could not tell.
func (a *app) Validate(ctx context.Context, t UserToken) (bool, error) {
	_, err := a.call(ctx, t.AccessToken, http.MethodGet, "/sns/auth", url.Values{"openid": {t.OpenID}}, nil)
	var refused *wecom.APIError
	if class := errcode.ClassOf(err); class == errcode.Token || class == errcode.Code || errors.As(err, &refused) && refused.Code == badOpenID {
		return false, nil
	}
	return err == nil, err
}

const badOpenID = 40003

// UserInfo asks for the person's name, picture and so on (sns/userinfo). The person of
// an OfficialAccount must have been asked for consent (Options.Profile).
func (a *app) UserInfo(ctx context.Context, t UserToken) (User, error) {
	answer, err := a.call(ctx, t.AccessToken, http.MethodGet, opUserInfo, url.Values{"openid": {t.OpenID}, "lang": {"zh_CN"}}, nil)
	if err != nil {
		return User{}, err
	}
	openID, _, err := answer.String("openid")
	if err == nil && (!isID(openID) || openID != t.OpenID) {
		err = errors.New("it is about another person")
	}
	unionID, err := optionalID(answer, "unionid", err)
	name, nameErr := text(answer, "nickname")
	avatar, _, avatarErr := answer.String("headimgurl")
	if err = errors.Join(err, nameErr, avatarErr); err != nil {
		return User{}, unreadable(opUserInfo, err)
	}
	u := User{OpenID: openID, UnionID: unionID, Name: name, AvatarURL: avatarURL(avatar)}
	// The remaining fields are only shown: a value of the wrong type is left out.
	sex, _, _ := answer.Int("sex")
	u.Sex = int(sex)
	u.Country, _ = text(answer, "country")
	u.Province, _ = text(answer, "province")
	u.City, _ = text(answer, "city")
	u.Privileges, _, _ = answer.Strings("privilege")
	return u, nil
}

// userToken asks for a person's tokens.
func (a *app) userToken(ctx context.Context, op string, query url.Values) (UserToken, error) {
	start := time.Now()
	answer, err := a.call(ctx, wecom.Secret{}, http.MethodGet, op, query, nil)
	if errcode.ClassOf(err) == errcode.Code {
		return UserToken{}, fmt.Errorf("%w: %w", wecom.ErrStartOver, err)
	}
	if err != nil {
		return UserToken{}, err
	}
	value, life, err := upstream.ReadToken(answer, "access_token")
	openID, _, openErr := answer.String("openid")
	if openErr == nil && !isID(openID) {
		openErr = errors.New("there is no openid")
	}
	refresh, _, refreshErr := answer.String("refresh_token")
	if refreshErr == nil && refresh != "" && !upstream.IsToken(refresh) {
		refreshErr = errors.New("the refresh_token is malformed")
	}
	scope, _, scopeErr := answer.String("scope")
	snapshot, _, snapshotErr := answer.Int("is_snapshotuser")
	unionID, err := optionalID(answer, "unionid", errors.Join(err, openErr, refreshErr, scopeErr, snapshotErr))
	if err != nil {
		return UserToken{}, unreadable(op, err)
	}
	return UserToken{
		AccessToken:  wecom.NewSecret(value),
		Expires:      start.Add(life),
		RefreshToken: wecom.NewSecret(refresh),
		OpenID:       openID,
		UnionID:      unionID,
		Scopes:       strings.FieldsFunc(scope, func(r rune) bool { return r == ',' || r == ' ' }),
		Snapshot:     snapshot != 0,
	}, nil
}

// optionalID returns the id under name, "" if there is none, and err joined by
// what is wrong with it.
func optionalID(answer jsonx.Object, name string, err error) (string, error) {
	id, _, wrong := answer.String(name)
	if wrong == nil && id != "" && !isID(id) {
		wrong = fmt.Errorf("%s holds a character that no id has, or too many", name)
	}
	return id, errors.Join(err, wrong)
}

func isID(s string) bool { return len(s) <= maxID && upstream.IsToken(s) }

const (
	maxText = 256  // runes: several times what Weixin lets people enter
	maxURL  = 1024 // bytes
)

// text returns what a person entered, fit to be shown.
func text(answer jsonx.Object, name string) (string, error) {
	s, _, err := answer.String(name)
	if err != nil {
		return "", err
	}
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s))
	return strings.TrimSpace(string(runes[:min(len(runes), maxText)])), nil
}

// avatarURL returns raw if it can be the address of a picture, and "" otherwise.
func avatarURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return raw
}
