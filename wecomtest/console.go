package wecomtest

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The console is the fake's own page, at the root of a Server: what to point a
// client at, who is signed in where, what happened, and buttons for what else may
// happen. Its story stands alone at storyPath, for an application's page to frame.

const (
	storyPath   = "/story"
	keepEntries = 100
	tellEntries = 8       // in the story, which has little room
	maxKept     = 1 << 14 // bytes of an answer whose errcode is of interest
)

func isConsole(path string) bool { return path == "/" || path == storyPath }

var (
	//go:embed console.html
	consoleHTML string
	//go:embed console.js
	consoleJS string

	consoleHash = scriptHash(consoleJS)
	_           = template.Must(templates.Parse(consoleHTML))
)

func scriptHash(script string) string {
	sum := sha256.Sum256([]byte(script))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// An entry of the journal is something that happened. It holds no code and no secret.
type entry struct {
	at        time.Time
	kind      string // "page", "code", "call", "event", "opened" or "did"
	what      string // a path, an event's name, or what was pressed
	who, name string
	where     string // the application's host
	status    int    // of an event's answer, or of one that is none of WeCom's
	body      []byte // of a call's answer
	lost      bool   // the call got no answer
	times     int    // in a row
}

// note adds to the journal; f.mu is held.
func (f *Fake) note(e entry) {
	e.at, e.times = f.now(), 1
	if last := len(f.journal) - 1; last >= 0 && e.kind == "opened" && f.journal[last].kind == "opened" {
		e.times += f.journal[last].times
		f.journal[last] = e
		return
	}
	f.journal = append(f.journal, e)
	if len(f.journal) > keepEntries {
		f.journal = f.journal[1:]
	}
}

// answered notes a call of the API.
func (f *Fake) answered(r *http.Request, a *answer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isAPI(r.URL.Path) {
		return
	}
	e := entry{kind: "call", what: strings.TrimPrefix(r.URL.Path, apiPrefix), lost: err != nil}
	if err == nil && len(a.body) <= maxKept {
		e.body = a.body
	}
	if err == nil && a.status != http.StatusOK {
		e.status = a.status
	}
	f.note(e)
}

var eventElement = regexp.MustCompile(`(?:<ChangeType>|<Event>|"ChangeType":|"Event":)(?:<!\[CDATA\[|")?([a-zA-Z_]+)`)

// eventName is what a message is about, as far as a line of the journal can say it.
func eventName(message string) string {
	all := eventElement.FindAllStringSubmatch(message, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// A line is an entry as the pages show it.
type line struct {
	At, Kind, What, Name, Where string
	ErrCode                     int
	Status, Times               int
	Lost                        bool
}

// lines returns the journal, oldest first; f.mu is held.
func (f *Fake) lines() []line {
	list := make([]line, 0, len(f.journal))
	for _, e := range f.journal {
		l := line{
			At: e.at.Format("15:04:05"), Kind: e.kind, What: e.what, Name: cmp.Or(e.name, e.who), Where: e.where,
			Status: e.status, Times: e.times, Lost: e.lost,
		}
		var said struct {
			ErrCode int    `json:"errcode"`
			UserID  string `json:"userid"`
		}
		if e.kind == "call" && json.Unmarshal(e.body, &said) == nil {
			l.ErrCode, l.Name = said.ErrCode, said.UserID
			called := func(m *Member) bool { return said.UserID != "" && fold(m.UserID) == fold(said.UserID) }
			if m := cmp.Or(first(f.corps[demoCorp].members, called), first(f.gone, called)); m != nil {
				l.Name = cmp.Or(m.Name, m.UserID)
			}
		}
		list = append(list, l)
	}
	return list
}

// mishaps are what the console switches on, one at a time.
var mishaps = []struct {
	Key, ZH, EN string
	path        string
	fault       Fault
}{
	{"down", "企业微信没有响应", "WeCom does not answer", "*", Fault{Drop: DropBefore}},
	{"slow", "每次调用都慢 3 秒", "every call takes 3 seconds more", "*", Fault{Delay: 3 * time.Second}},
	{"busy", "系统繁忙（-1）", "WeCom is busy (-1)", "*", Fault{ErrCode: -1}},
	{"limit", "调用超过频率限制（45009）", "too many calls (45009)", "*", Fault{ErrCode: 45009}},
	{"ip", "IP 不在企业可信IP中（60020）", "the server's address is not trusted (60020)", "*", Fault{ErrCode: 60020}},
	{"secret", "Secret 错误（40001）", "the secret is wrong (40001)", "gettoken", Fault{ErrCode: 40001}},
	{"domain", "回调域名不可信（50001）", "the callback's domain is not trusted (50001)", "auth/getuserinfo", Fault{ErrCode: 50001}},
}

// A signedIn is somebody who came in somewhere.
type signedIn struct {
	UserID, Name, Where, At  string
	Disabled, Gone, Stranger bool
}

// console serves the pages of the console, and does what is pressed on them.
func (f *Fake) console(r *http.Request) *answer {
	if r.Method == http.MethodPost {
		return f.pressed(r)
	}
	v := &visit{f: f, r: r, lang: language(r)}
	f.mu.Lock()
	defer f.mu.Unlock()
	v.corp, v.app = f.corps[demoCorp], f.app()
	only := r.URL.Query().Get("who")
	if r.URL.Path == storyPath && r.Header.Get("Sec-Fetch-Dest") == "iframe" {
		f.note(entry{kind: "opened"}) // the page around the frame
	}
	name := "index"
	if r.URL.Path == storyPath {
		name = "story"
	}
	lines := f.lines()
	if name == "index" {
		slices.Reverse(lines)
	} else {
		lines = lines[max(0, len(lines)-tellEntries):]
	}
	base := "http://" + r.Host
	a := v.show(name, map[string]any{
		"Variables": [][2]string{
			{"WECOM_CORP_ID", demoCorp}, {"WECOM_AGENT_ID", v.app.AgentID}, {"WECOM_SECRET", v.app.Secret},
			{"WECOM_API_URL", base}, {"WECOM_AUTHORIZE_URL", base + inAppPath}, {"WECOM_WEB_LOGIN_URL", base + webPath},
		},
		"Website": demoWebsite, "Account": demoAccount, "WeixinSecret": f.weixin.apps[demoWebsite].Secret,
		"People": f.cameIn(only, name == "story"), "Lines": lines, "Mishaps": mishaps, "Mishap": f.mishap, "Receivers": f.events,
	})
	a.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; connect-src 'self'; "+
		"script-src "+consoleHash+"; frame-ancestors 'self' http://127.0.0.1:* http://localhost:*")
	return a
}

// cameIn returns who exchanged a code and where, youngest first, and those who left since; the
// story has no room for where. f.mu is held.
func (f *Fake) cameIn(only string, story bool) (people []signedIn) {
	c := f.corps[demoCorp]
	for _, k := range slices.Backward(f.issued) {
		same := func(p signedIn) bool { return p.UserID == k.Who && (story || p.Where == hostOf(k.RedirectURI)) }
		if !k.Used || k.CorpID != demoCorp || only != "" && only != k.Who || slices.ContainsFunc(people, same) {
			continue
		}
		p := signedIn{UserID: k.Who, Name: k.person.name, Where: hostOf(k.RedirectURI), At: k.IssuedAt.Format("15:04:05")}
		if m := c.member(k.Who); m != nil {
			p.Disabled = m.Status == Disabled
		} else {
			p.Gone = k.person.member != nil
			p.Stranger = !p.Gone
		}
		if people = append(people, p); len(people) == 50 {
			break
		}
	}
	return people
}

// pressed does what a form of the console says. The answer comes when the event receivers know.
func (f *Fake) pressed(r *http.Request) *answer {
	// The page is for this machine's browser, whatever name somebody's domain gives to this address.
	if http.NewCrossOriginProtection().Check(r) != nil || !onLoopback(r.Host) {
		return textAnswer(http.StatusForbidden, "403")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		return textAnswer(http.StatusBadRequest, "400")
	}
	if err := f.press(r.PostForm); err != nil {
		return textAnswer(http.StatusBadRequest, err.Error())
	}
	_ = f.AwaitEvents(r.Context()) // the browser has gone
	if f.changed != nil {
		f.changed()
	}
	a := newAnswer(http.StatusSeeOther, "text/plain; charset=utf-8", nil)
	a.header.Set("Location", r.URL.Path+strings.TrimSuffix("?"+r.URL.RawQuery, "?"))
	return a
}

func onLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (f *Fake) press(form url.Values) error {
	for what, values := range form {
		who := values[0]
		m, known := f.Member(who)
		switch what {
		case "leaves", "disables", "enables":
			if !known {
				continue
			}
			switch what {
			case "leaves":
				f.mu.Lock()
				f.gone = append(f.gone, &m)
				f.mu.Unlock()
				f.RemoveMember(who)
			case "disables":
				f.DisableMember(who)
			case "enables":
				f.EnableMember(who)
			}
		case "returns":
			f.mu.Lock()
			i := slices.IndexFunc(f.gone, func(m *Member) bool { return m.UserID == who })
			if i < 0 {
				f.mu.Unlock()
				continue
			}
			m = *f.gone[i]
			f.gone = slices.Delete(f.gone, i, i+1)
			f.mu.Unlock()
			f.AddMember(m)
		case "tokens":
			f.KillTokens()
		case "mishap":
			f.ClearFaults()
			for _, x := range mishaps {
				if x.Key == who {
					f.Always(x.path, x.fault)
				}
			}
			f.mu.Lock()
			f.mishap = who
			f.mu.Unlock()
		case "receiver":
			return f.SaveEventReceiver(EventReceiver{
				AgentID: f.AgentID(), URL: who, Token: form.Get("token"), EncodingAESKey: form.Get("key"),
			})
		default:
			continue
		}
		f.mu.Lock()
		f.note(entry{kind: "did", what: what + mishapOf(what, who), who: who, name: m.Name})
		f.mu.Unlock()
	}
	return nil
}

// mishapOf tells a fault that is switched on from one that is switched off.
func mishapOf(what, key string) string {
	if what == "mishap" && key == "" {
		return "-off"
	}
	return ""
}

// With is the view with one of its parts, for a template inside a template.
func (v view) With(part any) view {
	v.Part = part
	return v
}

// Label is in the language of a page.
func (v view) Label(zh, en string) string {
	if v.ZH {
		return zh
	}
	return en
}

// Script goes through html/template untouched, and so does its hash.
func (v view) Script() template.JS { return template.JS(consoleJS) }

// Said is what a call's answer was, beside success.
func (l line) Said() string {
	switch {
	case l.Lost:
		return "—"
	case l.ErrCode != 0:
		return strconv.Itoa(l.ErrCode)
	case l.Status != 0:
		return "HTTP " + strconv.Itoa(l.Status)
	}
	return ""
}
