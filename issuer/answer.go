package issuer

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"time"
)

const (
	maxQuery    = 8 << 10
	maxBody     = 16 << 10
	bodyTimeout = 15 * time.Second

	// maxLocation keeps the headers of an answer under 3 KiB: past 4 KiB, nginx answers 502.
	maxLocation = 2 << 10
)

// setHeaders sets what every answer carries, and bounds the wait for the request's body.
func setHeaders(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

// public is for what is the same for everybody.
func public(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Del("Pragma")
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // of what the package made
	}
	write(w, r, status, "application/json", append(body, '\n'))
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

var onward = template.Must(template.New("onward").Parse(`<!DOCTYPE html><html><head><meta charset="utf-8">` +
	`<meta http-equiv="refresh" content="0;url={{.}}"><title>…</title></head><body><a href="{{.}}">→</a></body></html>`))

// redirect sends the browser to location, which was validated, as it is. A
// long one goes into a page instead of a header.
func redirect(w http.ResponseWriter, r *http.Request, location string) {
	if len(location) <= maxLocation {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = onward.Execute(w, location)
}
