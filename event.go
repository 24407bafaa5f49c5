package wecom

import "time"

// An Event is something worth counting. It holds no secret and nobody's name.
type Event struct {
	// Name is "start" (a browser is sent to WeCom), "signin" (a code was exchanged),
	// "signout", "revoke" (the sessions of a person, or everybody's, were ended),
	// "recheck" (a member may not stay signed in), "refused" (a request was
	// answered with a [Failure]), "token" (WeCom was asked for an access token, by the
	// source that is made from Options.Secret), or "store_find", "store_commit" and
	// "store_delete" (a call of a session store other than memory).
	Name string
	// Outcome is a word from a small set: "ok", or a Failure's code; for
	// "start" it is "first" or "restart"; for "signin" it may be "start_over";
	// for "recheck" it is "revoked"; for "token" "ok" or "failed"; for "revoke" and the
	// store's it is "ok", "failed", "timeout", or "canceled" if the browser left.
	Outcome string
	// ErrCode is WeCom's errcode if that was the cause, else 0.
	ErrCode int
	// Duration is that of a "signin", from the code to the session, of a "token" with
	// its repeats, or of a call of the store.
	Duration time.Duration
}
