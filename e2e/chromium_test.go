package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// stepTimeout bounds one step of a browser.
const stepTimeout = 20 * time.Second

// chromium is the one process that all tests use; each gets a profile of its own in it.
var chromium struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	err    error
	output bytes.Buffer
}

func chromiumPath() string {
	if name := os.Getenv("CHROME"); name != "" {
		return name
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	return ""
}

func startChromium(t *testing.T) context.Context {
	t.Helper()
	program := chromiumPath()
	if program == "" {
		t.Skip("SKIPPED SERVICE TEST: chromium: there is no chromium, chromium-browser or google-chrome in PATH, and CHROME is not set")
	}
	chromium.once.Do(func() {
		ctx, cancel := chromedp.NewExecAllocator(context.Background(),
			chromedp.ExecPath(program),
			chromedp.UserDataDir(filepath.Join(scratch, "profile")),
			chromedp.Headless,
			chromedp.NoSandbox, // root cannot have one
			chromedp.NoFirstRun,
			chromedp.NoDefaultBrowserCheck,
			chromedp.DisableGPU,
			chromedp.IgnoreCertErrors,
			chromedp.Flag("disable-background-networking", true),
			chromedp.Flag("disable-component-update", true),
			chromedp.Flag("disable-default-apps", true),
			chromedp.Flag("disable-dev-shm-usage", true),
			chromedp.Flag("disable-extensions", true),
			chromedp.Flag("disable-sync", true),
			chromedp.Flag("force-color-profile", "srgb"),
			chromedp.Flag("lang", "zh-CN"),
			chromedp.Flag("no-proxy-server", true),
			chromedp.CombinedOutput(&chromium.output),
		)
		chromium.ctx, chromium.cancel = chromedp.NewContext(ctx)
		closeTab := chromium.cancel
		chromium.cancel = func() { closeTab(); cancel() }
		chromium.err = chromedp.Do(chromium.ctx) // starts it
	})
	require.NoError(t, chromium.err, "%s", &chromium.output)
	return chromium.ctx
}

func closeChromium() {
	if chromium.ctx != nil && chromium.err == nil {
		ctx, cancel := context.WithTimeout(chromium.ctx, stepTimeout)
		defer cancel()
		_ = chromedp.Cancel(ctx)
		chromium.cancel()
	}
}

// A page is one tab of a real browser.
type page struct {
	*testing.T
	ctx context.Context

	mu      sync.Mutex
	asked   []hop
	console []string
}

// A hop is a document that a tab asked for and the status that came back.
type hop struct {
	Method, URL string
	Status      int64
	id          network.RequestID
}

// newPage returns a tab in a profile of its own, without cookies, for a browser that prefers lang.
func newPage(t *testing.T, lang string) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(startChromium(t), chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return openTab(t, ctx, lang)
}

// tab opens another tab with the same cookies.
func (p *page) tab() *page {
	p.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.Cleanup(cancel)
	return openTab(p.T, ctx, "")
}

func openTab(t *testing.T, ctx context.Context, lang string) *page {
	t.Helper()
	p := &page{T: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx))
	require.NoError(t, chromedp.Listen(ctx, p.heard))
	_, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{})
	require.NoError(t, err)
	if lang != "" {
		p.speak(lang)
	}
	t.Cleanup(func() {
		for _, line := range p.said() {
			require.NotRegexp(t, `(?i)content.security.policy`, line)
		}
		if t.Failed() {
			t.Logf("the tab asked for\n%s", p.history())
		}
	})
	return p
}

// heard notes documents and the console. It runs on the goroutine that reads the browser's messages.
func (p *page) heard(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if ev.Type != network.ResourceTypeDocument {
			return
		}
		if ev.RedirectResponse != nil {
			p.answered(ev.RequestID, ev.RedirectResponse.Status)
		}
		p.asked = append(p.asked, hop{ev.Request.Method, ev.Request.URL + ev.Request.URLFragment, 0, ev.RequestID})
	case *network.EventResponseReceived:
		p.answered(ev.RequestID, ev.Response.Status)
	case *log.EventEntryAdded:
		p.console = append(p.console, fmt.Sprintf("%s: %s (%s)", ev.Entry.Level, ev.Entry.Text, ev.Entry.URL))
	case *audits.EventIssueAdded:
		if ev.Issue.Details.ContentSecurityPolicyIssueDetails != nil {
			details, _ := json.Marshal(ev.Issue.Details.ContentSecurityPolicyIssueDetails)
			p.console = append(p.console, "Content Security Policy: "+string(details))
		}
	}
}

func (p *page) answered(id network.RequestID, status int64) {
	for i := len(p.asked) - 1; i >= 0; i-- {
		if p.asked[i].id == id && p.asked[i].Status == 0 {
			p.asked[i].Status = status
			return
		}
	}
}

func (p *page) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.console...)
}

func (p *page) hops() []hop {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]hop(nil), p.asked...)
}

func (p *page) history() string {
	var b strings.Builder
	hops := p.hops()
	for _, h := range hops[max(0, len(hops)-12):] {
		fmt.Fprintf(&b, "%d %s %s\n", h.Status, h.Method, h.URL)
	}
	return b.String()
}

// visits counts the documents whose URL contains part.
func (p *page) visits(part string) (n int) {
	for _, h := range p.hops() {
		if strings.Contains(h.URL, part) {
			n++
		}
	}
	return n
}

// last returns the last URL that contains part.
func (p *page) last(part string) string {
	p.Helper()
	hops := p.hops()
	for i := len(hops) - 1; i >= 0; i-- {
		if strings.Contains(hops[i].URL, part) {
			return hops[i].URL
		}
	}
	require.Fail(p, "never asked for", "%s in\n%s", part, p.history())
	return ""
}

// step runs an action for stepTimeout at most.
func step[T any](p *page, a chromedp.Action[T]) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	require.NoError(p, err, p.history())
	return v
}

func call[P, R any](p *page, cmd cdp.Command[P, R], params P) R {
	p.Helper()
	return step(p, func(ctx context.Context, t *chromedp.Target) (R, error) { return cdp.Call(ctx, t, cmd, params) })
}

// open types a URL into the address bar and returns the status of the page that came in the end.
func (p *page) open(address string) int64 {
	p.Helper()
	if res := step(p, chromedp.NavigateResponse(address)); res != nil {
		return res.Status
	}
	return 0 // there was no request, as for about:blank
}

// click presses what the CSS selector finds and waits for the page that comes.
func (p *page) click(selector string) int64 {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepTimeout)
	defer cancel()
	res, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	require.NoError(p, err, "%s\n%s", selector, p.history())
	return res.Status
}

// pick chooses somebody on one of the fake's pages.
func (p *page) pick(who string) int64 {
	p.Helper()
	return p.click(fmt.Sprintf(`button[name=who][value=%q]`, who))
}

func (p *page) back() {
	p.Helper()
	step(p, chromedp.NavigateBack())
}

func (p *page) href() string {
	p.Helper()
	return eval[string](p, `location.href`)
}

func (p *page) text() string {
	p.Helper()
	return eval[string](p, `document.body.innerText`)
}

func eval[T any](p *page, script string) T {
	p.Helper()
	return step(p, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// fetched is what a script's fetch got.
type fetched struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Cache  string `json:"cache"`
	Body   string `json:"body"`
}

func (p *page) fetch(path string) fetched {
	p.Helper()
	return eval[fetched](p, fmt.Sprintf(`fetch(%s).then(async r => ({
		status: r.status, type: r.headers.get("content-type"), cache: r.headers.get("cache-control"), body: await r.text()
	}))`, quoted(path)))
}

func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// speak makes the browser prefer a language.
func (p *page) speak(lang string) { p.pretend("", lang) }

// pretend makes the tab send another User-Agent, if it is not "", and prefer a language.
func (p *page) pretend(userAgent, lang string) {
	p.Helper()
	if userAgent == "" {
		userAgent = strings.ReplaceAll(eval[string](p, `navigator.userAgent`), "Headless", "")
	}
	call(p, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: userAgent, AcceptLanguage: lang})
}

// cookies returns what the browser would send to address.
func (p *page) cookies(address string) []*network.Cookie {
	p.Helper()
	return call(p, network.GetCookies, network.GetCookiesParams{URLs: []string{address}}).Cookies
}

func (p *page) dropCookies() {
	p.Helper()
	_, err := chromedp.CallBrowser(p.ctx, storage.ClearCookies, storage.ClearCookiesParams{BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID})
	require.NoError(p, err)
}

// dropSession deletes the session's cookie and no other.
func (p *page) dropSession(address string) {
	p.Helper()
	dropped := 0
	for _, c := range p.cookies(address) {
		if isSessionCookie(c.Name) {
			call(p, network.DeleteCookies, network.DeleteCookiesParams{Name: c.Name, URL: address})
			dropped++
		}
	}
	require.Equal(p, 1, dropped)
}

// isSessionCookie tells the session's cookie from an attempt's, which has a second part.
func isSessionCookie(name string) bool {
	tag, ok := strings.CutPrefix(strings.TrimPrefix(name, "__Host-"), "wecom-")
	return ok && !strings.Contains(tag, "-")
}

// asBrowserWrites returns target behind origin as the browser itself spells it.
func (p *page) asBrowserWrites(origin, target string) string {
	p.Helper()
	return eval[string](p, fmt.Sprintf(`new URL(%s + %s).href`, quoted(origin), quoted(target)))
}

// setCookie plants a cookie.
func (p *page) setCookie(address, name, value string) {
	p.Helper()
	call(p, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: address})
}
