// Package jssign makes the signatures that WeCom's JS-SDK wants for config and
// agentConfig.
package jssign

import (
	"crypto/sha1" // the algorithm is WeCom's; the ticket is what is secret
	"encoding/hex"
	"strconv"
)

// Sign returns the signature: 40 lower-case hexadecimal digits. timestamp counts seconds
// since 1970; url is the page's, without fragment and as the browser spells it. The url comes
// last in what is signed, so that nothing in it can pass for another parameter.
func Sign(ticket, nonce string, timestamp int64, url string) string {
	sum := sha1.Sum([]byte("jsapi_ticket=" + ticket + "&noncestr=" + nonce + "&timestamp=" + strconv.FormatInt(timestamp, 10) + "&url=" + url))
	return hex.EncodeToString(sum[:])
}
