package miniprogram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

// A provider exchanges js_codes.
type provider struct {
	client *wecom.Client
	app    wecom.App
}

func (p *provider) App() wecom.App                    { return p.app }
func (p *provider) Client() *wecom.Client             { return p.client }
func (p *provider) AuthorizeURL(wecom.Attempt) string { return "" } // there is no page
func (p *provider) Check(ctx context.Context) error   { return p.client.Check(ctx) }

const maxID = 64

// Identify exchanges the code at miniprogram/jscode2session. The session_key, with which data of
// the mini-program can be decrypted, is dropped.
func (p *provider) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	if _, err := p.client.Token(ctx); err != nil {
		return wecom.Identity{}, err // the code was not sent, and a fresh one mends nothing
	}
	var text json.RawMessage
	query := url.Values{"js_code": {code}, "grant_type": {"authorization_code"}}
	err := p.client.Call(ctx, http.MethodGet, "miniprogram/jscode2session", query, nil, &text)
	if errcode.ClassOf(err) == errcode.Code || upstream.Lost(err) {
		err = fmt.Errorf("%w: %w", wecom.ErrStartOver, err)
	}
	if err != nil {
		return wecom.Identity{}, err
	}
	answer, err := jsonx.ParseObject(text)
	if err != nil {
		return wecom.Identity{}, err
	}
	corpID, _, wrong := answer.String("corpid")
	userID, _, err := answer.String("userid")
	id := wecom.Identity{Provider: p.app.Provider, CorpID: p.app.CorpID, AppID: p.app.AppID, UserID: userID}
	switch {
	case errors.Join(err, wrong) != nil || userID == "" || len(userID) > maxID || strings.ContainsFunc(userID, func(r rune) bool {
		return r == '/' || r == ' ' || r == unicode.ReplacementChar || !unicode.IsPrint(r)
	}):
		return wecom.Identity{}, errors.New("miniprogram: jscode2session names no member")
	case corpID != p.app.CorpID:
		return id, &wecom.Failure{Code: "outsider", Status: http.StatusForbidden, Err: errors.New("miniprogram: a member of another corp signed in")}
	}
	return id, nil
}

// Recheck looks the member up: one who left, was disabled or is outside the app's visible
// range may not stay signed in.
func (p *provider) Recheck(ctx context.Context, id wecom.Identity) (bool, error) {
	const disabled, left = 2, 5
	member, err := p.client.User(ctx, id.UserID)
	if errcode.ClassOf(err) == errcode.Denied {
		return false, nil
	}
	return member.Status != disabled && member.Status != left, err
}
