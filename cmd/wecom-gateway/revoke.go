package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/issuer"
)

// revoke ends the sessions of some people, or everybody's if nobody is named, through
// the store that the gateways share, and tells the clients that want to hear of it. It returns the exit status.
func revoke(ctx context.Context, c config, auth *wecom.Middleware, iss *issuer.Issuer, people []string, out, errs io.Writer) int {
	ctx = context.WithValue(ctx, visitKey{}, &visit{route: operator})
	status := 0
	say := func(whose string, err error) {
		if err != nil {
			status = 1
			fmt.Fprintf(errs, "wecom-gateway: %s: %v\n", whose, err)
			return
		}
		fmt.Fprintf(out, "revoked %s for corp %s, app %s, in %s: all sessions that began until now, if there are any\n",
			whose, c.CorpID, c.AgentID, withoutPassword(c.sessionStore))
	}
	for _, user := range people {
		say(user, auth.Revoke(ctx, wecom.Identity{UserID: user}))
	}
	if len(people) == 0 {
		say("everybody", auth.RevokeAll(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := iss.Shutdown(ctx); err != nil {
		say("clients", err)
	}
	for _, user := range people { // revoked whatever WeCom says: it does not know those who left
		_, err := auth.Client().User(ctx, user)
		var answer *wecom.APIError
		switch {
		case errors.As(err, &answer) && answer.Denied():
			fmt.Fprintf(errs, "wecom-gateway: %s: no such member, or none whom the app sees (errcode %d): a typo? If they left, all is done\n", user, answer.Code)
		case err != nil:
			fmt.Fprintf(errs, "wecom-gateway: %s: WeCom does not confirm that there is such a member: %v\n", user, all.Named(err))
		}
	}
	return status
}
