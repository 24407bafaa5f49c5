package weixin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	maxCode = 512 // bytes
	maxID   = 64  // bytes of an openid or a unionid

	// profileTime leaves the rest of a sign-in's ten seconds to what comes after the profile.
	profileTime = 3 * time.Second
)

// An app is what a website and an official account have in common. It is immutable.
type app struct {
	id        string
	secret    wecom.Secret
	api       string // base URLs without a slash at the end
	pages     string
	profile   bool
	onToken   func(context.Context, wecom.Identity, UserToken)
	transport http.RoundTripper
	log       *slog.Logger
}

func (a *app) app() wecom.App {
	if a == nil {
		return wecom.App{Provider: errcode.Weixin}
	}
	return wecom.App{Provider: errcode.Weixin, AppID: a.id}
}

// authorizeURL is built by hand: Weixin compares parts of it literally, so that
// the parameters keep the documented order and #wechat_redirect stays last.
func (a *app) authorizeURL(path, scope string, at wecom.Attempt, more string) string {
	if a == nil {
		return ""
	}
	return a.pages + path +
		"?appid=" + url.QueryEscape(a.id) +
		"&redirect_uri=" + url.QueryEscape(at.RedirectURI) +
		"&response_type=code" +
		"&scope=" + scope +
		"&state=" + url.QueryEscape(at.State) +
		more + "#wechat_redirect"
}

func (a *app) identify(ctx context.Context, code string) (wecom.Identity, error) {
	token, err := a.exchange(ctx, code)
	if err != nil {
		return wecom.Identity{}, signInError(err)
	}
	id := wecom.Identity{Provider: errcode.Weixin, AppID: a.id, OpenID: token.OpenID, UnionID: token.UnionID}
	if token.Snapshot {
		return id, &wecom.Failure{Status: http.StatusForbidden, Code: "snapshot_user",
			Err: errors.New("the page was opened in Weixin's snapshot mode (快照页), whose users are not real")}
	}
	if a.profile {
		a.fillProfile(ctx, &id, token)
	}
	if a.onToken != nil {
		a.onToken(ctx, id, token)
	}
	return id, nil
}

func (a *app) fillProfile(ctx context.Context, id *wecom.Identity, token UserToken) {
	ctx, cancel := context.WithTimeout(ctx, profileTime)
	defer cancel()
	user, err := a.userInfo(ctx, token)
	if err != nil {
		a.log.WarnContext(ctx, "weixin: signing in without the profile", "error", err)
		return
	}
	id.Name, id.AvatarURL = user.Name, user.AvatarURL
	if id.UnionID == "" {
		id.UnionID = user.UnionID
	}
}

var errZero = errors.New("weixin: this app was not made by NewWebsite, NewOfficialAccount or NewClient")

// A request is one operation of Weixin's API that takes no access token of an account.
type request struct {
	method string
	folder string // "/" or "/cgi-bin/"
	op     string // as an APIError names it
	query  url.Values
	body   []byte
}

// call makes the exchange and repeats it while Weixin is busy.
func (a *app) call(ctx context.Context, r request) (jsonx.Object, error) {
	if a == nil {
		return nil, errZero
	}
	hide := append(upstream.Hidden{a.secret.Reveal()}, upstream.Confidential(r.query, r.body)...)
	address := a.api + r.folder + r.op
	if r.query != nil {
		address += "?" + r.query.Encode()
	}
	for tries := 1; ; tries++ {
		text, err := upstream.Do(ctx, a.transport, upstream.Request{Method: r.method, URL: address, Body: r.body, Hide: hide})
		if err != nil {
			return nil, fmt.Errorf("weixin: %s: %w", r.op, err)
		}
		answer, err := upstream.ReadAnswer(text, hide)
		if err != nil {
			return nil, unreadable(r.op, err)
		}
		if answer.Code == 0 {
			return answer.Object, nil
		}
		if errcode.Of(errcode.Weixin, r.op, answer.Code).Class == errcode.Busy && tries < upstream.BusyTries && upstream.Pause(ctx, tries) {
			continue
		}
		return nil, &wecom.APIError{Provider: errcode.Weixin, Op: r.op, Code: answer.Code, Hint: answer.Hint}
	}
}

// unreadable says that an answer with status 200 is none of Weixin's.
func unreadable(op string, err error) error {
	return fmt.Errorf("weixin: %s: the answer is not one of Weixin's: %w", op, upstream.Unreadable(err))
}

// classOf returns the class of the APIError in err's chain, if there is one.
func classOf(err error) errcode.Class {
	var e *wecom.APIError
	if !errors.As(err, &e) {
		return errcode.Unknown
	}
	return errcode.Of(e.Provider, e.Op, e.Code).Class
}

// unanswered says that nobody knows what became of the code.
func unanswered(err error) bool {
	var failed *upstream.Error
	return errors.As(err, &failed) && failed.Sent()
}

// signInError says what an error of the exchange means to the person who signs in.
func signInError(err error) error {
	if errors.Is(err, wecom.ErrStartOver) {
		return err
	}
	switch classOf(err) {
	case errcode.Setup:
		return &wecom.Failure{Status: http.StatusInternalServerError, Code: "setup_fault", Err: err}
	case errcode.Limited:
		return &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "busy", Err: err}
	case errcode.Denied:
		return &wecom.Failure{Status: http.StatusForbidden, Code: "not_allowed", Err: err}
	}
	return &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "wecom_unavailable", Err: err}
}
