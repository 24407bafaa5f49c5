package wecom

import (
	"context"
	"time"
)

// An Identity says who is looking at a page. Exactly one of UserID,
// LinkedUserID, ExternalUserID and OpenID decides who it is, in this order; the
// other fields say more about the same person and may be empty.
//
// It encodes to JSON in snake_case, by the names in the tags. The zero Identity
// is nobody.
type Identity struct {
	// Provider says who vouches for the person: "wecom", or the name that
	// another [Provider] gives itself.
	Provider string `json:"provider"`
	// CorpID is the corp (企业ID) that the person signed in to; empty for
	// providers without one.
	CorpID string `json:"corp_id,omitempty"`
	// AppID is the app that was signed in to: the agent id for WeCom.
	AppID string `json:"app_id,omitempty"`

	// UserID is the member's id in CorpID as WeCom spells it, 1 to 64 bytes.
	// WeCom treats ids that differ only in case as one person: compare by [Identity.Key]. It
	// is never an openid and never holds a slash.
	UserID string `json:"user_id,omitempty"`
	// LinkedUserID is "Corp/userid" of a member of a linked corp (互联企业) or of
	// an upstream or downstream one (上下游).
	LinkedUserID string `json:"linked_user_id,omitempty"`
	// OpenID names somebody who is no member; unique per corp or per app.
	OpenID string `json:"open_id,omitempty"`
	// ExternalUserID names a customer (外部联系人) of the corp.
	ExternalUserID string `json:"external_user_id,omitempty"`
	// UnionID is one person's id across the apps of one Weixin Open Platform account.
	UnionID string `json:"union_id,omitempty"`

	Name string `json:"name,omitempty"`
	// BizMail is the mailbox that the corp gives: match people by this one.
	BizMail string `json:"biz_mail,omitempty"`
	// Email may be edited by the member: show it, do not match by it.
	Email     string `json:"email,omitempty"`
	Mobile    string `json:"mobile,omitempty"`
	AvatarURL string `json:"avatar_url,omitempty"`
	// Departments holds department ids, as far as the app may see them.
	Departments []int64 `json:"departments,omitempty"`
	// DepartmentNames holds the name of each of Departments at the sign-in, in the same
	// order, "" for one that is not known. It is nil if none is known.
	DepartmentNames []string `json:"department_names,omitempty"`

	// DeviceID names the installation of WeCom that signed in. Only the legacy
	// user/getuserinfo gives one, which a deployment may still have behind
	// Endpoints.API. It proves nothing about the person.
	DeviceID string `json:"device_id,omitempty"`

	// AuthenticatedAt is when the browser came back from WeCom, by this server's clock.
	AuthenticatedAt time.Time `json:"authenticated_at"`
}

// Key returns one string per person, for a database column or a map: equal for
// two identities exactly if they are the same person under the same provider
// and corp (or, for a provider without corps, app). User ids that differ only
// in the case of their letters a to z give the same key. It is "" for an
// Identity that names nobody.
//
// The form is provider:corp:kind:id, for example "wecom:ww1234:user:zhangsan".
func (id Identity) Key() string {
	space := id.CorpID
	if space == "" {
		space = id.AppID
	}
	switch {
	case id.UserID != "":
		return id.Provider + ":" + space + ":user:" + foldCase(id.UserID)
	case id.LinkedUserID != "":
		return id.Provider + ":" + space + ":linked:" + foldCase(id.LinkedUserID)
	case id.ExternalUserID != "":
		return id.Provider + ":" + space + ":external:" + id.ExternalUserID
	case id.OpenID != "":
		return id.Provider + ":" + space + ":openid:" + id.OpenID
	}
	return ""
}

// foldCase lowers A to Z only: WeCom's ids are ASCII, and Unicode folding would
// make one person of two whose ids differ in a look-alike letter.
func foldCase(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// An identityContext is the request's context with the identity in it: a type
// of its own, so that the signed-in path allocates once for both.
type identityContext struct {
	context.Context
	id *Identity // shared by all requests of a session: never modified
	by *site     // of the Middleware that put it there; nil for NewContext
}

type identityKey struct{}

func (c *identityContext) Value(key any) any {
	if key == (identityKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// FromContext returns the identity that a [Middleware] put into a request's
// context. ok is false if nobody is signed in. The identity is a copy, but for
// Departments and DepartmentNames, which must not be modified.
func FromContext(ctx context.Context) (id Identity, ok bool) {
	c, ok := ctx.Value(identityKey{}).(*identityContext)
	if !ok {
		return Identity{}, false
	}
	return *c.id, true
}

// NewContext returns a context that carries id, for tests of handlers and for
// programs that hand work on. No [Middleware] trusts an identity that it finds in a
// context.
func NewContext(ctx context.Context, id Identity) context.Context {
	return &identityContext{Context: ctx, id: &id}
}

// namesSomebody reports whether id names somebody.
func (id *Identity) namesSomebody() bool {
	return id.UserID != "" || id.LinkedUserID != "" || id.ExternalUserID != "" || id.OpenID != ""
}
