package miniprogram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// A provider exchanges js_codes.
type provider struct {
	client            *wecom.Client
	app               wecom.App
	profile, required bool
	log               *slog.Logger
}

func (p *provider) App() wecom.App                             { return p.app }
func (p *provider) Client() *wecom.Client                      { return p.client }
func (p *provider) AuthorizeURL(wecom.AuthorizeRequest) string { return "" } // there is no page
func (p *provider) Check(ctx context.Context) error            { return p.client.Check(ctx) }

const maxID = 64

// Identify exchanges the code at miniprogram/jscode2session. The session_key, with which data of
// the mini-program can be decrypted, is dropped.
func (p *provider) Identify(ctx context.Context, code string) (wecom.Identity, error) {
	if _, err := p.client.Token(ctx); err != nil {
		return wecom.Identity{}, err // the code was not sent, and a fresh one would not help
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
	case p.profile:
		return id, p.fillProfile(ctx, &id)
	}
	return id, nil
}

// fillProfile adds to id what WeCom tells of the member. An error is a reason to end the sign-in.
func (p *provider) fillProfile(ctx context.Context, id *wecom.Identity) error {
	if deadline, ok := ctx.Deadline(); ok { // Authorize and the session's row come after it
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	m, err := p.client.User(ctx, id.UserID)
	if err != nil && !p.required {
		p.log.LogAttrs(ctx, slog.LevelWarn, "miniprogram: a member signs in without their profile", slog.String("cause", err.Error()))
		return nil
	}
	id.Name, id.BizMail, id.Email, id.Mobile, id.AvatarURL, id.Departments = m.Name, m.BizMail, m.Email, m.Mobile, m.AvatarURL, m.Departments
	return err
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
