package wecom

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/pages"
)

// bodyTimeout bounds the wait for a request's body where the answer is ours. It
// is longer than a sign-in takes.
const bodyTimeout = 15 * time.Second

// setSecurityHeaders sets what every answer of ours carries, and a deadline for the
// request's body. A Referer with the origin alone keeps code and state from other
// sites, and still satisfies WeCom's check of it. net/http waits for the rest of the
// body before it answers: without a deadline, a client that does not send it could
// hold the connection forever.
func setSecurityHeaders(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", pages.CSP(pages.Brand{}))
	const vary = "Cookie, Accept, Accept-Language, User-Agent, X-Requested-With, Sec-Fetch-Mode, Sec-Fetch-Dest"
	if !slices.Contains(h["Vary"], vary) {
		h.Add("Vary", vary)
	}
}

type methods []string

// allow reports whether the route has r's method; if not, it sets the header Allow.
func (ms methods) allow(w http.ResponseWriter, r *http.Request) bool {
	if slices.Contains(ms, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(ms, ", "))
	return false
}

var varyCookie = []string{"Cookie"}

// varyByCookie keeps shared caches from showing one person's page to another.
func varyByCookie(h http.Header) {
	if h["Vary"] == nil {
		h["Vary"] = varyCookie // cap == len, so append copies
		return
	}
	h.Add("Vary", "Cookie")
}

// redirect sends location as it is: http.Redirect would rewrite what was validated.
func redirect(w http.ResponseWriter, status int, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}

// writePage writes a page with the Content-Security-Policy that it needs.
func writePage(w http.ResponseWriter, r *http.Request, status int, policy string, page []byte) {
	w.Header().Set("Content-Security-Policy", policy)
	write(w, r, status, "text/html; charset=utf-8", page)
}

// writeJSON writes v, which must hold nothing that encoding/json refuses.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	write(w, r, status, "application/json; charset=utf-8", append(body, '\n'))
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status) // also 200: gin answers 404 for routes that it does not know
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// serveProof answers with the file by which WeCom checks who owns the domain.
func serveProof(w http.ResponseWriter, r *http.Request, proof string) {
	setSecurityHeaders(w, r)
	if !(methods{"GET", "HEAD"}).allow(w, r) {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	write(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(proof))
}
