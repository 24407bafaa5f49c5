package issuer_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client that shows for whom it asks signs that person out; others make the browser ask.
func TestEndSession(t *testing.T) {
	signedOut := origin + "/wecom/signed-out"
	for name, c := range map[string]struct {
		change func(q url.Values, mine, others string)
		status int // of the answer; 0: the browser goes to the client
		at     string
		out    bool // the session has ended
	}{
		"in order":           {func(q url.Values, mine, _ string) {}, 0, app + "/bye?state=x", true},
		"no redirect":        {func(q url.Values, mine, _ string) { q.Del("post_logout_redirect_uri") }, 200, signedOut, true},
		"no hint":            {func(q url.Values, mine, _ string) { q.Del("id_token_hint") }, 200, "", false},
		"another's hint":     {func(q url.Values, _, others string) { q.Set("id_token_hint", others) }, 200, "", false},
		"a forged hint":      {func(q url.Values, mine, _ string) { q.Set("id_token_hint", mine[:len(mine)-9]+"AAAAAAAAA") }, 200, "", false},
		"another client":     {func(q url.Values, mine, _ string) { q.Set("client_id", "spa") }, 200, "", false},
		"an evil redirect":   {func(q url.Values, mine, _ string) { q.Set("post_logout_redirect_uri", "https://evil.example/") }, 400, "", false},
		"a sign-in redirect": {func(q url.Values, mine, _ string) { q.Set("post_logout_redirect_uri", back) }, 400, "", false},
		"two redirects":      {func(q url.Values, mine, _ string) { q.Add("post_logout_redirect_uri", app+"/bye") }, 400, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.signedIn("zhangsan")
			mine := w.token(form(w.code(b))).IDToken
			others := w.token(form(w.code(w.signedIn("lisi")))).IDToken
			q := url.Values{"id_token_hint": {mine}, "post_logout_redirect_uri": {app + "/bye"}, "state": {"x"}}
			c.change(q, mine, others)
			res := b.Get(iss + "/end-session?" + q.Encode())
			assert.Equal(t, c.status, res.Status, res.Body)
			if c.at != "" {
				assert.Equal(t, c.at, res.URL)
			}
			session := b.Fetch("GET", origin+"/wecom/session", "")
			assert.Equal(t, c.out, session.Status == 401)
			if !c.out && c.status == 200 {
				assert.Equal(t, signedOut, b.Post(origin+"/wecom/logout").URL, "the person may")
				assert.Equal(t, 401, b.Fetch("GET", origin+"/wecom/session", "").Status)
			}
			if c.out { // once more, by nobody: straight on
				assert.Equal(t, c.at, b.Get(iss+"/end-session?"+q.Encode()).URL)
			}
		})
	}
}
