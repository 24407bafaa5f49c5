package wecomtest

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

// The login panel of @wecom/jssdk (ww.createWWLoginPanel) is a script that shows the
// web-login page in a frame. The parameter redirect_type says how the frame returns the
// code: "callback" posts a message to the page around it, "top" redirects the whole tab,
// "self" redirects the frame. Unlike the real panel, this one needs no trusted domain of
// its own.

const (
	cdnHost   = "wwcdn.weixin.qq.com"
	panelPath = "/node/open/js/wecom-jssdk-2.3.4.js"
)

var (
	//go:embed panel.js
	panelJS []byte
	//go:embed frame.js
	frameJS string

	frameHash = scriptHash(frameJS)
)

// A told is the data of the frame's script.
type told struct {
	Origin, Code, ErrCode, ErrMsg, Top string
}

// Script returns the frame's script. html/template leaves it as it is, so that its hash holds.
func (told) Script() template.JS { return template.JS(frameJS) }

func panelScript(r *http.Request) *answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return textAnswer(http.StatusMethodNotAllowed, "405")
	}
	a := newAnswer(http.StatusOK, "text/javascript; charset=utf-8", bytes.Clone(panelJS))
	a.header.Set("X-Content-Type-Options", "nosniff")
	return a
}

// framed returns the panel's redirect_type, "" outside of a panel.
func (v *visit) framed() string {
	if v.inApp || v.wx != nil || v.r.URL.Path != webPath {
		return ""
	}
	return v.r.URL.Query().Get("redirect_type")
}

// tells returns what the frame's script tells the page around it, nil if it tells nothing.
func (v *visit) tells() *told {
	if v.framed() != "callback" {
		return nil
	}
	t := &told{}
	if v.redirect != nil {
		t.Origin = v.redirect.Scheme + "://" + v.redirect.Host
	}
	return t
}

// handed answers with a page that hands the code to the page around the frame, or redirects
// the whole tab. It returns nil if the frame itself is redirected.
func (v *visit) handed(code, to string) *answer {
	t := v.tells()
	switch {
	case t != nil:
		t.Code = code
	case v.framed() == "top":
		t = &told{Top: to}
	default:
		return nil
	}
	w := v.view()
	w.Told = t
	return v.render(http.StatusOK, "blank", w)
}
