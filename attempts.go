package wecom

import (
	"net/http"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
)

const (
	attemptLife = 10 * time.Minute // from leaving for WeCom to coming back
	spentLife   = 2 * time.Minute  // of an attempt that succeeded

	// A browser that is anonymous so soon after its attempt succeeded has not kept its session.
	justNow = 30 * time.Second

	maxState = 128 // WeCom's limit
)

// A mark is a cookie that shows that a browser has signed in before. It signs nobody in; failed
// sign-ins of that browser are only counted apart from everybody else's (see exchanges.limit).
const (
	markSuffix      = "known"
	markLife        = 90 * 24 * time.Hour
	markMaxReturnTo = 900 // bytes: past that, attempt and mark would take our headers over 3 KiB
)

// attempts keeps the sign-ins that have begun. None of it is stored on the server: an
// attempt travels in the state that WeCom hands back, and in a cookie of the browser that
// began it, each signed with a key of its own. Only the browser with the cookie can end
// what the state began, so an attacker cannot make a victim's browser sign in as the
// attacker.
type attempts struct {
	keys   *attempt.Keys
	cookie cookieKind
}

// setCookie gives the browser the attempt's cookie and deletes cookies of other attempts
// if there are too many.
func (as *attempts) setCookie(w http.ResponseWriter, r *http.Request, a attempt.Attempt) {
	kept := attempt.Cookie{Name: as.cookie.name(a.Suffix()), Value: as.keys.Cookie(a)}
	as.cookie.set(w, a.Suffix(), kept.Value, attemptLife)
	var sent []attempt.Cookie
	for suffix, value := range as.cookie.suffixed(r) {
		sent = append(sent, attempt.Cookie{Name: as.cookie.name(suffix), Value: value})
	}
	for _, name := range as.keys.Prune(as.cookie.prefix, sent, kept) {
		if !as.cookie.drop(w, strings.TrimPrefix(name, as.cookie.prefix+"-")) {
			return
		}
	}
}

// find returns the attempt that the browser's cookie holds for a state of ours.
func (as *attempts) find(r *http.Request, state attempt.Attempt) (a attempt.Attempt, ok bool) {
	a, ok = as.keys.ParseCookie(as.cookie.value(r, state.Suffix()))
	if !ok || !a.Same(state) {
		return attempt.Attempt{}, false
	}
	return a, true
}

// spend keeps the cookie of an attempt that succeeded for a little longer: a second
// delivery of the callback finds it, and so does spentJustNow. It also marks the browser.
func (as *attempts) spend(w http.ResponseWriter, a attempt.Attempt) {
	a.Spent, a.Started = true, time.Now()
	as.cookie.set(w, a.Suffix(), as.keys.Cookie(a), spentLife)
	if len(a.ReturnTo) <= markMaxReturnTo {
		a.Number, a.SignedIn, a.ReturnTo = 0, false, ""
		as.cookie.set(w, markSuffix, as.keys.Cookie(a), markLife)
	}
}

// deleteCookie deletes the attempt's cookie.
func (as *attempts) deleteCookie(w http.ResponseWriter, a attempt.Attempt) {
	as.cookie.drop(w, a.Suffix())
}

// deleteCookies deletes the cookies of all attempts, but not the mark.
func (as *attempts) deleteCookies(w http.ResponseWriter, r *http.Request) {
	for suffix := range as.cookie.suffixed(r) {
		if attempt.IsName(as.cookie.prefix, as.cookie.name(suffix)) && !as.cookie.drop(w, suffix) {
			return
		}
	}
}

// spentJustNow reports whether an attempt of this browser succeeded a moment ago.
func (as *attempts) spentJustNow(r *http.Request) bool {
	for suffix, value := range as.cookie.suffixed(r) {
		a, ok := as.keys.ParseCookie(value)
		if ok && a.Suffix() == suffix && a.Spent && time.Since(a.Started) < justNow {
			return true
		}
	}
	return false
}

// isAnswer reports whether the query holds a state of ours: WeCom answers an attempt.
func (as *attempts) isAnswer(r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, "state=") {
		return false
	}
	_, ok := as.keys.ParseState(r.URL.Query().Get("state"))
	return ok
}

// mark returns the random ID of the browser's mark.
func (as *attempts) mark(r *http.Request) (id string, ok bool) {
	a, ok := as.keys.ParseCookie(as.cookie.value(r, markSuffix))
	return string(a.ID[:]), ok && a.Spent && time.Since(a.Started) < markLife
}
