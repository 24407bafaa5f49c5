package wecom

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/jssign"
)

// Signatures for WeCom's JS-SDK. Each is made with a ticket, of which WeCom gives
// 400 an hour to a corp and 100 to an app: they are cached and shared like access tokens.

// JSConfig signs pageURL for wx.config, or for getConfigSignature of @wecom/jssdk,
// with the corp's ticket. pageURL is the page's absolute URL as the browser spells it;
// a fragment is cut off. It returns the signature, and the seconds since 1970 and the
// nonce that went into it.
//
// The ticket is cached as [NewTokenSource] describes, in Options.TokenStore if that is
// set. Only the page notices a ticket that WeCom ends early (errcode 40093 or 42012);
// it is replaced when its two hours are over. Errors are those of [Client.Call].
func (c *Client) JSConfig(ctx context.Context, pageURL string) (timestamp int64, nonce, signature string, err error) {
	if c == nil || c.corpTicket == nil {
		return 0, "", "", errNoTickets
	}
	return signPage(ctx, c.corpTicket, pageURL)
}

// JSAgentConfig is JSConfig for wx.agentConfig, or for getAgentConfigSignature of
// @wecom/jssdk, with the app's ticket. The two tickets are not interchangeable.
func (c *Client) JSAgentConfig(ctx context.Context, pageURL string) (timestamp int64, nonce, signature string, err error) {
	if c == nil || c.appTicket == nil {
		return 0, "", "", errNoTickets
	}
	return signPage(ctx, c.appTicket, pageURL)
}

var (
	errNoTickets = errors.New("wecom: a signature for the JS-SDK needs the Client of a WeCom app")
	errPageURL   = errors.New("wecom: a signature is for the absolute URL of a page, as location.href spells it")
)

func signPage(ctx context.Context, tickets TokenSource, pageURL string) (int64, string, string, error) {
	pageURL, _, _ = strings.Cut(pageURL, "#")
	u, err := url.Parse(pageURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsFunc(pageURL, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return 0, "", "", errPageURL
	}
	ticket, err := tickets.Token(ctx)
	if err != nil {
		return 0, "", "", err
	}
	timestamp, nonce := time.Now().Unix(), rand.Text()
	return timestamp, nonce, jssign.Sign(ticket.Value.Reveal(), nonce, timestamp, pageURL), nil
}
