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

// An answer is a response before it is written: either a socket or a caller in
// the same process gets it.
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

// respond is the whole life of a request: count it, let its fault show, process
// it. The error is errDropped, errRefused or that of the request's context.
func (f *Fake) respond(r *http.Request) (*answer, error) {
	path := r.URL.Path
	if !f.serves(r.Host, path) {
		return textAnswer(http.StatusNotFound, "The fake WeCom has nothing at "+path), nil
	}
	x := f.arrive(path, r)
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

// serves reports whether something stands at path of this host: Tencent's own
// names serve their part, every other name serves all.
func (f *Fake) serves(host, path string) bool {
	f.mu.Lock()
	api := f.isAPI(path)
	f.mu.Unlock()
	switch host {
	case apiHost:
		return strings.HasPrefix(path, apiPrefix)
	case wxHost:
		return api
	case inAppHost:
		return path == inAppPath || path == qrPath
	case webHost:
		return path == webPath
	case cdnHost:
		return path == panelPath
	}
	return api || isPage(path) || path == panelPath || path == "/"
}

// isAPI tells the server API from the pages; f.mu is held.
func (f *Fake) isAPI(path string) bool {
	return strings.HasPrefix(path, apiPrefix) || strings.HasPrefix(path, snsPrefix) || f.added[path] != nil
}

func isPage(path string) bool { return path == inAppPath || path == webPath || path == qrPath }

func (f *Fake) process(path string, r *http.Request) *answer {
	switch {
	case isPage(path):
		return f.page(path, r)
	case path == panelPath:
		return panelScript(r)
	case path == "/":
		return f.index(r)
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
	body := &dripReader{ctx: r.Context(), a: a, left: a.size()}
	h.Set("Content-Length", strconv.FormatInt(body.left, 10))
	if a.cut {
		body.left /= 2
	}
	w.WriteHeader(a.status)
	if r.Method == http.MethodHead {
		return
	}
	if a.drip == 0 {
		_, err = io.Copy(w, body)
	} else {
		flush := http.NewResponseController(w)
		buf := make([]byte, a.chunk)
		for err == nil {
			var n int
			n, err = body.Read(buf)
			if n > 0 {
				_, werr := w.Write(buf[:n])
				err = errors.Join(err, werr, flush.Flush())
			}
		}
	}
	if a.cut || err != nil && !errors.Is(err, io.EOF) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// A dripReader is the body of an answer. It makes the padding as it is read, and
// waits in Read and not in a goroutine.
type dripReader struct {
	ctx   context.Context
	a     *answer
	left  int64 // bytes to come; for an answer that is cut, of the part that comes
	read  int64
	begun bool
	end   error // instead of io.EOF
}

func (d *dripReader) Read(p []byte) (int, error) {
	if d.ctx.Err() != nil {
		return 0, context.Cause(d.ctx)
	}
	if d.left == 0 {
		if d.end != nil {
			return 0, d.end
		}
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if d.a.drip > 0 {
		if d.begun {
			t := time.NewTimer(d.a.drip)
			defer t.Stop()
			select {
			case <-t.C:
			case <-d.ctx.Done():
				return 0, context.Cause(d.ctx)
			}
		}
		p = p[:min(len(p), d.a.chunk)]
	}
	d.begun = true
	p = p[:min(int64(len(p)), d.left)]
	n := 0
	for n < len(p) && d.read < d.a.pad {
		p[n] = ' '
		n++
		d.read++
	}
	if n < len(p) {
		m := copy(p[n:], d.a.body[d.read-d.a.pad:])
		n += m
		d.read += int64(m)
	}
	d.left -= int64(n)
	return n, nil
}

func (d *dripReader) Close() error { return nil }
