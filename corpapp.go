package wecom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/lookup"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	maxCode = 512 // bytes of a code: WeCom's limit
)

// A corpApp is the default [Provider]: one app of one corp, self-built (自建) or
// built on the corp's behalf (代开发).
type corpApp struct {
	client *Client
	o      Options // valid, with their defaults

	departments lookup.Memory[struct{}, map[int64]string] // their names, for Profile
}

// App names the corp and the agent.
func (p *corpApp) App() App { return p.client.app }

// AuthorizeURL picks one of the two pages, unless the request names one.
func (p *corpApp) AuthorizeURL(req AuthorizeRequest) string {
	if req.Page == PageInApp || req.Page == PageAuto && p.inApp(req.UserAgent) {
		return p.inAppURL(req)
	}
	return p.webURL(req)
}

// The addresses are built by hand: WeCom matches parts of them literally, so
// that the parameters keep the documented order and #wechat_redirect stays last.

func (p *corpApp) inAppURL(req AuthorizeRequest) string {
	app := p.App()
	address := p.o.Endpoints.Authorize +
		"?appid=" + url.QueryEscape(app.CorpID) +
		"&redirect_uri=" + url.QueryEscape(req.RedirectURI) +
		"&response_type=code" +
		"&scope=" + url.QueryEscape(p.o.Scope) +
		"&state=" + url.QueryEscape(req.State)
	if app.AppID != "" {
		address += "&agentid=" + url.QueryEscape(app.AppID)
	}
	return address + "#wechat_redirect"
}

func (p *corpApp) webURL(req AuthorizeRequest) string {
	app := p.App()
	address := p.o.Endpoints.WebLogin +
		"?login_type=CorpApp" +
		"&appid=" + url.QueryEscape(app.CorpID) +
		"&agentid=" + url.QueryEscape(app.AppID) +
		"&redirect_uri=" + url.QueryEscape(req.RedirectURI) +
		"&state=" + url.QueryEscape(req.State)
	if req.Language != "" {
		address += "&lang=" + url.QueryEscape(req.Language)
	}
	return address
}

// inApp reports whether the browser is sent to the in-app page. WeCom's own
// web-view names Weixin (MicroMessenger) too, so wxwork/ is what tells it.
func (p *corpApp) inApp(userAgent string) bool {
	switch p.o.Page {
	case PageInApp:
		return true
	case PageWeb:
		return false
	}
	userAgent = strings.ToLower(userAgent)
	return strings.Contains(userAgent, "wxwork/") ||
		p.o.Page == PageWeixin && strings.Contains(userAgent, "micromessenger")
}

// Identify exchanges the code at auth/getuserinfo and, with Options.Profile,
// looks the member up.
func (p *corpApp) Identify(ctx context.Context, code string) (Identity, error) {
	_, answer, err := p.client.try(ctx, http.MethodGet, "auth/getuserinfo", url.Values{"code": {code}}, nil)
	var noToken *tokenError // then the code was not sent, or is not used up
	if !errors.As(err, &noToken) && (errcode.ClassOf(err) == errcode.Code || upstream.Lost(err)) {
		err = fmt.Errorf("%w: %w", ErrStartOver, err)
	}
	if err != nil {
		return Identity{}, err
	}
	id, err := p.identity(answer)
	if err != nil {
		return id, err
	}
	id.DeviceID = word(answer, "DeviceId")
	id.Provider, id.CorpID, id.AppID = p.App().Provider, p.App().CorpID, p.App().AppID
	if p.o.Profile && id.UserID != "" {
		err = p.fillProfile(ctx, &id, ticketOf(answer))
	}
	return id, err
}

// ticketOf reads the user_ticket of a sign-in, the zero Secret if there is none.
// It stays within the sign-in: it is neither kept nor shown to anybody.
func ticketOf(answer jsonx.Object) Secret {
	ticket, _, err := answer.String("user_ticket")
	if err != nil || len(ticket) > maxCode {
		return Secret{}
	}
	return NewSecret(ticket)
}

// identity reads who it is from an answer of auth/getuserinfo, or of the older
// user/getuserinfo, which spells the keys differently. Somebody who is refused is
// returned with the error.
func (p *corpApp) identity(answer jsonx.Object) (Identity, error) {
	userID, err := idOf(answer, "userid", "UserId", "userId")
	openID, openErr := idOf(answer, "openid", "OpenId", "openId")
	externalID, externalErr := idOf(answer, "external_userid")
	corp, linked, slash := strings.Cut(userID, "/")
	switch {
	case errors.Join(err, openErr, externalErr) != nil:
		return Identity{}, unreadable("auth/getuserinfo", errors.Join(err, openErr, externalErr))
	case slash && (corp == "" || linked == "" || strings.Contains(linked, "/")):
		return Identity{}, unreadable("auth/getuserinfo", errors.New("the user id has misplaced slashes"))
	case len(corp) > maxID || len(linked) > maxID || len(openID) > maxID || len(externalID) > maxID:
		return Identity{}, unreadable("auth/getuserinfo", fmt.Errorf("an id is longer than %d bytes", maxID))
	case slash && !p.o.AllowLinkedCorps:
		return Identity{LinkedUserID: userID}, newFailure("linked_corp",
			errors.New("a member of a linked corp signed in, and Options.AllowLinkedCorps is not set"))
	case slash:
		return Identity{LinkedUserID: userID}, nil
	case userID != "":
		return Identity{UserID: userID}, nil
	case openID == "" && externalID == "":
		return Identity{}, unreadable("auth/getuserinfo", errors.New("it names nobody"))
	case !p.o.AllowOutsiders:
		// WeCom answers with errcode 0 for anybody who has Weixin.
		return Identity{OpenID: openID, ExternalUserID: externalID}, newFailure("outsider",
			errors.New("somebody signed in who is no member of the corp, and Options.AllowOutsiders is not set"))
	}
	return Identity{OpenID: openID, ExternalUserID: externalID}, nil
}

// Recheck looks the member up. A member who left (60111, status 5), was disabled
// (status 2) or is outside the app's visible range (60011) may not stay signed in.
// Only members can be looked up; everyone else stays signed in.
func (p *corpApp) Recheck(ctx context.Context, id Identity) (bool, error) {
	if id.UserID == "" {
		return true, nil
	}
	member, err := p.client.User(ctx, id.UserID)
	if errcode.ClassOf(err) == errcode.Denied {
		return false, nil
	}
	return member.Status != memberDisabled && member.Status != memberLeft, err
}

const (
	memberDisabled = 2
	memberLeft     = 5
)
