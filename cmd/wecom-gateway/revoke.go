package main

import (
	"context"
	"fmt"
	"io"

	"github.com/wecomauth/wecom"
)

// revoke ends the sessions of some people, or everybody's if nobody is named, through
// the store that the gateways share. It returns the exit status.
func revoke(ctx context.Context, auth *wecom.Middleware, people []string, out, errs io.Writer) int {
	ctx = withVisit(ctx, operator, "")
	status := 0
	say := func(whose string, err error) {
		if err != nil {
			status = 1
			fmt.Fprintf(errs, "wecom-gateway: %s: %v\n", whose, err)
			return
		}
		fmt.Fprintf(out, "revoked %s\n", whose)
	}
	for _, user := range people {
		say(user, auth.Revoke(ctx, wecom.Identity{UserID: user}))
	}
	if len(people) == 0 {
		say("everybody", auth.RevokeAll(ctx))
	}
	return status
}
