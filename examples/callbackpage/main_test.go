package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// What app.js does, without a browser's scripts.
func TestThePageGetsTheCode(t *testing.T) {
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	require.NoError(t, err)
	b := fake.Browser("https://app.example.com", routes(auth)).SignInAs("zhangsan")
	const asJSON = "Content-Type: application/json"

	assert.Equal(t, http.StatusOK, b.Get("/").Status)
	assert.Equal(t, http.StatusUnauthorized, b.Fetch("GET", "/api/me", "").Status)
	var attempt struct {
		State string `json:"state"`
		URL   string `json:"web_url"`
	}
	require.NoError(t, b.Fetch("POST", "/wecom/attempt", `{"return_to":"/"}`, asJSON).JSON(&attempt))

	callback := b.Click(attempt.URL)
	assert.Equal(t, http.StatusOK, callback.Status)
	assert.Contains(t, callback.Body, "app.js", "the page, and no redirect")
	assert.Equal(t, "origin", callback.Header.Get("Referrer-Policy"))
	at, err := url.Parse(callback.URL)
	require.NoError(t, err)
	code := at.Query().Get("code")
	assert.Equal(t, attempt.State, at.Query().Get("state"))
	assert.Zero(t, fake.Sent(code), "the code is the page's")

	body, _ := json.Marshal(map[string]string{"code": code, "state": attempt.State})
	assert.Equal(t, http.StatusOK, b.Fetch("POST", "/wecom/session", string(body), asJSON).Status)
	me := b.Fetch("GET", "/api/me", "")
	assert.Equal(t, http.StatusOK, me.Status)
	assert.Contains(t, me.Body, `"user_id":"zhangsan"`)

	assert.Equal(t, http.StatusOK, b.Get("/app.js").Status)
	assert.Equal(t, http.StatusOK, b.Post("/wecom/logout").Status, "the rest of the folder is the middleware's")
}
