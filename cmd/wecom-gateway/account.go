package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/wecomauth/wecom"
)

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// emails are WECOM_EMAIL: templates, of which the first counts that makes an address.
type emails []string

func (es emails) check() error {
	for _, e := range es {
		names := placeholder.FindAllString(e, -1)
		if len(names) == 0 {
			return fmt.Errorf("%q: want {biz_mail} or {user_id} in it, or everybody would have the same address", e)
		}
		for _, name := range names {
			if name != "{biz_mail}" && name != "{user_id}" {
				return fmt.Errorf("%q: want {biz_mail} or {user_id}, which only the corp sets", e)
			}
		}
	}
	return nil
}

// of returns the address of somebody, or "". A user id may look like an address itself.
func (es emails) of(id wecom.Identity) string {
	for _, e := range es {
		if id.BizMail == "" && strings.Contains(e, "{biz_mail}") || id.UserID == "" {
			continue
		}
		address := strings.NewReplacer("{biz_mail}", id.BizMail, "{user_id}", id.UserID).Replace(e)
		if local, domain, ok := strings.Cut(address, "@"); ok && local != "" && domain != "" && !strings.Contains(domain, "@") && !strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			return address
		}
	}
	return ""
}

// size is how many bytes headers take.
func size(h http.Header) (n int) {
	for name, values := range h {
		for _, value := range values {
			n += len(name) + len(value) + len(": \r\n")
		}
	}
	return n
}

// knowsGroups answers with 503 if somebody's groups cannot be told: many programs would
// take no groups for the person having left them.
func (g *gateway) knowsGroups(w http.ResponseWriter, r *http.Request, id wecom.Identity) bool {
	_, err := g.groups.of(r.Context(), id)
	if err != nil {
		g.fail(w, r, &wecom.Failure{Status: http.StatusServiceUnavailable, Code: "wecom_unavailable"}, "nobody's groups are known", all.Named(err))
	}
	return err == nil
}

// setAccount says in the headers that other programs know what is made up from an identity: groups, an
// address and a name for the account. Like the others they are always there.
func (g *gateway) setAccount(h http.Header, r *http.Request, id wecom.Identity) {
	groups, _ := g.groups.of(r.Context(), id) // known by now
	values := [...]string{groups, g.emails.of(id), id.UserID}
	h["X-Forwarded-Groups"], h["X-Wecom-Groups"] = values[0:1:1], values[0:1:1]
	h["X-Forwarded-Email"] = values[1:2:2]
	h["X-Forwarded-Preferred-Username"] = values[2:3:3]
}
