package wecomtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// User-Agents that [Browser.SetUserAgent] may be given.
const (
	UserAgentChrome       = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
	UserAgentWeComAndroid = "Mozilla/5.0 (Linux; Android 15; V2309A Build/AP3A.240905.015.A1; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.6723.86 Mobile Safari/537.36 wxwork/4.1.36 MicroMessenger/7.0.1 NetType/4G Language/zh Lang/zh ColorScheme/Dark wwmver/3.26.36.632"
	UserAgentWeComIOS     = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)  Mobile/15E148 wxwork/4.1.30 MicroMessenger/7.0.1 Language/zh ColorScheme/Light wwmver/3.26.13.714"
	UserAgentWeComWindows = "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/107.0.5304.110 Safari/537.36 Language/zh wxwork/4.1.10 (MicroMessenger/6.2) WindowsWechat  MailPlugin_Electron WeMail embeddisk"
	UserAgentWeComMac     = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)wxwork/3.1.8 (MicroMessenger/6.2) WeChat/2.0.4"
	UserAgentWeixin       = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.50(0x18003237) NetType/WIFI Language/zh_CN"
)

const maxRedirects = 20

// ErrTooManyRedirects is [Response.Err] after twenty redirects in a row.
var ErrTooManyRedirects = errors.New("wecomtest: too many redirects")

// A Browser is a scripted browser without sockets: it calls the handlers of the application, of
// other sites and of the fake WeCom in this process, under real https names. It keeps cookies by a
// browser's rules (Secure, SameSite, Domain, Path, expiry, the prefixes __Host- and __Secure-),
// sends a browser's headers, and follows redirects as a browser resolves them. It runs no scripts,
// ignores Refresh, requests no compression and sends no CORS preflight.
//
// Where browsers differ it behaves like the strictest: a Secure cookie needs https on loopback too,
// and a SameSite=Strict cookie is not sent once a redirect has led across sites.
//
// Create one with [Fake.Browser]. All methods may be called from any goroutine; concurrent calls
// behave like concurrent requests of one page. A panic in a handler reaches the caller.
type Browser struct {
	p *profile

	mu      sync.Mutex
	page    *page // what the tab shows; nil: nothing yet
	history []Hop
	stopAt  func(*http.Request) bool
}

// A profile is what all tabs of a browser share.
type profile struct {
	fake   *Fake
	home   address
	remote string
	jar    jar

	mu    sync.Mutex
	sites map[string]http.Handler // by origin
	habits
}

// habits are what a test may change at any time.
type habits struct {
	choice     choice
	userAgent  string
	language   string
	noMetadata bool
	blocked    bool // cookies are
}

func (p *profile) now() habits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.habits
}

type page struct {
	address
	policy string // Referrer-Policy
}

// A Hop is one request that a browser made and the status that came back; 0 if the connection
// failed.
type Hop struct {
	Method string
	URL    string
	Status int
}

// A Response is the last answer that a browser got.
type Response struct {
	// Status is 0 if Held, or if Err says why nothing came back.
	Status int
	Header http.Header
	Body   string
	// URL is the address of the last request, in full; of the one that was not sent if Held. A
	// fragment lives on through redirects, as it does in browsers: after an in-app sign-in it is
	// still #wechat_redirect.
	URL string
	// Hops are all requests that led here, oldest first.
	Hops []Hop
	// Held says that [Browser.StopAt] kept the request to URL back. [Browser.Follow] sends it.
	Held bool
	// Err is set if no answer came: no such host, a connection that a fault dropped, too many
	// redirects, a fetch that CORS forbids.
	Err error

	next *request
}

// Location returns the absolute URL to which a redirect points, as a browser resolves it, and ""
// for anything but a redirect to an http or https URL.
func (r *Response) Location() string {
	if r.next == nil || r.Held {
		return ""
	}
	return r.next.to.String()
}

// JSON decodes the body into v.
func (r *Response) JSON(v any) error { return json.Unmarshal([]byte(r.Body), v) }

// Browser returns a browser with an empty cookie jar for which app is the web site at origin, such
// as "https://app.example.com". It panics if origin is none. Sites beside it are Tencent's own host
// names, the servers that [Fake.Start] started, and what [Browser.Serve] adds.
func (f *Fake) Browser(origin string, app http.Handler) *Browser {
	p := &profile{
		fake: f, sites: map[string]http.Handler{},
		habits: habits{userAgent: UserAgentChrome, language: "zh-CN,zh;q=0.9,en;q=0.8"},
	}
	f.mu.Lock()
	f.browsers++
	p.remote = fmt.Sprintf("100.64.%d.%d:50000", f.browsers>>8&255, f.browsers&255)
	f.mu.Unlock()
	p.home = mustOrigin(origin)
	p.sites[p.home.Origin()] = app
	return &Browser{p: p}
}

func mustOrigin(origin string) address {
	a, ok := resolve(address{}, origin)
	if !ok || a.Target != "/" || a.Fragment != "" {
		panic("wecomtest: not an origin: " + origin)
	}
	return a
}

// Serve makes h the web site at origin, for this browser and its tabs.
func (b *Browser) Serve(origin string, h http.Handler) *Browser {
	a := mustOrigin(origin)
	return b.set(func(p *profile) { p.sites[a.Origin()] = h })
}

func (b *Browser) set(change func(*profile)) *Browser {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	change(b.p)
	return b
}

// SignInAs makes all sign-in pages answer this browser at once as if who had signed in; who is as
// in [Fake.SignInAs]. "" leaves it to the Fake again.
func (b *Browser) SignInAs(who string) *Browser {
	b.p.fake.mu.Lock()
	b.p.fake.mustExist(who)
	b.p.fake.mu.Unlock()
	return b.set(func(p *profile) { p.choice = choice{who: who} })
}

// Refuse makes all sign-in pages answer this browser at once as if the person had refused, until
// SignInAs is called.
func (b *Browser) Refuse() *Browser {
	return b.set(func(p *profile) { p.choice = choice{refuse: true} })
}

// InApp makes the browser WeCom's web-view on Android.
func (b *Browser) InApp() *Browser { return b.SetUserAgent(UserAgentWeComAndroid) }

// SetUserAgent replaces the User-Agent, at first UserAgentChrome. Android web-views ("; wv)") send
// an X-Requested-With with their package name, as they do in life.
func (b *Browser) SetUserAgent(ua string) *Browser {
	return b.set(func(p *profile) { p.userAgent = ua })
}

// SetLanguage replaces the Accept-Language header.
func (b *Browser) SetLanguage(accept string) *Browser {
	return b.set(func(p *profile) { p.language = accept })
}

// FetchMetadata says whether the browser sends the Sec-Fetch headers, as it does at first. Old
// web-views know none of them.
func (b *Browser) FetchMetadata(on bool) *Browser {
	return b.set(func(p *profile) { p.noMetadata = !on })
}

// BlockCookies makes the browser neither send nor keep cookies while on.
func (b *Browser) BlockCookies(on bool) *Browser {
	return b.set(func(p *profile) { p.blocked = on })
}

// DropCookies deletes all cookies.
func (b *Browser) DropCookies() { b.p.jar.clear() }

// Cookies returns the cookies that the browser would send to ref, an absolute URL or a path of the
// application, with their attributes; "" means the application's root. It is what the developer
// tools show, HttpOnly ones included.
func (b *Browser) Cookies(ref string) []*http.Cookie {
	if ref == "" {
		ref = "/"
	}
	a, ok := b.typed(ref)
	if !ok {
		return nil
	}
	var list []*http.Cookie
	for _, c := range b.p.jar.matching(a, b.p.fake.clock()) {
		shown := c.Cookie
		list = append(list, &shown)
	}
	return list
}

// SetCookie makes the browser read line as a Set-Cookie header of a response from ref, as in
// [Browser.Cookies], and reports whether it took the cookie.
func (b *Browser) SetCookie(ref, line string) bool {
	a, ok := b.typed(ref)
	return ok && b.p.jar.set(a, line, b.p.fake.clock())
}

// Tab opens another tab: cookies and settings are shared, the history is not.
func (b *Browser) Tab() *Browser { return &Browser{p: b.p} }

// From returns a tab that shows a page of origin, which is not requested: what the tab does next,
// such as Click or PostForm, comes from there.
func (b *Browser) From(origin string) *Browser {
	return &Browser{p: b.p, page: &page{address: mustOrigin(origin)}}
}

// History returns all requests that this tab made, oldest first.
func (b *Browser) History() []Hop {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.history)
}

// StopAt keeps back every request of this tab that stop accepts, until StopAt is called with nil:
// the tab returns a [Response] that is Held. The request is as the handler would see it.
func (b *Browser) StopAt(stop func(*http.Request) bool) *Browser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopAt = stop
	return b
}

// Get opens ref as if it were typed into the address bar: a path, which stands behind the
// application's origin as it is, or an absolute URL. It follows redirects.
func (b *Browser) Get(ref string) *Response { return b.open(ref, true) }

// GetNoFollow is [Browser.Get] without following redirects. [Browser.Follow] goes on.
func (b *Browser) GetNoFollow(ref string) *Response { return b.open(ref, false) }

func (b *Browser) open(ref string, follow bool) *Response {
	to, ok := b.typed(ref)
	if !ok {
		return &Response{URL: ref, Err: errors.New("wecomtest: not an http or https URL")}
	}
	return b.run(&request{method: http.MethodGet, to: to, navigation: true, user: true}, follow, false)
}

// Click opens ref as a link on the page that the tab shows.
func (b *Browser) Click(ref string) *Response {
	return b.start(&request{method: http.MethodGet, navigation: true, user: true}, ref)
}

// Post submits a form without fields from the page that the tab shows to ref.
func (b *Browser) Post(ref string) *Response { return b.PostForm(ref, nil) }

// PostForm submits a form from the page that the tab shows, or from one of the application if it
// shows none.
func (b *Browser) PostForm(ref string, form url.Values) *Response {
	return b.start(&request{
		method: http.MethodPost, navigation: true, user: true,
		body: []byte(form.Encode()), header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	}, ref)
}

// Fetch does what a script's fetch(ref, {method, body, headers}) does on the page that the tab
// shows, or on one of the application if it shows none. headers are lines such as "Content-Type:
// application/json".
func (b *Browser) Fetch(method, ref, body string, headers ...string) *Response {
	q := &request{method: strings.ToUpper(method), header: http.Header{}}
	if body != "" {
		q.body = []byte(body)
		q.header.Set("Content-Type", "text/plain;charset=UTF-8")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ":")
		q.header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return b.start(q, ref)
}

// Follow continues where a response stopped: it sends the request that was held back, or follows
// the redirect. res may come from another browser, whose cookies are then not sent.
func (b *Browser) Follow(res *Response) *Response {
	if res.next == nil {
		return &Response{URL: res.URL, Err: errors.New("wecomtest: nothing to follow")}
	}
	q := *res.next
	q.hops = nil
	return b.run(&q, true, res.Held)
}

// Do sends r with this browser's cookies for r.URL and adds nothing else. It is for requests that
// no page would make: HEAD, a prefetch, forged headers. It follows no redirect. r.URL is absolute,
// or a path of the application, and selects the site; r.Host, r.RequestURI and r.RemoteAddr, where
// they are set, are what the handler sees. r's context is passed on.
func (b *Browser) Do(r *http.Request) *Response {
	to, ok := b.typed(r.URL.String())
	if !ok {
		return &Response{URL: r.URL.String(), Err: errors.New("wecomtest: not an http or https URL")}
	}
	q := &request{method: r.Method, to: to, header: r.Header.Clone(), raw: true, navigation: true, ctx: r.Context()}
	q.target, q.host, q.remote = r.RequestURI, r.Host, r.RemoteAddr
	if r.Body != nil {
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(r.Body); err != nil {
			return &Response{URL: to.String(), Err: err}
		}
		q.body = buf.Bytes()
	}
	return b.run(q, false, false)
}

// typed resolves what somebody types into the address bar.
func (b *Browser) typed(ref string) (address, bool) {
	if strings.HasPrefix(ref, "/") {
		ref = b.p.home.Origin() + ref
	}
	return resolve(address{}, ref)
}

// start runs a request that the tab's page makes.
func (b *Browser) start(q *request, ref string) *Response {
	b.mu.Lock()
	from := b.page
	b.mu.Unlock()
	if from == nil {
		from = &page{address: b.p.home}
	}
	to, ok := resolve(from.address, ref)
	if !ok {
		return &Response{URL: ref, Err: errors.New("wecomtest: not an http or https URL")}
	}
	q.to, q.from = to, from
	return b.run(q, true, false)
}

// A request is one that a browser is about to make.
type request struct {
	method     string
	to         address
	header     http.Header
	body       []byte
	navigation bool  // else a fetch
	user       bool  // somebody pressed something
	raw        bool  // of Do: no headers of ours
	from       *page // nil: typed
	site       string
	crossed    bool // some redirect led across sites
	hops       []Hop
	ctx        context.Context

	target, host, remote string // of Do: in the place of what to and the profile say
}

// run sends q and follows redirects if asked to.
func (b *Browser) run(q *request, follow, release bool) *Response {
	for n := 0; ; n++ {
		res := b.step(q, release)
		release = false
		if res.Held || res.Err != nil || res.next == nil || !follow {
			return res
		}
		if n == maxRedirects {
			res.Status, res.Err = 0, ErrTooManyRedirects
			return res
		}
		q = res.next
	}
}

// step makes one request.
func (b *Browser) step(q *request, release bool) *Response {
	b.mu.Lock()
	stop := b.stopAt
	b.mu.Unlock()
	r := b.build(q)
	if r == nil {
		return &Response{URL: q.to.String(), Hops: q.hops, Err: errors.New("wecomtest: malformed request target")}
	}
	if stop != nil && !release && stop(r) {
		return &Response{URL: q.to.String(), Hops: q.hops, Held: true, next: q}
	}
	res := b.send(q, r)
	hop := Hop{q.method, q.to.String(), res.Status}
	b.mu.Lock()
	b.history = append(b.history, hop)
	b.mu.Unlock()
	res.URL, res.Hops = hop.URL, append(slices.Clone(q.hops), hop)
	if res.Err != nil {
		return res
	}
	if q.credentials() && !b.p.now().blocked {
		for _, line := range res.Header["Set-Cookie"] {
			b.p.jar.set(q.to, line, b.p.fake.clock())
		}
	}
	if !q.credentials() {
		if allow := res.Header.Get("Access-Control-Allow-Origin"); allow != "*" && allow != q.from.Origin() {
			return &Response{URL: res.URL, Hops: res.Hops, Err: errors.New("wecomtest: blocked by CORS")}
		}
	}
	if res.next = redirected(q, res); res.next == nil && q.navigation && !q.raw && res.Status != http.StatusNoContent {
		b.mu.Lock()
		b.page = &page{address: q.to, policy: res.Header.Get("Referrer-Policy")}
		b.mu.Unlock()
	}
	return res
}

// redirected returns the request to which a response leads, or nil.
func redirected(q *request, res *Response) *request {
	location := res.Header.Get("Location")
	switch res.Status {
	case 301, 302, 303, 307, 308:
	default:
		return nil
	}
	if location == "" {
		return nil
	}
	to, ok := resolve(q.to, location)
	if !ok {
		return nil
	}
	scripted := (q.to.Path() == webPath && q.to.Host == webHost || q.to.Path() == qrPath && q.to.Host == inAppHost) && q.method == http.MethodGet
	if to.Fragment == "" && !scripted {
		to.Fragment = q.to.Fragment
	}
	next := *q
	next.to, next.hops, next.raw, next.target, next.host = to, res.Hops, false, "", ""
	if res.Status == 303 && q.method != http.MethodHead || res.Status < 303 && q.method == http.MethodPost {
		next.method, next.body = http.MethodGet, nil
		next.header = q.header.Clone()
		next.header.Del("Content-Type")
	}
	if policy := res.Header.Get("Referrer-Policy"); policy != "" && next.from != nil {
		next.from = &page{next.from.address, policy}
	}
	if relation(q.to, to) == "cross-site" {
		next.crossed = true
	}
	if scripted {
		// In life nobody is redirected here: a script of the page moves on when the code was
		// scanned, so that Tencent is who starts the rest.
		next.from, next.user, next.crossed = &page{address: q.to}, false, false
		next.site = ""
	}
	return &next
}

// relate returns what Sec-Fetch-Site says, the worst of all hops.
func (q *request) relate() string {
	if q.from == nil {
		return "none"
	}
	rank := []string{"", "same-origin", "same-site", "cross-site"}
	now := relation(q.from.address, q.to)
	return rank[max(slices.Index(rank, now), slices.Index(rank, q.site))]
}

func (q *request) safe() bool { return q.method == http.MethodGet || q.method == http.MethodHead }

func (q *request) reach() reach {
	if q.raw {
		return reach{sameSite: true, top: true, safe: true}
	}
	return reach{sameSite: q.relate() != "cross-site" && !q.crossed, top: q.navigation, safe: q.safe()}
}

// credentials reports whether cookies go with the request and come back: not with a plain fetch of
// another origin.
func (q *request) credentials() bool { return q.navigation || q.from.Origin() == q.to.Origin() }

// build makes the request as the server sees it.
func (b *Browser) build(q *request) *http.Request {
	q.site = q.relate()
	p, as := b.p, b.p.now()
	ctx := q.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	ctx = withPageContext(ctx, pageContext{as.choice, q.to.Fragment})
	h := q.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if !q.raw {
		q.setHeaders(h, as)
	}
	if q.credentials() && !as.blocked {
		if line := p.jar.header(q.to, q.reach(), p.fake.clock()); line != "" {
			if own := h.Get("Cookie"); own != "" {
				line = own + "; " + line
			}
			h.Set("Cookie", line)
		}
	}
	r := serverRequest(ctx, q.method, cmp.Or(q.host, q.to.Host), cmp.Or(q.target, q.to.Target), h, q.body)
	if r != nil {
		r.RemoteAddr = cmp.Or(q.remote, p.remote)
		if q.to.Scheme == "https" {
			r.TLS = tlsState(q.to.Host)
		}
	}
	return r
}

// setHeaders adds a browser's own headers to those of the page's script.
func (q *request) setHeaders(h http.Header, as habits) {
	set := func(name, value string) {
		if h.Get(name) == "" && value != "" {
			h.Set(name, value)
		}
	}
	set("User-Agent", as.userAgent)
	set("Accept-Language", as.language)
	mode, dest := "cors", "empty"
	if q.navigation {
		mode, dest = "navigate", "document"
		set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7")
		set("Upgrade-Insecure-Requests", "1")
		if strings.Contains(as.userAgent, "; wv)") {
			set("X-Requested-With", "com.tencent.wework")
		}
	}
	set("Accept", "*/*")
	if !as.noMetadata && trustworthy(q.to) {
		set("Sec-Fetch-Site", q.site)
		set("Sec-Fetch-Mode", mode)
		set("Sec-Fetch-Dest", dest)
		if q.navigation && q.user {
			set("Sec-Fetch-User", "?1")
		}
	}
	if q.from == nil {
		return
	}
	set("Referer", q.from.referrer(q.to))
	if !q.safe() || !q.credentials() {
		set("Origin", q.from.originHeader(q))
	}
}

// referrer is the Referer header for a request from g.
func (g *page) referrer(to address) string {
	if g.Scheme == "https" && to.Scheme == "http" {
		if g.policy != "unsafe-url" && g.policy != "origin" && g.policy != "origin-when-cross-origin" {
			return ""
		}
	}
	same := g.Origin() == to.Origin()
	origin, full := g.Origin()+"/", g.Origin()+g.Target
	switch g.policy {
	case "no-referrer":
		return ""
	case "same-origin":
		if same {
			return full
		}
		return ""
	case "origin", "strict-origin":
		return origin
	case "unsafe-url", "no-referrer-when-downgrade":
		return full
	}
	if same {
		return full
	}
	return origin
}

// originHeader is the Origin header for a request from g.
func (g *page) originHeader(q *request) string {
	if q.navigation {
		switch g.policy {
		case "no-referrer":
			return "null"
		case "same-origin":
			if g.Origin() != q.to.Origin() {
				return "null"
			}
		}
		if g.Scheme == "https" && q.to.Scheme == "http" {
			return "null"
		}
	}
	return g.Origin()
}

// send hands r to whoever serves its host.
func (b *Browser) send(q *request, r *http.Request) *Response {
	p := b.p
	p.mu.Lock()
	site := p.sites[q.to.Origin()]
	p.mu.Unlock()
	if site != nil {
		return serveInProcess(site, r)
	}
	if !p.fake.stands(q.to.Scheme, q.to.Host) {
		return &Response{Err: &net.DNSError{Err: "no such host", Name: q.to.Host, IsNotFound: true}}
	}
	a, err := p.fake.respond(r)
	if err != nil {
		return &Response{Err: err}
	}
	body, err := io.ReadAll(a.reader(r.Context()))
	if a.cut {
		err = errDropped
	}
	if err != nil {
		return &Response{Err: err}
	}
	return &Response{Status: a.status, Header: a.header.Clone(), Body: string(body)}
}

// serveInProcess runs a handler as package net/http would.
func serveInProcess(h http.Handler, r *http.Request) (res *Response) {
	w := &recorder{head: r.Method == http.MethodHead, header: http.Header{}}
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			res = &Response{Err: errDropped}
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK) // unless the handler did
	return &Response{Status: w.status, Header: w.sent, Body: w.body.String()}
}

// A recorder is a ResponseWriter that keeps what a browser would receive.
type recorder struct {
	head   bool
	header http.Header
	sent   http.Header // header as it stood when it was sent
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

var newlines = strings.NewReplacer("\n", " ", "\r", " ")

func (w *recorder) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("wecomtest: invalid status " + strconv.Itoa(status))
	}
	if w.sent != nil || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status, w.sent = status, w.header.Clone()
	for _, values := range w.sent {
		for i := range values {
			values[i] = strings.TrimSpace(newlines.Replace(values[i]))
		}
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.sent == nil {
		if _, set := w.header["Content-Type"]; !set {
			w.header.Set("Content-Type", http.DetectContentType(p))
		}
		w.WriteHeader(http.StatusOK)
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if !w.head {
		w.body.Write(p)
	}
	return len(p), nil
}

func (w *recorder) Flush() { w.WriteHeader(http.StatusOK) }
