package main

import (
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A person is a browser that keeps cookies.
type person struct {
	*testing.T
	http.Client
}

// A pageOpener asks for pages, as browsers do.
type pageOpener struct{ http.Transport }

func (o *pageOpener) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Accept", "text/html")
	return o.Transport.RoundTrip(r)
}

// read returns where it ends, and the page.
func (p *person) read(res *http.Response, err error) (at *url.URL, page string) {
	p.Helper()
	require.NoError(p, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(p, err)
	return res.Request.URL, string(body)
}

func TestTheWikisReaders(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	wiki, sso := listen(), listen()
	ended := make(chan error)
	go func() { ended <- run(wiki, sso, "127.0.0.1:0") }()
	defer func() {
		_ = wiki.Close()
		<-ended
		_ = sso.Close()
	}()
	at := "http://" + wiki.Addr().String()
	newPerson := func(t *testing.T) *person {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		return &person{t, http.Client{Jar: jar, Transport: &pageOpener{http.Transport{DisableKeepAlives: true}}}}
	}
	const deepLink = "/d/abc?from=now-6h&var=%E5%BC%A0+x%2Fy"

	t.Run("a reader", func(t *testing.T) {
		p := newPerson(t)
		signIn, page := p.read(p.Get(at + deepLink))
		assert.Contains(t, page, "张三", "WeCom's page")
		back, page := p.read(p.PostForm(signIn.String(), url.Values{"who": {"zhangsan"}}))
		assert.Equal(t, at+deepLink, back.String())
		assert.Contains(t, page, ":user:zhangsan reads "+strings.ReplaceAll(deepLink, "&", "&amp;"))

		out, page := p.read(p.PostForm(at+"/sign-out", nil))
		assert.Contains(t, out.Path, "/signed-out", page)
		_, page = p.read(p.Get(at + "/"))
		assert.Contains(t, page, "张三", "both sessions have ended")
	})
	t.Run("somebody of another department", func(t *testing.T) {
		p := newPerson(t)
		signIn, _ := p.read(p.Get(at + deepLink))
		back, page := p.read(p.PostForm(signIn.String(), url.Values{"who": {"lisi"}}))
		assert.Equal(t, "/callback", back.Path)
		assert.Contains(t, page, "You may not read the wiki")
	})
	t.Run("a code that another browser got", func(t *testing.T) {
		p := newPerson(t)
		signIn, _ := p.read(p.Get(at + deepLink))
		p.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/callback" {
				return http.ErrUseLastResponse
			}
			return nil
		}
		res, err := p.PostForm(signIn.String(), url.Values{"who": {"zhangsan"}})
		require.NoError(t, err)
		_ = res.Body.Close()
		other := newPerson(t)
		other.read(other.Get(at + "/"))
		_, page := other.read(other.Get(res.Header.Get("Location")))
		assert.Contains(t, page, "did not come here from it")
	})
}
