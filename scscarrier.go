package wecom

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
)

// An scsCarrier is the carrier of Options.Sessions: the token stands in the
// application's own scs session, under a key of ours.
type scsCarrier struct {
	manager *scs.SessionManager
	store   store  // the manager's, where the application's sessions are
	key     string // of the manager's session; its value is the token, a dot and whose it is
}

// token loads the application's session, and reads it unless its cookie was sent twice. scs
// takes the first of two, but only a neighbour could have planted one of them, and they look alike.
func (c *scsCarrier) token(r *http.Request) (string, context.Context, error) {
	ctx, err := c.load(r)
	if err != nil {
		return "", ctx, err
	}
	if _, n := cookieNamed(r, c.manager.Cookie.Name); n > 1 {
		return "", ctx, nil
	}
	token, _, _ := strings.Cut(c.manager.GetString(ctx, c.key), ".")
	return token, ctx, nil
}

type loadedKey struct{}

// A loaded is in the context of a request whose application session we loaded.
type loaded struct{ unsaved bool }

// loadedHere reports whether we loaded the application's session and have to save it.
func loadedHere(ctx context.Context) bool {
	l, ok := ctx.Value(loadedKey{}).(*loaded)
	return ok && l.unsaved
}

// load returns a context that holds the application's session. If the
// application did not load it, load does, and then it is ours to save.
func (c *scsCarrier) load(r *http.Request) (context.Context, error) {
	// Load returns the very context that it is given if that holds this manager's session.
	probe := context.WithValue(r.Context(), loadedKey{}, &loaded{unsaved: true})
	empty, err := c.manager.Load(probe, "")
	if err != nil || empty == probe {
		return r.Context(), err
	}
	token, _ := cookieNamed(r, c.manager.Cookie.Name)
	if token == "" {
		return empty, nil // nothing to ask the store for
	}
	ctx, err := wait(probe, c.store, "store_find", func(ctx context.Context) (context.Context, error) {
		found, err := c.manager.Load(probe, token)
		if err != nil && c.undecodable(ctx, token) {
			return c.manager.Load(probe, "")
		}
		return found, err
	})
	if err != nil {
		return r.Context(), err
	}
	return ctx, nil
}

// undecodable reports whether Load failed because of what the session holds, after an
// upgrade perhaps, and not because of the store. Such a session is none, or
// the browser would be shut out for as long as it has the cookie.
func (c *scsCarrier) undecodable(ctx context.Context, token string) bool {
	row, found, err := c.store.rows.FindCtx(ctx, rowName(token))
	if err != nil || !found {
		return false
	}
	_, _, err = c.manager.Codec.Decode(row)
	return err != nil
}

// rowName is how the manager names its row: New insists on HashTokenInStore.
func rowName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// attach puts the token into an application's session with a new name. What
// another person's session held is left behind: the owner's hash stays beside the
// token so that this works after a logout, too. Until the new row is written, the
// old one and what the request's context holds stay as they are: LoadAndSave, if
// it stands outside, saves the latter whatever our answer is.
func (c *scsCarrier) attach(w http.ResponseWriter, r *http.Request, fresh session, endOld func() error) error {
	ctx := r.Context()
	values := c.valuesFor(ctx, fresh)
	type row struct {
		ctx     context.Context
		token   string
		expires time.Time
	}
	next, err := wait(ctx, c.store, "store_commit", func(ctx context.Context) (n row, err error) {
		if n.ctx, err = c.manager.Load(valueless{ctx}, ""); err != nil {
			return n, err
		}
		for key, value := range values {
			c.manager.Put(n.ctx, key, value)
		}
		n.token, n.expires, err = c.manager.Commit(n.ctx)
		return n, err
	})
	if err != nil {
		return err
	}
	if old := c.manager.Token(ctx); old != "" {
		if err := c.store.del(ctx, rowName(old)); err != nil {
			_ = c.store.del(ctx, rowName(next.token))
			return err
		}
	}
	if loadedHere(ctx) {
		c.manager.WriteSessionCookie(next.ctx, w, next.token, next.expires)
	} else {
		// LoadAndSave writes what the context holds, and its cookie. The row above has
		// shown that the store takes it, and has served its purpose.
		_ = c.store.del(ctx, rowName(next.token))
		if err := c.rename(ctx, values); err != nil {
			return err
		}
	}
	// The application's session that carried the old token is gone: if its row
	// stays, nobody can reach it.
	_ = endOld()
	return nil
}

// valuesFor returns what the application's session is to hold once it carries fresh.
func (c *scsCarrier) valuesFor(ctx context.Context, fresh session) map[string]any {
	sum := sha256.Sum256([]byte(fresh.id.Key()))
	owner := base64.RawURLEncoding.EncodeToString(sum[:12])
	_, before, known := strings.Cut(c.manager.GetString(ctx, c.key), ".")
	values := map[string]any{}
	if !known || before == owner {
		for _, key := range c.manager.Keys(ctx) {
			values[key] = c.manager.Get(ctx, key)
		}
	}
	values[c.key] = fresh.token + "." + owner
	return values
}

// rename gives the session in ctx a new name and these values. It deletes no row.
func (c *scsCarrier) rename(ctx context.Context, values map[string]any) error {
	renamed := *c.manager
	renamed.Store = noRows{}
	if err := renamed.Clear(ctx); err != nil {
		return err
	}
	for key, value := range values {
		renamed.Put(ctx, key, value)
	}
	return renamed.RenewToken(ctx)
}

// detach destroys the application's session.
func (c *scsCarrier) detach(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if !c.manager.Exists(ctx, c.key) {
		return nil
	}
	_, err := wait(ctx, c.store, "store_delete", func(context.Context) (struct{}, error) {
		return struct{}{}, c.manager.Destroy(ctx)
	})
	if err == nil && loadedHere(ctx) {
		c.manager.WriteSessionCookie(ctx, w, "", time.Time{})
	}
	return err
}

// wrap saves the application's session after next, if it was loaded here.
func (c *scsCarrier) wrap(next http.Handler) http.Handler {
	saving := c.manager.LoadAndSave(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l, ok := r.Context().Value(loadedKey{}).(*loaded); ok && l.unsaved {
			l.unsaved = false // from here on scs sees to it
			saving.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// valueless hides the application's session from its manager.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// noRows is a store without rows.
type noRows struct{}

func (noRows) Find(string) ([]byte, bool, error)      { return nil, false, nil }
func (noRows) Commit(string, []byte, time.Time) error { return nil }
func (noRows) Delete(string) error                    { return nil }

// manager says why an application's session manager cannot carry a sign-in.
func (c *checks) manager(m *scs.SessionManager, https bool, callbackPath string) {
	bad := func(format string, args ...any) { c.Add("Sessions: "+format, args...) }
	if m.Store == nil || m.Codec == nil || m.Lifetime <= 0 {
		bad("make the manager with scs.New: it has no store, no codec or no lifetime")
	}
	if !m.HashTokenInStore {
		bad("set HashTokenInStore: without it whoever reads the store can take over its sessions")
	}
	cookie := m.Cookie
	if !cookie.HttpOnly {
		bad("set Cookie.HttpOnly: a script must not read the session")
	}
	switch {
	case cookie.SameSite == http.SameSiteStrictMode:
		bad("Cookie.SameSite must be Lax: with Strict the browser returns from WeCom without its session, and the sign-in never ends")
	case cookie.SameSite == http.SameSiteNoneMode && !cookie.Secure:
		bad("Cookie.SameSite None needs Cookie.Secure: browsers drop the cookie otherwise")
	case cookie.SameSite != http.SameSiteLaxMode && cookie.SameSite != http.SameSiteNoneMode:
		bad("set Cookie.SameSite to Lax")
	}
	if https && !cookie.Secure {
		bad("set Cookie.Secure: CallbackURL is https")
	}
	if https && !strings.HasPrefix(cookie.Name, "__Host-") {
		bad("set Cookie.Name to __Host-session, or another with this prefix: a neighbouring subdomain can plant a session of its own under any other name")
	} else if cookie.Name == "" {
		bad("set Cookie.Name")
	}
	if strings.HasPrefix(cookie.Name, "__Host-") && (!cookie.Secure || cookie.Domain != "" || cookie.Path != "/") {
		bad("a cookie named __Host-… needs Secure, Path / and no Domain: browsers drop it otherwise")
	}
	if strings.HasPrefix(cookie.Name, "__Secure-") && !cookie.Secure {
		bad("a cookie named __Secure-… needs Secure: browsers drop it otherwise")
	}
	if cookie.Path != "/" && (cookie.Path == "" || !strings.HasPrefix(callbackPath, strings.TrimSuffix(cookie.Path, "/")+"/")) {
		bad("Cookie.Path %q does not cover the callback %q", cookie.Path, callbackPath)
	}
}
