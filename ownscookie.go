package wecom

import "strings"

// OwnsCookie says whether a cookie of that name is this middleware's: the
// session's or a pending sign-in's. A reverse proxy keeps these from the program behind it
// and does not let that program set them. With Options.Sessions the session's cookie is the
// application's and is not among them. The zero Middleware owns none.
func (m *Middleware) OwnsCookie(name string) bool {
	rest, ok := strings.CutPrefix(name, m.cookie.prefix)
	return m.sessions != nil && ok && (rest == "" || rest[0] == '-')
}
