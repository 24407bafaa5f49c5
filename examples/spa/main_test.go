package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

func TestRoutes(t *testing.T) {
	fake := wecomtest.New()
	auth, err := wecom.New(fake.Options("https://app.example.com/wecom/callback"))
	require.NoError(t, err)
	b := fake.Browser("https://app.example.com", routes(auth)).SignInAs("zhangsan")

	for _, public := range []string{"/", "/app.js", "/app.css", "/wecom/wecom.js"} {
		assert.Equal(t, http.StatusOK, b.Get(public).Status, public)
	}
	assert.Equal(t, http.StatusUnauthorized, b.Fetch("GET", "/api/me", "").Status)
	assert.Equal(t, "https://app.example.com/#/me", b.Get("/wecom/login?return_to=%2F%23%2Fme").URL)
	me := b.Fetch("GET", "/api/me", "")
	assert.Equal(t, http.StatusOK, me.Status)
	assert.Contains(t, me.Body, `"user_id":"zhangsan"`)
	assert.Equal(t, http.StatusNotFound, b.Fetch("GET", "/api/other", "").Status)
}
