package wecomtest

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A Fault is a scripted misbehaviour of one endpoint or page. Its fields may be combined; they take
// effect in the order in which they are declared. The zero Fault changes nothing, so a script can
// let calls through in between.
type Fault struct {
	// Times is how many calls get the fault before the next one of the script. 0 means 1.
	// [Fake.Always] ignores it.
	Times int

	// OnCall, if set, is called when the call arrives, before anything else: for tests that wait
	// for that moment. It must be safe for concurrent use.
	OnCall func(*http.Request)
	// Processed makes WeCom process the call (a code is used up, a token is made) before the rest
	// of the fault takes effect. By default a fault that waits does so before the call is
	// processed, and one that replaces the answer or drops the connection prevents the processing.
	Processed bool
	// Delay passes before anything more happens. It ends early if the caller's context ends.
	Delay time.Duration
	// Until, if set, blocks the call until the channel is closed or the caller's context ends.
	Until <-chan struct{}
	// Drop ends the connection without a whole answer.
	Drop Drop

	// ErrCode answers this errcode in WeCom's (or Weixin's) own shape, and ErrMsg says the
	// beginning of its errmsg. Default of ErrMsg: WeCom's for that code.
	ErrCode int
	ErrMsg  string
	// Body, if not nil, is the whole body of the answer, whatever it may be.
	Body []byte
	// Status is the HTTP status of the answer. Default: 200. If it is set alone, the body is the
	// status's text.
	Status int
	// Header is added to the answer's header and replaces what has the same name.
	Header http.Header

	// Size makes the body at least so many bytes long, by blanks in front of it.
	Size int64
	// Drip sends DripBytes (default 1) of the body, waits Drip, and so on.
	Drip      time.Duration
	DripBytes int
}

// A Drop is a way to lose a connection.
type Drop int

const (
	// NoDrop keeps the connection.
	NoDrop Drop = iota
	// DropDial refuses the connection: nothing was sent, and no code counts as sent. A [Server],
	// whose listener has long accepted, behaves as with DropBefore, but does not count a code
	// either.
	DropDial
	// DropBefore ends the connection when the request has arrived; it is not processed.
	DropBefore
	// DropAfter ends the connection after the request was processed, without a byte of the answer:
	// a code is used up and the caller does not know it.
	DropAfter
	// DropMidway sends half of the answer's body and ends the connection.
	DropMidway
)

// Script queues faults for the next calls of an endpoint or page, one after the other; when they
// are used up, calls are answered as usual or as [Fake.Always] says. path is the endpoint's path,
// in full (/cgi-bin/gettoken, /sns/userinfo) or without the first part if that is /cgi-bin/
// (gettoken).
func (f *Fake) Script(path string, faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.mustKnow(path)
	for _, x := range faults {
		x.Times = max(x.Times, 1)
		f.script[p] = append(f.script[p], x)
	}
}

// Always gives the fault to every call of an endpoint or page, until [Fake.ClearFaults]. path is as
// in [Fake.Script]; "*" means the whole server API.
func (f *Fake) Always(path string, x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if path != "*" {
		path = f.mustKnow(path)
	}
	f.always[path] = x
}

// ClearFaults removes all faults and what is left of scripts. Calls that are already waiting keep
// waiting.
func (f *Fake) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.script)
	clear(f.always)
}

// arrive counts a call and takes the fault that it meets. Faults and counts are settled under one
// lock, so that the n-th call counted meets the n-th fault.
func (f *Fake) arrive(path string, r *http.Request) Fault {
	var code string
	exchange := path == apiPrefix+"auth/getuserinfo" || path == apiPrefix+"user/getuserinfo" || path == snsExchange
	if exchange {
		code = codeOf(r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	api := f.isAPI(path)
	if api {
		f.apiCalls++
	}
	if api || r.Method == http.MethodGet {
		f.calls[path]++
	}
	if page := pageAt[path]; !api && page.host != "" && path != panelPath && r.Method == http.MethodGet {
		f.note(entry{kind: "page", what: path, where: hostOf(r.URL.Query().Get("redirect_uri"))})
	}
	var x Fault
	if queue := f.script[path]; len(queue) > 0 {
		x = queue[0]
		if x.Times > 1 {
			queue = slices.Clone(queue)
			queue[0].Times--
			f.script[path] = queue
		} else {
			f.script[path] = queue[1:]
		}
	} else if y, ok := f.always[path]; ok {
		x = y
	} else if api {
		x = f.always["*"]
	}
	if exchange && x.Drop != DropDial {
		if f.codes[code] != nil || code != "" && len(f.sent) < 10*keepCodes { // invented ones must not fill the memory
			f.sent[code]++
		}
	}
	return x
}

// codeOf returns the code that a call wants to exchange, and leaves the body as it was.
func codeOf(r *http.Request) string {
	code := r.URL.Query().Get("code")
	if code == "" && r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), r.Body))
		if form, _ := url.ParseQuery(string(body)); err == nil {
			code = form.Get("code")
		}
	}
	return code
}

// replaces reports whether the fault stands in the place of the real answer.
func (x *Fault) replaces() bool {
	return x.ErrCode != 0 || x.Body != nil || x.Status != 0 || x.Drop == DropDial || x.Drop == DropBefore
}

// wait lets Delay and Until pass; false means that the caller left first.
func (x *Fault) wait(r *http.Request) bool {
	if x.Delay > 0 && !pause(r.Context(), x.Delay) {
		return false
	}
	if x.Until != nil {
		select {
		case <-x.Until:
		case <-r.Context().Done():
			return false
		}
	}
	return true
}
