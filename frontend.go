package wecom

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

// The front-end helper, js/wecom.js: a module for pages behind the middleware.

//go:embed js/wecom.js
var helperJS []byte

var helperTag = func() string {
	sum := sha256.Sum256(helperJS)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}()

// helper serves the module. It is the same for everybody and changes with this package
// alone: a browser keeps it, and asks each time whether it is still the one.
func (m *Middleware) helper(w http.ResponseWriter, r *http.Request, _ session) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		m.fail(w, r, &Failure{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed"})
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", helperTag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(helperJS))
}
