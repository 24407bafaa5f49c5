// Package errcode holds what is known about the errcodes of WeCom and of Weixin:
// the same number means different things on the two.
package errcode

import (
	"errors"
	"time"
)

// The platforms that have a table, as [github.com/wecomauth/wecom.App] names them.
const (
	WeCom  = "wecom"
	Weixin = "weixin"
)

// A Fault is what is known about one errcode of one platform. The zero Fault is
// an unknown errcode.
type Fault struct {
	Class   Class
	Wait    time.Duration // how long the same call is bound to fail or to do harm
	Meaning string
	Remedy  string
}

// Error returns the meaning: an error that a platform answered wraps its Fault.
func (f Fault) Error() string { return f.Meaning }

// ClassOf returns the class of the first Fault in err's chain, and Unknown if there
// is none.
func ClassOf(err error) Class {
	var f Fault
	_ = errors.As(err, &f)
	return f.Class
}

// A Class says what an errcode means to us.
type Class int

const (
	Unknown Class = iota
	Setup         // a setting in the console or in the options is wrong
	Code          // the code or ticket is used up; a fresh sign-in helps
	Token         // the access token is refused; a new one helps
	Busy          // busy; a retry may help
	Limited       // too many calls; a repeat makes it worse
	Denied        // the person is not one whom the app may see
)

// Of returns what platform means by code when op answers it.
func Of(platform, op string, code int) Fault {
	switch platform {
	case WeCom:
		return wecom[code]
	case Weixin:
		return ofWeixin(op, code)
	}
	return Fault{}
}
