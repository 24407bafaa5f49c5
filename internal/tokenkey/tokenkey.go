// Package tokenkey names access tokens in a token store.
package tokenkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
)

// Of names an app's token. The secret is part of it, so that
// a new secret means a new token, but only as 64 bits of a MAC keyed by it:
// too few to find a secret by and too many to meet another's.
func Of(platform, corp, agent, secret string) string {
	app := url.QueryEscape(platform) + ":" + url.QueryEscape(corp) + ":" + url.QueryEscape(agent)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("wecom token key " + app))
	return app + ":" + hex.EncodeToString(mac.Sum(nil)[:8])
}
