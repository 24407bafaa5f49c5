package wecomtest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wecomauth/wecom/wecomtest"
)

const origin = "https://app.example.com"

// app signs in with nothing but package net/http: what any other WeCom client does.
func app(fake *wecomtest.Fake, client *http.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("__Host-user"); err == nil {
			fmt.Fprint(w, "hello "+c.Value)
			return
		}
		q := "redirect_uri=" + url.QueryEscape(origin+"/callback") + "&state=0a"
		http.Redirect(w, r, "https://login.work.weixin.qq.com/wwlogin/sso/login?login_type=CorpApp&appid="+fake.CorpID()+"&agentid="+fake.AgentID()+"&"+q, http.StatusFound)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		who := exchange(client, fake.CorpID(), fake.Secret(), r.URL.Query().Get("code"))
		http.SetCookie(w, &http.Cookie{Name: "__Host-user", Value: fmt.Sprint(who["userid"]), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return mux
}

func get(client *http.Client, u string) map[string]any { return decode(client.Get(u)) }

// decode returns the answer's fields, or what went wrong as the field "error".
func decode(res *http.Response, err error) map[string]any {
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	var v map[string]any
	if json.Unmarshal(b, &v) != nil {
		return map[string]any{"error": string(b)}
	}
	return v
}

func exchange(client *http.Client, corp, secret, code string) map[string]any {
	const api = "https://qyapi.weixin.qq.com/cgi-bin/"
	t := get(client, api+"gettoken?corpid="+corp+"&corpsecret="+secret)
	return get(client, api+"auth/getuserinfo?access_token="+fmt.Sprint(t["access_token"])+"&code="+code)
}

func TestSignIn(t *testing.T) {
	fake := wecomtest.New()
	b := fake.Browser(origin, app(fake, fake.Client())).SignInAs("zhangsan")
	res := b.Get("/")
	require.NoError(t, res.Err)
	assert.Equal(t, 200, res.Status)
	assert.Equal(t, "hello zhangsan", res.Body)
	assert.Len(t, res.Hops, 4)
	assert.Equal(t, 1, fake.Calls("/wwlogin/sso/login"))
	assert.Equal(t, 2, fake.TotalCalls())
	require.Len(t, fake.Codes(), 1)
	assert.True(t, fake.Codes()[0].Used)
	assert.Equal(t, 1, fake.Codes()[0].Sent)
}
