package wecomtest

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

// The login panel of @wecom/jssdk (ww.createWWLoginPanel): a script that frames the web-login page,
// and what that page does in a frame. The parameter redirect_type says how the code leaves it:
// "callback" by a message to the page around it, "top" by sending the whole tab
// back, "self" by sending the frame back. Unlike the real one it needs no trusted domain of its own.

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

// told is what the frame's script is given.
type told struct {
	Origin, Code, ErrCode, ErrMsg, Top string
}

// Script is the frame's script. It goes through html/template untouched, and so does its hash.
func (told) Script() template.JS { return template.JS(frameJS) }

func panelScript(r *http.Request) *answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return textAnswer(http.StatusMethodNotAllowed, "405")
	}
	a := newAnswer(http.StatusOK, "text/javascript; charset=utf-8", bytes.Clone(panelJS))
	a.header.Set("X-Content-Type-Options", "nosniff")
	return a
}

// framed returns how the panel wants the code, "" outside of a panel.
func (v *visit) framed() string {
	if v.inApp || v.wx != nil || v.r.URL.Path != webPath {
		return ""
	}
	return v.r.URL.Query().Get("redirect_type")
}

// tells returns what the frame's script shall tell the page around it; nil outside of a panel.
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

// handed gives the code to the page around the frame, or sends the whole tab back. nil says that the frame
// itself goes back.
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
