package wecomtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	apiHost   = "qyapi.weixin.qq.com"
	inAppHost = "open.weixin.qq.com"
	webHost   = "login.work.weixin.qq.com"
	wxHost    = "api.weixin.qq.com"

	apiPrefix = "/cgi-bin/"
	inAppPath = "/connect/oauth2/authorize"
	webPath   = "/wwlogin/sso/login"
	qrPath    = "/connect/qrconnect"
)

var (
	errDropped = errors.New("wecomtest: connection dropped")
	errRefused = errors.New("wecomtest: connection refused")
)

// An answer is a response before it is written: either a socket or a caller in the same process
// gets it.
type answer struct {
	status int
	header http.Header
	body   []byte
	pad    int64 // blanks in front of body
	drip   time.Duration
	chunk  int
	cut    bool // the connection ends halfway through the body
}

func (a *answer) size() int64 { return a.pad + int64(len(a.body)) }

func newAnswer(status int, contentType string, body []byte) *answer {
	return &answer{status: status, header: http.Header{"Content-Type": {contentType}}, body: body}
}

func textAnswer(status int, text string) *answer {
	return newAnswer(status, "text/plain; charset=utf-8", []byte(text+"\n"))
}

// respond is the whole life of a request: count it, let its fault show, process it. The error is
// errDropped, errRefused or that of the request's context.
func (f *Fake) respond(r *http.Request) (*answer, error) {
	if !f.serves(r.Host, r.URL.Path) {
		return textAnswer(http.StatusNotFound, "The fake WeCom has nothing at "+r.URL.Path), nil
	}
	a, err := f.meet(f.arrive(r.URL.Path, r), r)
	f.answered(r, a, err)
	return a, err
}

// meet processes a request that meets a fault.
func (f *Fake) meet(x Fault, r *http.Request) (*answer, error) {
	path := r.URL.Path
	if x.OnCall != nil {
		x.OnCall(r)
	}
	if x.Drop == DropDial {
		return nil, errRefused
	}
	processed := x.Processed || x.Drop == DropAfter
	var a *answer
	if processed {
		a = f.process(path, r)
	}
	if !x.wait(r) {
		return nil, context.Cause(r.Context())
	}
	if x.Drop == DropBefore || x.Drop == DropAfter {
		return nil, errDropped
	}
	if x.replaces() {
		a = f.falsified(r, &x)
	} else if !processed {
		a = f.process(path, r)
	}
	for name, values := range x.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	a.pad = max(0, x.Size-int64(len(a.body)))
	a.drip, a.chunk, a.cut = x.Drip, max(x.DripBytes, 1), x.Drop == DropMidway
	return a, nil
}

// pageAt holds what people see, each on a host of Tencent's.
var pageAt = map[string]struct {
	host string
	show func(*Fake, *http.Request) *answer
}{
	inAppPath: {inAppHost, (*Fake).page},
	webPath:   {webHost, (*Fake).page},
	qrPath:    {inAppHost, (*Fake).page},
	panelPath: {cdnHost, func(_ *Fake, r *http.Request) *answer { return panelScript(r) }},
}

// serves reports whether something stands at path of this host: Tencent's own names serve their
// part, every other name serves all.
func (f *Fake) serves(host, path string) bool {
	f.mu.Lock()
	api := f.isAPI(path)
	f.mu.Unlock()
	page, known := pageAt[path]
	switch host {
	case apiHost:
		return strings.HasPrefix(path, apiPrefix)
	case wxHost:
		return api
	case inAppHost, webHost, cdnHost:
		return page.host == host
	case pictureHost:
		return isPicture(path)
	}
	return api || known || isConsole(path) || isPicture(path)
}

// isAPI tells the server API from the pages; f.mu is held.
func (f *Fake) isAPI(path string) bool {
	return strings.HasPrefix(path, apiPrefix) || strings.HasPrefix(path, snsPrefix) || f.added[path] != nil
}

func (f *Fake) process(path string, r *http.Request) *answer {
	if page, ok := pageAt[path]; ok {
		return page.show(f, r)
	}
	if isConsole(path) {
		return f.console(r)
	}
	if isPicture(path) {
		return f.picture(r)
	}
	return f.api(path, r)
}

// falsified is the answer that a fault puts in the place of the real one.
func (f *Fake) falsified(r *http.Request, x *Fault) *answer {
	var a *answer
	switch {
	case x.Body != nil:
		a = newAnswer(http.StatusOK, jsonType, bytes.Clone(x.Body))
	case x.ErrCode != 0:
		p := f.platformOf(r)
		a = p.answer(r.URL.Path, p.failure(f, errcode(x.ErrCode), x.ErrMsg, callerIP(r)))
	default:
		a = textAnswer(x.Status, http.StatusText(x.Status))
	}
	if x.Status != 0 {
		a.status = x.Status
	}
	return a
}

func callerIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// ServeHTTP serves the API and the pages. To drop a connection it panics with
// [http.ErrAbortHandler], as package net/http asks handlers to.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := f.respond(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Content-Length", strconv.FormatInt(a.size(), 10))
	w.WriteHeader(a.status)
	if r.Method == http.MethodHead {
		return
	}
	out := flushWriter{w}
	if _, err := io.Copy(out, a.reader(r.Context())); err != nil {
		_ = out.flush()
		panic(http.ErrAbortHandler)
	}
}

// A flushWriter sends what is written at once.
type flushWriter struct{ w http.ResponseWriter }

func (f flushWriter) flush() error { return http.NewResponseController(f.w).Flush() }

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	return n, errors.Join(err, f.flush())
}

// reader is the body as it is sent. An answer that is cut ends with io.ErrUnexpectedEOF.
func (a *answer) reader(ctx context.Context) io.ReadCloser {
	d := &dripReader{ctx: ctx, a: a, left: a.size()}
	d.rest = io.MultiReader(io.LimitReader(blanks{}, a.pad), bytes.NewReader(a.body))
	if a.cut {
		d.left /= 2
		d.rest = io.MultiReader(io.LimitReader(d.rest, d.left), broken{})
	}
	return d
}

// A dripReader waits in Read and not in a goroutine.
type dripReader struct {
	ctx   context.Context
	a     *answer
	rest  io.Reader
	left  int64 // bytes of rest
	begun bool
}

func (d *dripReader) Read(p []byte) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	if d.a.drip > 0 && d.left > 0 && len(p) > 0 {
		if d.begun && !pause(d.ctx, d.a.drip) {
			return 0, context.Cause(d.ctx)
		}
		p = p[:min(len(p), d.a.chunk)]
		d.begun = true
	}
	n, err := d.rest.Read(p)
	d.left -= int64(n)
	return n, err
}

func (d *dripReader) Close() error { return nil }

// pause waits; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// blanks are what an answer is padded with: JSON may begin with them.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// broken is where a connection ends.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
