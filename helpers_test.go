package wecom_test

import (
	"net/http"
	"net/http/httptest"
)

// request makes a navigation to the app, as a browser without Sec-Fetch headers sends it.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, "https://app.example.com"+target, nil)
	r.RequestURI = target
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
