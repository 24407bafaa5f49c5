package wecom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
	"github.com/wecomauth/wecom/internal/reqkind"
	"github.com/wecomauth/wecom/internal/upstream"
)

const maxQuery = 4096

// A callbackRequest is the callback's request, read but not yet judged.
type callbackRequest struct {
	unseen     bool // a prefetch, or an image
	malformed  bool // a duplicate or oversized parameter
	code       string
	state      attempt.Attempt // from the state: number and age
	validState bool            // we have signed the state
	attempt    attempt.Attempt // from the browser's cookie for this state
	hasCookie  bool            // the browser has that cookie
}

// A step is what the callback does next. The value of a step that refuses is the
// code of its [Failure].
type step string

const (
	exchangeCode step = "exchange"
	goBack       step = "back"       // signed in already: to the page of this attempt
	goHome       step = "home"       // signed in already, attempt unknown
	startOver    step = "start_over" // once, without using the code

	refuseUnseen    step = "prefetch_refused"
	refuseMalformed step = "bad_callback"
	refuseState     step = "bad_state"      // nothing changes
	personRefused   step = "signin_refused" // the person said no on WeCom's page
	giveUp          step = "attempt_lost"
)

// decide returns the first step whose condition holds. WeCom has no PKCE, so
// state and cookie are the whole defence against a sign-in that somebody else began.
// They are checked before anything that costs or changes something.
func (in callbackRequest) decide(signedIn bool, now time.Time) step {
	pending := in.hasCookie && !in.attempt.Spent && now.Sub(in.attempt.Started) < attemptLife
	switch {
	case in.unseen:
		return refuseUnseen
	case in.malformed:
		return refuseMalformed
	case !in.validState:
		return refuseState
	case in.code == "":
		return personRefused
	case pending:
		return exchangeCode
	}
	return in.withoutAttempt(signedIn)
}

// withoutAttempt is for a callback whose attempt is lost, expired or used.
func (in callbackRequest) withoutAttempt(signedIn bool) step {
	switch {
	case signedIn && in.hasCookie:
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
	in := m.readCallback(r)
	if in.validState && !in.hasCookie {
		m.otherHost.lostCookie(r, in.state)
	}
	next := in.decide(s.live(), time.Now())
	var cause error
	if next == exchangeCode {
		fresh, err := m.signIn(r, in)
		switch {
		case err == nil:
			m.complete(w, r, in, fresh, s)
			return
		case errors.Is(err, errAttemptUsed):
			next = in.withoutAttempt(s.live())
		case errors.Is(err, ErrStartOver):
			next, cause = startOver, err
		default:
			m.failSignIn(w, r, in, asFailure(err))
			return
		}
	}
	switch next {
	case goBack:
		redirect(w, http.StatusSeeOther, m.site.landing(in.attempt.ReturnTo))
	case goHome:
		redirect(w, http.StatusSeeOther, m.site.home)
	case startOver:
		m.startOver(w, r, in, cause)
	case personRefused:
		if in.hasCookie {
			m.attempts.deleteCookie(w, in.attempt)
		}
		m.failSignIn(w, r, in, newFailure(string(next), nil))
	default:
		m.failSignIn(w, r, in, newFailure(string(next), nil))
	}
}

// signIn turns the code into a session, once for all deliveries of one callback.
func (m *Middleware) signIn(r *http.Request, in callbackRequest) (session, error) {
	return m.exchanges.do(r.Context(), in.attempt.ID, in.code, m.callerOf(r), func(ctx context.Context) (outcome, error) {
		began := time.Now()
		o, err := m.admit(ctx, in.code)
		if err == nil {
			ctx = NewContext(ctx, *o.fresh.id)
		}
		m.observe(ctx, signInEvent(err, time.Since(began)))
		return o, err
	})
}

func signInEvent(err error, took time.Duration) Event {
	e := Event{Name: "signin", Outcome: "ok", ErrCode: errCode(err), Duration: took}
	switch {
	case err == nil:
	case errors.Is(err, ErrStartOver):
		e.Outcome = "start_over"
	default:
		e.Outcome = asFailure(err).Code
	}
	return e
}

func (m *Middleware) callerOf(r *http.Request) caller {
	if mark, ok := m.attempts.mark(r); ok {
		return caller{"mark " + mark, true}
	}
	return caller{name: clientAddress(r, m.proxies)}
}

// admit exchanges the code, asks whether the person may sign in, and only then
// creates a session.
func (m *Middleware) admit(ctx context.Context, code string) (outcome, error) {
	began := time.Now()
	id, err := m.provider.Identify(ctx, code)
	if err != nil {
		return outcome{named: id.namesSomebody()}, err
	}
	if id.app() != m.provider.App() || !id.namesSomebody() {
		return outcome{}, fmt.Errorf("provider %q returned an identity of another app, or an empty one", m.provider.App().Provider)
	}
	// The time before the exchange: a revocation while WeCom answers must end this sign-in too.
	if id.AuthenticatedAt.IsZero() || id.AuthenticatedAt.After(began) {
		id.AuthenticatedAt = began
	}
	if f := m.permit(ctx, m.authorize, id); f != nil {
		return outcome{named: true}, f
	}
	fresh, err := m.sessions.create(ctx, id)
	if err != nil {
		return outcome{named: true}, newFailure("session_store", err)
	}
	return outcome{fresh, true}, nil
}

// complete gives the browser its new session and redirects to the page that it asked
// for. The redirect also removes the code from the address bar.
func (m *Middleware) complete(w http.ResponseWriter, r *http.Request, in callbackRequest, fresh, old session) {
	if err := m.attach(w, r, in, fresh, old); err != nil {
		m.failSignIn(w, r, in, newFailure("session_store", err))
		return
	}
	m.attempts.spend(w, in.attempt)
	redirect(w, http.StatusSeeOther, m.site.landing(in.attempt.ReturnTo))
}

// attach replaces the browser's session with the new one, unless the same person has
// meanwhile signed in in another tab: ending that session would break the other tab.
func (m *Middleware) attach(w http.ResponseWriter, r *http.Request, in callbackRequest, fresh, old session) error {
	if old.live() && !in.attempt.SignedIn && old.id.Key() == fresh.id.Key() {
		return nil
	}
	return m.sessions.attach(w, r, fresh, old)
}

// startOver begins the sign-in anew, once per action of the person: a browser that
// loses its cookies cannot lose the number in the signed state. If WeCom is failing,
// people are told so before they scan a second code.
func (m *Middleware) startOver(w http.ResponseWriter, r *http.Request, in callbackRequest, cause error) {
	if in.hasCookie {
		m.attempts.deleteCookie(w, in.attempt)
	}
	if in.state.Number > 0 || upstream.Answered(cause) && !m.silent(r) {
		f := newFailure("code_rejected", cause)
		if upstream.Lost(cause) {
			f = asFailure(cause)
		}
		m.failSignIn(w, r, in, f)
		return
	}
	m.logRestart(r, in, cause)
	a := attempt.New(in.state.Number+1, time.Now(), in.attempt.ReturnTo)
	a.SignedIn = in.attempt.SignedIn
	m.redirectToProvider(w, r, a)
}

func (m *Middleware) logRestart(r *http.Request, in callbackRequest, cause error) {
	switch {
	case cause != nil:
	case in.hasCookie:
		cause = errors.New("the attempt has expired or was used before")
	default:
		cause = errors.New("the browser came back without the attempt's cookie")
	}
	m.log.LogAttrs(r.Context(), slog.LevelInfo, "wecom: sign-in starts over",
		slog.String("route", m.routeName(r)), slog.Int("errcode", errCode(cause)), slog.String("cause", cause.Error()))
}

// silent reports whether a sign-in in this browser needs no action of the person.
func (m *Middleware) silent(r *http.Request) bool {
	p, ok := m.provider.(*corpApp)
	return ok && p.inApp(r.UserAgent())
}

// failSignIn answers with a page whose button starts over, from our origin.
func (m *Middleware) failSignIn(w http.ResponseWriter, r *http.Request, in callbackRequest, f *Failure) {
	if f.LoginURL == "" {
		f.LoginURL = m.LoginURL(in.attempt.ReturnTo)
	}
	m.fail(w, r, f)
}

// readCallback reads the request of a callback, and its browser's attempt.
func (m *Middleware) readCallback(r *http.Request) callbackRequest {
	query, err := url.ParseQuery(r.URL.RawQuery)
	code, state := query["code"], query["state"]
	if err != nil || len(r.URL.RawQuery) > maxQuery || len(code) > 1 || len(state) > 1 {
		return callbackRequest{unseen: reqkind.Unseen(r), malformed: true}
	}
	in := m.readCodeAndState(r, query.Get("code"), query.Get("state"))
	in.unseen = reqkind.Unseen(r)
	return in
}

func (m *Middleware) readCodeAndState(r *http.Request, code, state string) callbackRequest {
	if code != "" && !upstream.IsToken(code) || len(code) > maxCode || len(state) > maxState {
		return callbackRequest{malformed: true}
	}
	in := callbackRequest{code: code}
	if in.state, in.validState = m.attempts.keys.ParseState(state); in.validState {
		in.attempt, in.hasCookie = m.attempts.find(r, in.state)
	}
	return in
}
