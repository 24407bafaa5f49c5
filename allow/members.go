package allow

import (
	"context"
	"errors"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/lookup"
)

const (
	refusalCounts = 10 * time.Second
	statusActive  = 1
)

// Visible admits members in the app's visible range (可见范围), whom user/get
// knows. WeCom itself signs in the others too.
func Visible() wecom.Authorizer {
	return remembered(func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		_, ok, err := lookUp(ctx, api, id.UserID)
		return ok, err
	})
}

// Active admits members who are in the app's visible range and active: neither
// disabled, nor gone, nor still to activate WeCom.
func Active() wecom.Authorizer {
	return remembered(func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		member, ok, err := lookUp(ctx, api, id.UserID)
		if err != nil || !ok {
			return false, err
		}
		if member.Status == 0 {
			return false, errors.New("allow: WeCom did not say whether the member is active")
		}
		return member.Status == statusActive, nil
	})
}

// lookUp returns a member's record; ok is false if the app may not see the
// member, or there is none.
func lookUp(ctx context.Context, api *wecom.Client, userID string) (_ wecom.Member, ok bool, err error) {
	if api == nil {
		return wecom.Member{}, false, errClient
	}
	member, err := api.User(ctx, userID)
	var refused *wecom.APIError
	if errors.As(err, &refused) && refused.Denied() {
		return wecom.Member{}, false, nil
	}
	return member, err == nil, err
}

// A person is a member as one client sees them.
type person struct {
	api  *wecom.Client
	user string
}

// remembered lets ask decide about members, and remembers what it said. A sign-in is
// never decided by an older answer.
func remembered(ask wecom.Authorizer) wecom.Authorizer {
	verdicts := lookup.Memory[person, bool]{Life: func(ok bool, err error) time.Duration {
		if err == nil && !ok {
			return refusalCounts
		}
		return lookup.Life(ok, err)
	}}
	return func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		if !isMember(id) {
			return false, nil
		}
		return verdicts.Get(ctx, person{api, fold(id.UserID)}, id.AuthenticatedAt, func(ctx context.Context) (bool, error) {
			return ask(ctx, api, id)
		})
	}
}
