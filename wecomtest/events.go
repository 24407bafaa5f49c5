package wecomtest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/msgcrypt"
)

// WeCom waits a second for the answer to a verification and five seconds for the answer to an
// event, which it posts at most three times. The pause between is not published; the fake does not
// pause.
const (
	verifyTimeout = time.Second
	eventTimeout  = 5 * time.Second
	eventTries    = 3
)

// An EventReceiver is a program's URL for events, as it is entered in the admin console: for an app
// under 接收消息 → 设置API接收; for contact sync, which has no AgentID, under 通讯录同步 →
// 设置接收事件服务器.
type EventReceiver struct {
	CorpID  string // default: Fake.CorpID
	AgentID string
	// URL gets the requests.
	URL string
	// Handler, if set, answers them in this process, and URL is what it is told.
	Handler http.Handler
	// Token has letters and digits, 32 at most; EncodingAESKey has 43.
	Token, EncodingAESKey string
	// JSON makes the messages JSON instead of XML.
	JSON bool
	// Full makes contact sync's messages hold all fields of a member and report every update, as
	// for URLs that were set before 15 August 2022. By default they hold ids and departments, and
	// an update is reported only if one of those changed.
	Full bool
	// Verified says that it was verified at another time: a fake that starts again need not wait
	// for the program behind it.
	Verified bool
}

// EventFaults say what goes wrong on the way to every receiver. See [Fake.ConfigureEvents].
type EventFaults struct {
	Lose      bool          // nothing arrives
	Duplicate bool          // everything arrives twice: the same bytes, and then encrypted again
	Reorder   bool          // of events that wait, the youngest is sent first
	Delay     time.Duration // before each request
}

// A Delivery is the result of posting one event to one receiver.
type Delivery struct {
	AgentID string // "" for contact sync
	Message string // before encryption
	Status  int    // of the last answer; 0 if there was none in time, or the event was lost
	Tries   int
	Began   time.Time // of the first request
	Ended   time.Time // of the last answer
}

// eventQueue is a saved receiver and what waits for it.
type eventQueue struct {
	EventReceiver
	key     msgcrypt.Key
	waiting []string
	running bool
}

// SaveEventReceiver does what the console's button 保存 does: it verifies that the program behind r
// answers correctly, and if so, posts to it from then on what changes of the directory mean for its
// app, or for contact sync. It replaces an earlier receiver of the same app.
//
// The methods that change the directory cause the events: [Fake.RemoveMember] an unsubscribe for
// the apps that the member could use, and update_user and delete_user for contact sync;
// [Fake.DisableMember] an unsubscribe; [Fake.AddMember], [Fake.RenameMember], [Fake.AddDepartment],
// [Fake.RemoveDepartment], [Fake.AddTag] and, if it changes the visible range, [Fake.AddApp]
// likewise. Events are posted in the background, one at a time for each receiver;
// [Fake.AwaitEvents] waits for them. One that is not answered with 200 within five seconds is
// posted three times in all.
func (f *Fake) SaveEventReceiver(r EventReceiver) error {
	key, err := msgcrypt.ParseKey(r.EncodingAESKey)
	if err != nil || r.Token == "" || len(r.Token) > 32 {
		return errors.New("wecomtest: want a Token of 1 to 32 letters and digits, and an EncodingAESKey of 43")
	}
	f.mu.Lock()
	f.corp(&r.CorpID)
	f.mu.Unlock()
	q := &eventQueue{EventReceiver: r, key: key}
	if !r.Verified {
		if err := q.verify(f.clock()); err != nil {
			return err
		}
		q.Verified = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = slices.DeleteFunc(slices.Clone(f.events), func(o *eventQueue) bool { return o.CorpID == r.CorpID && o.AgentID == r.AgentID })
	f.events = append(f.events, q)
	return nil
}

// verify asks the program behind q to decrypt something.
func (q *eventQueue) verify(at time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	echo := digits(19)
	status, body, err := q.send(ctx, http.MethodGet, q.key.Seal([]byte(echo), q.CorpID), at)
	switch {
	case err != nil:
		return fmt.Errorf("wecomtest: openapi回调地址请求不通过: %w", err)
	case status != http.StatusOK:
		return fmt.Errorf("wecomtest: openapi回调地址请求不通过: status %d", status)
	case body != echo:
		return errors.New("wecomtest: echostr校验失败: the answer is not the decrypted echostr and nothing else")
	}
	return nil
}

// EventReceivers returns the receivers that were saved, the last one last.
func (f *Fake) EventReceivers() []EventReceiver {
	f.mu.Lock()
	defer f.mu.Unlock()
	var saved []EventReceiver
	for _, q := range f.events {
		saved = append(saved, q.EventReceiver)
	}
	return saved
}

// ConfigureEvents calls change with the current faults, which it may modify. change must not call
// the Fake.
func (f *Fake) ConfigureEvents(change func(*EventFaults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.eventFaults)
}

// PostEvent posts a message of the test's own to the receiver of an app, or to contact sync's if
// agentID is "". fields are its elements beside ToUserName, FromUserName, CreateTime, MsgType and
// AgentID, which are there unless fields replaces them.
func (f *Fake) PostEvent(agentID string, fields map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.events {
		if q.CorpID == demoCorp && q.AgentID == agentID {
			f.post(q, fields)
			return
		}
	}
	panic("wecomtest: no event receiver was saved for app " + strconv.Quote(agentID))
}

// AwaitEvents returns when all events are delivered, or with the context's error.
func (f *Fake) AwaitEvents(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.eventsRunning > 0 {
		idle := f.eventsIdle
		f.mu.Unlock()
		select {
		case <-idle:
			f.mu.Lock()
		case <-ctx.Done():
			f.mu.Lock()
			return context.Cause(ctx)
		}
	}
	return nil
}

// Deliveries returns the results for all events so far, oldest first.
func (f *Fake) Deliveries() []Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.deliveries)
}

// EventRequest returns the request that would post message to r at that time. A hostile one is made
// with another Token, EncodingAESKey, CorpID or time.
func EventRequest(r EventReceiver, message string, at time.Time) *http.Request {
	return r.request(context.Background(), http.MethodPost, r.mustKey().Seal([]byte(message), r.CorpID), at)
}

func (r EventReceiver) mustKey() msgcrypt.Key {
	key, err := msgcrypt.ParseKey(r.EncodingAESKey)
	if err != nil {
		panic("wecomtest: " + err.Error())
	}
	return key
}

// HostileEventRequests returns requests that r's program must refuse although their signatures are
// right, by what is wrong with them. at is the present.
func HostileEventRequests(r EventReceiver, at time.Time) map[string]*http.Request {
	key := r.mustKey()
	message := eventMessage(r, map[string]string{"FromUserName": "zhangsan", "Event": "unsubscribe"}, at, 0)
	requests := map[string]*http.Request{}
	add := func(name, encrypted string) {
		requests[name] = r.request(context.Background(), http.MethodPost, encrypted, at)
	}
	for name, text := range msgcrypt.Malformed([]byte(message), r.CorpID) {
		add(name, key.Encrypt(text))
	}
	add("not base64", "%%%%")
	add("not a whole block", "AAAA")
	add("another corp", key.Seal([]byte(message), "wwffffffffffffffff"))
	add("nobody's", key.Seal([]byte(message), ""))
	other, _ := msgcrypt.ParseKey(strings.Repeat("k", 43))
	add("another key", other.Seal([]byte(message), r.CorpID))
	add("neither XML nor JSON", key.Seal([]byte("hello"), r.CorpID))
	add("a document type", key.Seal([]byte(`<!DOCTYPE xml [<!ENTITY a "b">]>`+message), r.CorpID))
	sealed := key.Seal([]byte(message), r.CorpID)
	for name, when := range map[string]time.Time{"an hour old": at.Add(-time.Hour), "an hour ahead": at.Add(time.Hour)} {
		requests[name] = r.request(context.Background(), http.MethodPost, sealed, when)
	}
	wrong := r
	wrong.Token += "x"
	requests["another token"] = wrong.request(context.Background(), http.MethodPost, sealed, at)
	return requests
}

// request makes one of WeCom's two requests.
func (r EventReceiver) request(ctx context.Context, method, encrypted string, at time.Time) *http.Request {
	timestamp, nonce := strconv.FormatInt(at.Unix(), 10), digits(10)
	query := "msg_signature=" + msgcrypt.Sign(r.Token, timestamp, nonce, encrypted) + "&timestamp=" + timestamp + "&nonce=" + nonce
	var body []byte
	switch {
	case method == http.MethodGet:
		query += "&echostr=" + url.QueryEscape(encrypted)
	case r.JSON:
		body, _ = json.Marshal(map[string]string{"tousername": r.CorpID, "encrypt": encrypted, "agentid": r.AgentID})
	default:
		body = []byte("<xml><ToUserName><![CDATA[" + r.CorpID + "]]></ToUserName><AgentID><![CDATA[" + r.AgentID +
			"]]></AgentID><Encrypt><![CDATA[" + encrypted + "]]></Encrypt></xml>")
	}
	target := withQuery(r.URL, query)
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		panic("wecomtest: " + err.Error())
	}
	req.Header.Set("User-Agent", "Mozilla/4.0")
	req.Header.Set("Accept", "*/*")
	return req
}

// send makes a request and returns the answer's status and body.
func (q *eventQueue) send(ctx context.Context, method, encrypted string, at time.Time) (status int, body string, err error) {
	r := q.request(ctx, method, encrypted, at)
	if q.Handler != nil {
		r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "203.0.113.200:443"
		done := make(chan *Response, 1)
		go func() { done <- serveInProcess(q.Handler, r) }()
		select {
		case res := <-done:
			return res.Status, res.Body, res.Err
		case <-ctx.Done():
			return 0, "", context.Cause(ctx)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	return res.StatusCode, string(read), err
}

// eventMessage is the message before encryption. n varies its form, as WeCom's varies.
func eventMessage(r EventReceiver, fields map[string]string, at time.Time, n int) string {
	all := map[string]string{
		"ToUserName": r.CorpID, "FromUserName": "sys", "CreateTime": strconv.FormatInt(at.Unix(), 10), "MsgType": "event",
	}
	if r.AgentID != "" {
		all["AgentID"] = r.AgentID
	}
	maps.Copy(all, fields)
	if r.JSON {
		document := map[string]any{}
		for name, value := range all {
			document[name] = value
			if number, err := strconv.ParseInt(value, 10, 64); err == nil && (name == "CreateTime" || name == "AgentID") {
				document[name] = number
			}
		}
		b, _ := json.Marshal(document)
		return string(b)
	}
	var b strings.Builder
	b.WriteString("<xml>")
	names := slices.Sorted(maps.Keys(all))
	if n%2 == 1 {
		slices.Reverse(names)
	}
	for i, name := range names {
		b.WriteString("<" + name + ">")
		switch (i + n) % 3 {
		case 0:
			b.WriteString("<![CDATA[" + strings.ReplaceAll(all[name], "]]>", "]]]]><![CDATA[>") + "]]>")
		case 1:
			b.WriteString(" <![CDATA[" + strings.ReplaceAll(all[name], "]]>", "]]]]><![CDATA[>") + "]]>")
		default:
			_ = xml.EscapeText(&b, []byte(all[name])) // a Builder does not fail
		}
		b.WriteString("</" + name + ">")
	}
	b.WriteString("</xml>")
	return b.String()
}

// post queues a message; f.mu is held.
func (f *Fake) post(q *eventQueue, fields map[string]string) {
	f.eventsPosted++
	q.waiting = append(q.waiting, eventMessage(q.EventReceiver, fields, f.now(), f.eventsPosted))
	if !q.running {
		q.running = true
		if f.eventsRunning++; f.eventsRunning == 1 {
			f.eventsIdle = make(chan struct{})
		}
		go f.deliver(q)
	}
}

// deliver posts what waits, and ends when nothing does.
func (f *Fake) deliver(q *eventQueue) {
	for {
		f.mu.Lock()
		if len(q.waiting) == 0 {
			q.running = false
			if f.eventsRunning--; f.eventsRunning == 0 {
				close(f.eventsIdle)
			}
			f.mu.Unlock()
			return
		}
		faults := f.eventFaults
		next := 0
		if faults.Reorder {
			next = len(q.waiting) - 1
		}
		message := q.waiting[next]
		q.waiting = slices.Delete(q.waiting, next, next+1)
		f.mu.Unlock()

		d := f.deliverOne(q, message, faults)
		f.mu.Lock()
		f.deliveries = append(f.deliveries, d)
		if len(f.deliveries) > keepCodes {
			f.deliveries = f.deliveries[1:]
		}
		f.note(entry{kind: "event", what: eventName(message), where: hostOf(q.URL), status: d.Status})
		f.mu.Unlock()
	}
}

func (f *Fake) deliverOne(q *eventQueue, message string, faults EventFaults) Delivery {
	d := Delivery{AgentID: q.AgentID, Message: message}
	if faults.Delay > 0 {
		time.Sleep(faults.Delay)
	}
	d.Began, d.Ended = time.Now(), time.Now()
	if faults.Lose {
		return d
	}
	encrypted := q.key.Seal([]byte(message), q.CorpID)
	for d.Tries < eventTries && d.Status != http.StatusOK {
		d.Tries++
		d.Status = q.post(encrypted, f.clock())
	}
	d.Ended = time.Now()
	if faults.Duplicate {
		q.post(encrypted, f.clock())
		q.post(q.key.Seal([]byte(message), q.CorpID), f.clock())
	}
	return d
}

// post makes one request for an event and returns the answer's status, 0 for none.
func (q *eventQueue) post(encrypted string, at time.Time) int {
	ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	status, _, err := q.send(ctx, http.MethodPost, encrypted, at)
	if err != nil {
		return 0
	}
	return status
}

// edit makes a change of the directory under f.mu, and posts what it means. renamed holds new user
// ids by the old ones.
func (f *Fake) edit(renamed map[string]string, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := map[string]corp{}
	for id, c := range f.corps {
		before[id] = *c // its lists are replaced, never written to
	}
	change()
	for _, q := range f.events {
		was, is := before[q.CorpID], f.corps[q.CorpID]
		if q.AgentID == "" {
			f.postContacts(q, &was, is, renamed)
		} else {
			f.postRange(q, &was, is, renamed)
		}
	}
}

// postRange tells an app who may use it from now on, or not any more.
func (f *Fake) postRange(q *eventQueue, was, is *corp, renamed map[string]string) {
	before, now := was.users(q.AgentID), is.users(q.AgentID)
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if to, ok := renamed[id]; ok && now[fold(to)] != "" {
			continue
		}
		if now[id] == "" {
			f.post(q, map[string]string{"Event": "unsubscribe", "FromUserName": before[id], "EventKey": ""})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if before[id] == "" && !slices.Contains(slices.Collect(maps.Values(renamed)), now[id]) {
			f.post(q, map[string]string{"Event": "subscribe", "FromUserName": now[id], "EventKey": ""})
		}
	}
}

// users returns the members who may use an app and are neither disabled nor gone, as they are
// spelled, by their folded ids.
func (c *corp) users(agentID string) map[string]string {
	users := map[string]string{}
	a := c.app(agentID)
	for _, m := range c.members {
		if a != nil && c.sees(a, m) && m.Status != Disabled && m.Status != Resigned {
			users[fold(m.UserID)] = m.UserID
		}
	}
	return users
}

// postContacts tells contact sync what differs.
func (f *Fake) postContacts(q *eventQueue, was, is *corp, renamed map[string]string) {
	contact := func(change string, fields map[string]string) {
		fields["Event"], fields["ChangeType"] = "change_contact", change
		f.post(q, fields)
	}
	for old, to := range renamed {
		contact("update_user", map[string]string{"UserID": old, "NewUserID": to})
	}
	for _, m := range was.members {
		if _, ok := renamed[fold(m.UserID)]; ok || is.member(m.UserID) != nil {
			continue
		}
		// Both, and the update first: so it was seen.
		contact("update_user", map[string]string{"UserID": m.UserID, "Department": "1"})
		contact("delete_user", map[string]string{"UserID": m.UserID})
	}
	for _, m := range is.members {
		if slices.Contains(slices.Collect(maps.Values(renamed)), m.UserID) {
			continue
		}
		differs(contact, "user", was.member(m.UserID), m, func(m *Member) map[string]string {
			fields := map[string]string{"UserID": m.UserID, "Department": joinIDs(m.Departments)}
			if q.Full {
				fields["Name"], fields["Status"], fields["BizMail"] = m.Name, strconv.Itoa(m.Status), m.BizMail
			}
			return fields
		})
	}
	for _, d := range was.departments {
		if is.department(d.ID) == nil {
			contact("delete_party", map[string]string{"Id": strconv.FormatInt(d.ID, 10)})
		}
	}
	for _, d := range is.departments {
		differs(contact, "party", was.department(d.ID), d, func(d *Department) map[string]string {
			fields := map[string]string{"Id": strconv.FormatInt(d.ID, 10), "ParentId": strconv.FormatInt(d.ParentID, 10)}
			if q.Full {
				fields["Name"] = d.Name
			}
			return fields
		})
	}
	for _, t := range is.tags {
		old := was.tag(t.ID)
		if old == nil {
			old = &Tag{}
		}
		fields := map[string]string{
			"AddUserItems": missing(t.Users, old.Users), "DelUserItems": missing(old.Users, t.Users),
			"AddPartyItems": missing(t.Departments, old.Departments), "DelPartyItems": missing(old.Departments, t.Departments),
		}
		maps.DeleteFunc(fields, func(_, list string) bool { return list == "" })
		if len(fields) > 0 {
			fields["TagId"] = strconv.FormatInt(t.ID, 10)
			contact("update_tag", fields)
		}
	}
}

// differs tells contact sync that something is new, or that it has changed as far as its events show it.
func differs[T any](contact func(string, map[string]string), kind string, old, is *T, shown func(*T) map[string]string) {
	switch fields := shown(is); {
	case old == nil:
		contact("create_"+kind, fields)
	case !maps.Equal(shown(old), fields):
		contact("update_"+kind, fields)
	}
}

func joinIDs(ids []int64) string { return missing(ids, nil) }

// missing lists what is in a and not in b, with commas.
func missing[T comparable](a, b []T) string {
	var list []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			list = append(list, fmt.Sprint(x))
		}
	}
	return strings.Join(list, ",")
}

// EnableMember makes a member of the default corp active again. It panics if there is no such
// member.
func (f *Fake) EnableMember(userID string) { f.setStatus(userID, Active) }

func (f *Fake) setStatus(userID string, status int) {
	m, ok := f.Member(userID)
	if !ok {
		panic("wecomtest: no member " + userID)
	}
	m.Status = status
	f.AddMember(m)
}

// RenameMember changes the user id of a member of the default corp. It panics if there is no such
// member, or another one has the new id.
func (f *Fake) RenameMember(userID, newUserID string) {
	f.edit(map[string]string{fold(userID): newUserID}, func() {
		c := f.corps[demoCorp]
		m := c.member(userID)
		if m == nil || c.member(newUserID) != nil {
			panic("wecomtest: cannot rename " + userID + " to " + newUserID)
		}
		renamed := *m
		renamed.UserID = newUserID
		remove(&c.members, func(o *Member) bool { return o == m })
		c.members = append(c.members, &renamed)
	})
}

// SetVisible replaces the visible range (可见范围) of the default app: members, departments and
// tags as in [App].
func (f *Fake) SetVisible(users []string, departments, tags []int64) {
	a := f.App()
	a.VisibleUsers, a.VisibleDepartments, a.VisibleTags = nonNil(users), departments, tags
	f.AddApp(a)
}

// RemoveDepartment removes a department of the default corp. Its members and departments stay where
// they are, outside of every department that is left.
func (f *Fake) RemoveDepartment(id int64) {
	f.edit(nil, func() {
		remove(&f.corps[demoCorp].departments, func(d *Department) bool { return d.ID == id })
	})
}
