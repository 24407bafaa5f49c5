package wecom

import (
	"context"
	"net/http"
	"time"
)

// A cookieCarrier is the default carrier: the token stands in a cookie of its own.
type cookieCarrier struct{ cookie cookieKind }

func (c *cookieCarrier) token(r *http.Request) (string, context.Context, error) {
	return c.cookie.value(r, ""), r.Context(), nil
}

// attach ends the old session first: if that fails, the browser still has its cookie.
func (c *cookieCarrier) attach(w http.ResponseWriter, _ *http.Request, fresh session, endOld func() error) error {
	if err := endOld(); err != nil {
		return err
	}
	c.cookie.set(w, "", fresh.token, time.Until(fresh.expires))
	return nil
}

func (c *cookieCarrier) detach(w http.ResponseWriter, r *http.Request) error {
	if _, n := cookieNamed(r, c.cookie.prefix); n > 0 {
		c.cookie.drop(w, "")
	}
	return nil
}

func (c *cookieCarrier) wrap(next http.Handler) http.Handler { return next }
