package events

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/forget"
	"github.com/wecomauth/wecom/internal/msgcrypt"
)

const (
	maxBody  = 256 << 10       // the largest documented event has 2 KiB
	maxQuery = 8192            // of a verification: the echostr has some 100 bytes
	bodyTime = 4 * time.Second // WeCom waits 5 seconds for an answer
	maxAge   = 10 * time.Minute

	// seenFor is longer than a message is fresh, also one from a clock ahead of ours.
	seenFor = 2*maxAge + time.Minute
)

// Options says everything about a [Receiver]. Only keyed literals compile. [New] copies it.
type Options struct {
	_ [0]func()

	// Token and EncodingAESKey are the values on the admin console's page 设置API接收.
	Token, EncodingAESKey wecom.Secret
	// EarlierToken and EarlierEncodingAESKey are accepted too. Set both to the old
	// values before the console's are changed, and remove them afterwards.
	EarlierToken, EarlierEncodingAESKey wecom.Secret

	// Middlewares are those whose sessions the events end: each one's for the
	// events of its corp and app, and of its corp's contact sync (通讯录同步).
	Middlewares []*wecom.Middleware
	// ReceiveIDs are ids that messages may be encrypted for, in addition to the
	// corps of Middlewares: another corp's, or a suite's.
	ReceiveIDs []string

	// OnEvent, if set, is called for each event after the sessions that it ends
	// have ended. Calls come one at a time, in the order of arrival, and delay no
	// answer. When 1,000 events wait for it, further ones are dropped and that is logged.
	OnEvent func(context.Context, Event)
	// Logger gets causes and what was done; no message or secret reaches it. Default: slog.Default().
	Logger *slog.Logger
}

// A Receiver is the [http.Handler] for the URL that is entered in the admin
// console. Make one with [New]. It is safe for concurrent use. The zero Receiver
// refuses everything.
type Receiver struct {
	keys        []keys
	receiveIDs  []string
	middlewares []*wecom.Middleware
	seen        forget.Set[[sha256.Size]byte] // the messages that were handled: WeCom, and whoever captured one, may send it again
	refusals    counter
	members     queue[member]
	directory   queue[struct{}]
	hooks       queue[*Event]
	onEvent     func(context.Context, Event) // may be nil
	log         *slog.Logger
}

type keys struct {
	token string
	aes   msgcrypt.Key
}

// New checks o and returns a receiver, or nil and an error that lists every
// mistake. It does no I/O and starts no goroutine.
func New(o Options) (*Receiver, error) {
	e := &Receiver{middlewares: slices.Clone(o.Middlewares), receiveIDs: slices.Clone(o.ReceiveIDs),
		onEvent: o.OnEvent, log: cmp.Or(o.Logger, slog.Default())}
	var wrong config.Mistakes
	add := func(name string, token, key wecom.Secret) {
		aes, err := msgcrypt.ParseKey(key.Reveal())
		if err != nil {
			wrong.Add("%sEncodingAESKey: want the 43 letters and digits of the admin console's page 设置API接收", name)
		}
		if !isToken(token.Reveal()) {
			wrong.Add("%sToken: want the letters and digits, 32 at most, of the admin console's page 设置API接收", name)
		}
		e.keys = append(e.keys, keys{token.Reveal(), aes})
	}
	add("", o.Token, o.EncodingAESKey)
	if o.EarlierToken.Reveal() != "" || o.EarlierEncodingAESKey.Reveal() != "" {
		add("Earlier", o.EarlierToken, o.EarlierEncodingAESKey)
	}
	for i, m := range e.middlewares {
		if m == nil || m.App().CorpID == "" {
			wrong.Add("Middlewares[%d] has no corp: want one made by wecom.New for a WeCom app", i)
			continue
		}
		e.receiveIDs = append(e.receiveIDs, m.App().CorpID)
	}
	if len(e.receiveIDs) == 0 {
		wrong.Add("Middlewares and ReceiveIDs are empty: whose events are these?")
	}
	if err := wrong.Err("events: these options"); err != nil {
		return nil, err
	}
	e.members = queue[member]{handle: e.lookUp, max: 10_000, log: e.log,
		full: "too many members changed at once; some were not looked up"}
	e.directory = queue[struct{}]{handle: e.announce, max: 1}
	e.hooks = queue[*Event]{handle: e.callHook, max: 1000, log: e.log,
		full: "OnEvent is too slow; events were dropped"}
	return e, nil
}

// isToken says whether the admin console would take s: what was copied with a
// blank or a quote signs nothing.
func isToken(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

// ServeHTTP verifies the URL (GET) and receives an event (POST). A request that
// WeCom did not send is answered with a status and nothing else.
func (e *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	switch r.Method {
	case http.MethodGet:
		e.verify(w, r)
	case http.MethodPost:
		e.receive(w, r)
	default:
		h.Set("Allow", "GET, POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// verify answers the request that saving the URL in the admin console makes.
func (e *Receiver) verify(w http.ResponseWriter, r *http.Request) {
	q, err := readQuery(r, "echostr")
	if err != nil {
		e.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	message, receiveID, err := e.open(q, q.echo)
	if err == nil {
		if _, notEcho := parse(message, receiveID); notEcho == nil {
			// The signature of an event holds for both methods.
			err = errors.New("it asks to decrypt an event")
		}
	}
	if err != nil {
		e.refuse(w, r, http.StatusForbidden, err)
		return
	}
	e.log.LogAttrs(r.Context(), slog.LevelInfo, "events: WeCom verified the URL")
	_, _ = w.Write(message)
}

// receive takes an event: first it is proven to be WeCom's, then its sessions
// end, and only what could be done is answered with 200. WeCom repeats the rest.
func (e *Receiver) receive(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // a server that cannot has none
	q, err := readQuery(r)
	if err != nil {
		e.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		e.refuse(w, r, http.StatusBadRequest, errors.New("the body did not arrive, or has more than 256 KiB"))
		return
	}
	message, receiveID, err := e.open(q, encryptedIn(body))
	if err != nil {
		e.refuse(w, r, http.StatusForbidden, err)
		return
	}
	ev, err := parse(message, receiveID)
	if err != nil {
		e.refuse(w, r, http.StatusForbidden, err)
		return
	}
	// Not by sender and time, as WeCom's documents advise: a creation was seen as three messages of one second.
	id := sha256.Sum256(append([]byte(receiveID+"\x00"), message...))
	if !e.seen.Has(id) {
		if err := e.endSessions(r.Context(), ev); err != nil {
			e.log.LogAttrs(r.Context(), slog.LevelError, "events: the session store did not take a revocation; WeCom will repeat the event",
				slog.String("event", ev.Name), slog.String("cause", err.Error()))
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if e.seen.Add(id, seenFor) { // a repeat may arrive while the first is still being handled
			e.follow(ev)
		}
	}
	if _, suite := ev.Fields["InfoType"]; suite {
		_, _ = io.WriteString(w, "success") // anything else is taken for an error there
	}
}

// encryptedIn finds the ciphertext in a body, XML or JSON. Anybody may have sent
// it, and an XML parser would work on it for a long time.
func encryptedIn(body []byte) string {
	if _, rest, ok := bytes.Cut(body, []byte("<Encrypt>")); ok {
		text, _, _ := bytes.Cut(rest, []byte("</Encrypt>"))
		text = bytes.TrimPrefix(bytes.TrimSpace(text), []byte("<![CDATA["))
		return string(bytes.TrimSpace(bytes.TrimSuffix(text, []byte("]]>"))))
	}
	var envelope struct {
		Encrypt string `json:"encrypt"`
	}
	_ = json.Unmarshal(body, &envelope) // what it did not find has no right signature
	return envelope.Encrypt
}

// A query is what WeCom puts into the URL.
type query struct{ signature, timestamp, nonce, echo string }

// readQuery wants each parameter exactly once: programs disagree about which of two counts.
func readQuery(r *http.Request, also ...string) (query, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return query{}, errors.New("the query is too long")
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, errors.New("the query is malformed")
	}
	for _, name := range append(also, "msg_signature", "timestamp", "nonce") {
		if len(values[name]) != 1 {
			return query{}, fmt.Errorf("the query does not hold %s exactly once", name)
		}
	}
	return query{values.Get("msg_signature"), values.Get("timestamp"), values.Get("nonce"), values.Get("echostr")}, nil
}

// open decrypts what somebody who has the token signed a short time ago. The
// signature comes first: everything behind it would tell an attacker something.
func (e *Receiver) open(q query, encrypted string) (message []byte, receiveID string, err error) {
	i := slices.IndexFunc(e.keys, func(k keys) bool {
		return msgcrypt.Verify(q.signature, k.token, q.timestamp, q.nonce, encrypted)
	})
	if i < 0 {
		return nil, "", errors.New("the signature is wrong: compare Token with the admin console's")
	}
	seconds, err := strconv.ParseInt(q.timestamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age > maxAge || age < -maxAge {
		return nil, "", errors.New("the timestamp is more than ten minutes away: a replay, or a clock that is wrong")
	}
	// The two earlier values may have been changed one at a time.
	for _, k := range slices.Concat(e.keys[i:], e.keys[:i]) {
		if message, receiveID, err = k.aes.Open(encrypted); err == nil {
			break
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("it does not decrypt: compare EncodingAESKey with the admin console's: %w", err)
	}
	if !slices.Contains(e.receiveIDs, receiveID) {
		return nil, "", errors.New("it is encrypted for another corp: compare the corp id")
	}
	return message, receiveID, nil
}

// refuse says nothing to whoever asks, and writes one line a minute: the URL is public.
func (e *Receiver) refuse(w http.ResponseWriter, r *http.Request, status int, cause error) {
	if n, ok := e.refusals.count(time.Now()); ok {
		cmp.Or(e.log, slog.Default()).LogAttrs(r.Context(), slog.LevelWarn, "events: request refused",
			slog.String("method", r.Method), slog.Int("status", status), slog.String("cause", cause.Error()), slog.Int("since_last_line", n))
	}
	w.WriteHeader(status)
}

// endSessions ends those of the event's member, in every app concerned at once:
// a store that hangs must not use up WeCom's five seconds for each.
func (e *Receiver) endSessions(ctx context.Context, ev Event) error {
	switch {
	case ev.UserID == "":
		return nil
	case ev.Kind == Unsubscribe, ev.Kind == MemberDeleted, ev.Kind == MemberUpdated && ev.NewUserID != "":
	default:
		return nil
	}
	targets := e.concerned(ev)
	errs := make([]error, len(targets))
	var wg sync.WaitGroup
	for i, m := range targets {
		wg.Go(func() {
			errs[i] = errors.New("a panic")
			defer survive(e.log, "a session store")
			errs[i] = e.revoke(ctx, m, ev)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (e *Receiver) revoke(ctx context.Context, m *wecom.Middleware, ev Event) error {
	id := wecom.Identity{UserID: ev.UserID}
	if strings.Contains(ev.UserID, "/") {
		id = wecom.Identity{LinkedUserID: ev.UserID}
	}
	if err := m.Revoke(ctx, id); err != nil {
		return err
	}
	e.log.LogAttrs(ctx, slog.LevelInfo, "events: a member's sessions have ended",
		slog.String("event", ev.Name), slog.String("member", ev.UserID), slog.String("app", m.App().AppID))
	return nil
}

// concerned returns the middlewares of the event's app, or of all the corp's
// apps if the event names none. Corp ids of suites are case-sensitive.
func (e *Receiver) concerned(ev Event) []*wecom.Middleware {
	var list []*wecom.Middleware
	for _, m := range e.middlewares {
		if app := m.App(); app.CorpID == ev.CorpID && (ev.AgentID == "" || ev.AgentID == app.AppID) {
			list = append(list, m)
		}
	}
	return list
}
