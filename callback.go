package wecom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
)

const (
	attemptLife = 10 * time.Minute // from leaving for WeCom to coming back
	spentKept   = 2 * time.Minute  // how long a browser remembers an attempt that succeeded
	maxQuery    = 4096
	maxCode     = 512 // WeCom's own limits: wecom-api §3
	maxState    = 128
)

// A returned is what came back from WeCom, read but not yet judged.
type returned struct {
	method    string
	unseen    bool // a prefetch, or an image
	malformed bool // a duplicate or oversized parameter
	code      string
	state     attempt.Attempt // from the state: number and age
	ours      bool            // the state's signature is right
	held      attempt.Attempt // from the browser's cookie for this state
	holding   bool            // the browser has that cookie
}

// A step is what the callback does next.
type step int

const (
	refuseMethod step = iota
	refuseUnseen
	refuseMalformed
	refuseState  // not from us: nothing changes
	refusedThere // the person said no on WeCom's page
	exchangeCode
	goBack    // signed in already: to the page of this attempt
	goHome    // signed in already, attempt unknown
	startOver // once, without using the code
	giveUp    // a page with a button
)

// decide is the callback's table: the first row that fits. WeCom has no PKCE,
// so state and cookie carry the whole defence against a sign-in that somebody
// else began: they come before everything that costs or changes anything.
func (in returned) decide(signedIn bool, now time.Time) step {
	pending := in.holding && !in.held.Spent && now.Sub(in.held.Started) < attemptLife
	switch {
	case in.method != http.MethodGet:
		return refuseMethod
	case in.unseen:
		return refuseUnseen
	case in.malformed:
		return refuseMalformed
	case !in.ours:
		return refuseState
	case in.code == "":
		return refusedThere
	case pending:
		return exchangeCode
	}
	return in.withoutAttempt(signedIn)
}

// withoutAttempt is for a callback whose attempt is lost, expired or used.
func (in returned) withoutAttempt(signedIn bool) step {
	switch {
	case signedIn && in.holding:
		return goBack
	case signedIn:
		return goHome
	case in.state.Number == 0:
		return startOver
	}
	return giveUp
}

// finish ends a sign-in: the browser is back from WeCom.
func (m *Middleware) finish(w http.ResponseWriter, r *http.Request, s session) {
	in := m.readReturned(r)
	m.explain(r, in)
	next := in.decide(s.live(), time.Now())
	if next == exchangeCode {
		fresh, err := m.signIn(r, in)
		switch {
		case err == nil:
			m.welcome(w, r, in, fresh, s)
			return
		case errors.Is(err, errAttemptUsed):
			next = in.withoutAttempt(s.live())
		case errors.Is(err, ErrStartOver):
			m.startAgain(w, r, in, err)
			return
		default:
			m.failSignIn(w, r, in, asFailure(err))
			return
		}
	}
	switch next {
	case goBack:
		redirect(w, http.StatusSeeOther, m.landing(in.held.ReturnTo))
	case goHome:
		redirect(w, http.StatusSeeOther, m.home)
	case startOver:
		m.startAgain(w, r, in, nil)
	case refuseMethod:
		w.Header().Set("Allow", http.MethodGet)
		m.failSignIn(w, r, in, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"})
	case refuseUnseen:
		m.failSignIn(w, r, in, &Failure{Status: http.StatusForbidden, Code: "prefetch_refused"})
	case refuseMalformed:
		m.failSignIn(w, r, in, &Failure{Status: http.StatusBadRequest, Code: "bad_callback"})
	case refuseState:
		m.failSignIn(w, r, in, &Failure{Status: http.StatusBadRequest, Code: "bad_state"})
	case refusedThere:
		if in.holding {
			m.cookie.drop(w, in.held.Suffix())
		}
		m.failSignIn(w, r, in, &Failure{Status: http.StatusForbidden, Code: "signin_refused"})
	default:
		m.failSignIn(w, r, in, &Failure{Status: http.StatusForbidden, Code: "attempt_lost"})
	}
}

// signIn goes from the code to a session, once for all deliveries of one callback.
func (m *Middleware) signIn(r *http.Request, in returned) (session, error) {
	return m.exchanges.do(r.Context(), in.held.ID, in.code, m.callerOf(r), func(ctx context.Context) (session, bool, error) {
		began := time.Now()
		fresh, good, err := m.admit(ctx, in.code)
		m.observe(ctx, signInEvent(err, time.Since(began)))
		return fresh, good, err
	})
}

// admit exchanges the code, asks whether the person may come in, and only then
// makes a session. good says that the code stood for somebody.
func (m *Middleware) admit(ctx context.Context, code string) (fresh session, good bool, err error) {
	began := time.Now()
	id, err := m.provider.Identify(ctx, code)
	if err != nil {
		return session{}, id.names(), err
	}
	if id.app() != m.provider.App() || !id.names() {
		return session{}, false, fmt.Errorf("provider %q returned an identity of another app, or nobody's", m.provider.App().Provider)
	}
	// Not the end of the exchange: a revocation that comes while WeCom answers ends this sign-in too.
	id.AuthenticatedAt = began
	if f := m.permit(ctx, m.authorize, id); f != nil {
		return session{}, true, f
	}
	fresh, err = m.sessions.create(ctx, id)
	if err != nil {
		return session{}, true, storeFailure(err)
	}
	return fresh, true, nil
}

// welcome gives the browser its new session and sends it to the page that it
// came for. The code leaves the address bar with this redirect.
func (m *Middleware) welcome(w http.ResponseWriter, r *http.Request, in returned, fresh, old session) {
	if err := m.attach(w, r, in, fresh, old); err != nil {
		w.Header().Del("Set-Cookie")
		m.failSignIn(w, r, in, storeFailure(err))
		return
	}
	m.markSpent(w, in)
	redirect(w, http.StatusSeeOther, m.landing(in.held.ReturnTo))
}

// attach gives the browser its new session in place of the old one, except if the
// same person has signed in with another tab meanwhile: ending that session
// would break what the tab is loading.
func (m *Middleware) attach(w http.ResponseWriter, r *http.Request, in returned, fresh, old session) error {
	if old.live() && !in.held.SignedIn && old.id.Key() == fresh.id.Key() {
		return nil
	}
	return m.sessions.attach(w, r, fresh, old)
}

// markSpent keeps the attempt's cookie a little longer: a second delivery finds
// it, and so does demand, if the session's cookie does not come back.
func (m *Middleware) markSpent(w http.ResponseWriter, in returned) {
	spent := in.held
	spent.Spent, spent.Started = true, time.Now()
	m.cookie.set(w, spent.Suffix(), m.keys.Cookie(spent), spentKept)
	m.setMark(w, spent)
}

// startAgain begins the sign-in anew, once per action of the person: the number
// in the signed state is what a browser that loses its cookies cannot lose. If it is
// WeCom that is out of order, nobody is asked for another scan before they are told.
func (m *Middleware) startAgain(w http.ResponseWriter, r *http.Request, in returned, cause error) {
	if in.holding {
		m.cookie.drop(w, in.held.Suffix())
	}
	if in.state.Number > 0 || answeredBadly(cause) && !m.silent(r) {
		f := &Failure{Status: http.StatusForbidden, Code: "code_rejected", Err: cause}
		if unanswered(cause) {
			f = asFailure(cause)
		}
		m.failSignIn(w, r, in, f)
		return
	}
	m.logRestart(r, cause)
	a := attempt.New(in.state.Number+1, time.Now(), in.held.ReturnTo)
	a.SignedIn = in.held.SignedIn
	m.start(w, r, a)
}

// silent says that a sign-in asks nothing of this browser's person.
func (m *Middleware) silent(r *http.Request) bool {
	p, ok := m.provider.(*corpApp)
	return ok && p.inApp(r.UserAgent())
}

// failSignIn answers with a page whose button asks again from our own origin.
func (m *Middleware) failSignIn(w http.ResponseWriter, r *http.Request, in returned, f *Failure) {
	if f.LoginURL == "" {
		f.LoginURL = m.LoginURL(in.held.ReturnTo)
	}
	f.page = true
	m.fail(w, r, f)
}

func (m *Middleware) landing(returnTo string) string {
	if returnTo == "" {
		return m.home
	}
	return returnTo
}

// readReturned reads a callback's request and the attempt that its browser holds.
func (m *Middleware) readReturned(r *http.Request) returned {
	in := returned{method: r.Method, unseen: unseen(r)}
	query, err := url.ParseQuery(r.URL.RawQuery)
	code, state := query["code"], query["state"]
	if err != nil || len(r.URL.RawQuery) > maxQuery || len(code) > 1 || len(state) > 1 {
		in.malformed = true
		return in
	}
	return m.readPair(r, in, query.Get("code"), query.Get("state"))
}

func (m *Middleware) readPair(r *http.Request, in returned, code, state string) returned {
	if code != "" && !isCode(code) || len(state) > maxState {
		in.malformed = true
		return in
	}
	in.code = code
	in.state, in.ours = m.keys.ParseState(state)
	if in.ours {
		in.held, in.holding = m.keys.ParseCookie(m.cookie.value(r, in.state.Suffix()))
		in.holding = in.holding && in.held.Same(in.state)
	}
	if !in.holding {
		in.held = attempt.Attempt{}
	}
	return in
}
