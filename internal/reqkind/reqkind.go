// Package reqkind tells by a request's method and headers what kind of request it
// is: a browser opening a page, a script, a prefetch, another site's form.
package reqkind

import (
	"net/http"
	"strings"
)

// Navigates reports whether a browser opens a page in a tab. Such a request may
// be redirected to another site.
func Navigates(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method != http.MethodPost && (dest == "" || dest == "document") && OpensPage(r)
}

// OpensPage reports whether a browser will show the answer, in a tab or in a
// frame. Old web-views send no Sec-Fetch headers; for them Accept decides.
func OpensPage(r *http.Request) bool {
	h := r.Header
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if len(h["Upgrade"]) > 0 || isPrefetch(r) || strings.EqualFold(h.Get("X-Requested-With"), "XMLHttpRequest") {
		return false
	}
	dest, mode := h.Get("Sec-Fetch-Dest"), h.Get("Sec-Fetch-Mode")
	switch {
	case mode != "":
		return mode == "navigate"
	case dest == "empty": // a script
		return false
	}
	return dest == "document" || acceptsHTML(r)
}

// MayNavigate reports whether a request that does not look like a navigation may
// still be one: old web-views neither send Sec-Fetch-Mode nor accept text/html.
func MayNavigate(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "" && !isPrefetch(r)
}

// WantsPage reports whether an answer should be a page. Otherwise the client is a
// script or a program.
func WantsPage(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (mode == "" || mode == "navigate") && acceptsHTML(r)
}

// Unseen reports whether nobody sees the answer as a page. An image or a script on
// another site must not begin or end a sign-in.
func Unseen(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "", "document", "iframe", "frame":
		return isPrefetch(r)
	}
	return true
}

// SameOrigin reports whether a request that changes something comes from a page
// of origin. Browsers send Sec-Fetch-Site, older ones Origin; programs send neither
// and have no cookie to abuse. Host does not count: the client chooses it.
func SameOrigin(r *http.Request, origin string) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) == 1 && (site[0] == "same-origin" || site[0] == "none")
	}
	sent := r.Header["Origin"]
	return len(sent) == 0 || len(sent) == 1 && sent[0] == origin
}

// acceptsHTML reports whether Accept names text/html. A script's */* does not.
func acceptsHTML(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		for item := range strings.SplitSeq(accept, ",") {
			kind, params, _ := strings.Cut(item, ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
			if (kind == "text/html" || kind == "application/xhtml+xml") && !zeroQuality(params) {
				return true
			}
		}
	}
	return false
}

func zeroQuality(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(strings.TrimSpace(k), "q") {
			return strings.Trim(strings.TrimSpace(v), "0.") == ""
		}
	}
	return false
}

// isPrefetch reports whether nobody looks at the answer yet, and perhaps nobody will.
func isPrefetch(r *http.Request) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		for _, v := range r.Header[name] {
			v = strings.ToLower(v)
			if strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || strings.Contains(v, "preview") {
				return true
			}
		}
	}
	return false
}
