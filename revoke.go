package wecom

import (
	"context"
	"errors"
)

// Revoke ends all sessions of one person that began until now, whatever their
// number: it writes a row that holds the time, and one that tells other
// processes to look. Of id only the field that names the person counts, for
// example Identity{UserID: "zhangsan"}; who has several ids is named by the
// first in the order of [Identity]. The person may sign in anew, if
// Options.Authorize lets them.
//
// It works at once in this process and within a second in others that share
// the session store. The clocks of replicas should agree: a session is compared
// by the clock of the replica that made it. An error says that a row could not
// be written; this process applies the revocation anyway. If two processes
// revoke one person at the same moment, either's time may stay.
func (m *Middleware) Revoke(ctx context.Context, id Identity) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	if !id.namesSomebody() {
		return errors.New("wecom: Revoke: the identity names nobody")
	}
	return m.revoke(ctx, id)
}

func (m *Middleware) revoke(ctx context.Context, id Identity) error {
	err := m.sessions.revoke(ctx, m.sessions.personKey(id))
	m.observe(NewContext(ctx, id), Event{Name: "revoke", Outcome: storeOutcome(err)})
	return err
}

// RevokeAll ends everybody's sessions that began until now, as [Middleware.Revoke] does one person's.
func (m *Middleware) RevokeAll(ctx context.Context) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	err := m.sessions.revoke(ctx, everybody)
	m.observe(NewContext(ctx, Identity{}), Event{Name: "revoke", Outcome: storeOutcome(err)})
	return err
}

// Revoked reports whether the sessions of id's person that began at
// id.AuthenticatedAt are ended by [Middleware.Revoke] or [Middleware.RevokeAll]. It is for
// what a program made from a session and uses without the browser, such as a token: ask before
// each use. id is what [FromContext] returned then; one of another app counts as revoked. A
// logout is no revocation. Revoked also looks the person up again if Options.Recheck says that
// it is time. An error says that the store could not tell.
func (m *Middleware) Revoked(ctx context.Context, id Identity) (bool, error) {
	if m.sessions == nil {
		return true, errZeroMiddleware
	}
	if !id.namesSomebody() || id.app() != m.sessions.app {
		return true, nil
	}
	gone, err := m.sessions.isRevoked(ctx, session{id: &id})
	if err == nil && !gone {
		m.recheck(ctx, &id)
	}
	return gone, err
}

// DirectoryChanged makes the authorizers of package allow fetch departments and
// tags anew: at once in this process, and within a second in others that share
// the session store and have sessions in use. An error says that the others were
// not told; what they know counts for five minutes at most. Package events calls
// it when WeCom says that a department or a tag changed.
func (m *Middleware) DirectoryChanged(ctx context.Context) error {
	if m.sessions == nil {
		return errZeroMiddleware
	}
	return m.sessions.announceDirectory(ctx)
}

var errZeroMiddleware = errors.New("wecom: this Middleware was not made by New")
