// Package allow has ready-made authorizers for [wecom.Options].Authorize and
// [wecom.Middleware.Require]: who may come in.
//
//	Authorize: allow.Any(allow.Departments(2, 7), allow.Users("zhangsan"))
//
// They admit members of the corp only, by their UserID: neither an outsider nor a
// member of a linked corp passes any of them, nor [Not] of them. User ids that differ only
// in the case of their letters a to z are one person.
//
// What WeCom is asked for is asked anew at each sign-in. After it, an answer
// counts for five minutes in this process, so that [wecom.Middleware.Require] and
// [wecom.Options].Recheck do not ask about every request; a no counts for ten
// seconds. Departments and tags themselves count for five minutes at a sign-in too. If WeCom cannot be asked, the
// result is an error: the person sees "try again later" and not "you may not".
//
// An authorizer is safe for concurrent use, and starts no goroutine before it
// is asked. It may serve several middlewares. To share what it remembers, make
// it once and use it in several places.
package allow

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/wecomauth/wecom"
)

var (
	errNil    = errors.New("allow: one of the authorizers is nil")
	errClient = errors.New("allow: the middleware has no Client to ask WeCom with: set Options.CorpID and Secret beside Provider")
)

// All admits those whom all the others admit. It asks in order and stops at a
// no, which counts even if another could not tell; if there is none, errors count.
// Without arguments it admits nobody.
func All(authorizers ...wecom.Authorizer) wecom.Authorizer { return until(false, authorizers) }

// Any admits those whom at least one of the others admits. It asks in order and
// stops at a yes, which counts even if another could not tell; if there is none,
// errors count. Without arguments it admits nobody.
func Any(authorizers ...wecom.Authorizer) wecom.Authorizer { return until(true, authorizers) }

// until asks until one of the authorizers decides. If none does, the answer is the
// opposite. One that is nil cannot tell.
func until(decides bool, authorizers []wecom.Authorizer) wecom.Authorizer {
	authorizers = slices.Clone(authorizers)
	return func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		var errs []error
		for _, a := range authorizers {
			if a == nil {
				errs = append(errs, errNil)
				continue
			}
			ok, err := a(ctx, api, id)
			if err == nil && ok == decides {
				return ok, nil
			}
			errs = append(errs, err)
		}
		err := errors.Join(errs...)
		return !decides && err == nil && len(authorizers) > 0, err
	}
}

// Not admits members whom a does not admit. If a could not tell, Not cannot.
func Not(a wecom.Authorizer) wecom.Authorizer {
	return func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		if !isMember(id) {
			return false, nil
		}
		if a == nil {
			return false, errNil
		}
		ok, err := a(ctx, api, id)
		return err == nil && !ok, err
	}
}

// Users admits the members with these ids. An id that holds a slash is nobody's here.
func Users(ids ...string) wecom.Authorizer {
	listed := make(map[string]bool, len(ids))
	for _, id := range ids {
		listed[fold(id)] = true
	}
	return func(_ context.Context, _ *wecom.Client, id wecom.Identity) (bool, error) {
		return isMember(id) && listed[fold(id.UserID)], nil
	}
}

// isMember says that id is a member of the corp itself. Corp/userid names
// somebody else, whatever field it came in.
func isMember(id wecom.Identity) bool {
	return id.UserID != "" && !strings.Contains(id.UserID, "/")
}

// fold returns one string for all spellings of a user id, by the rule of the wecom package.
func fold(userID string) string { return wecom.Identity{UserID: userID}.Key() }
