package wecom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

// numbered hands out CANARY-token-1, CANARY-token-2 and so on.
func numbered() wecom.TokenSource {
	n := 0
	return wecom.NewTokenSource("numbered", nil, func(context.Context, wecom.Token) (wecom.Token, error) {
		n++
		return wecom.Token{Value: wecom.NewSecret(fmt.Sprint("CANARY-token-", n)), Expires: time.Now().Add(time.Hour)}, nil
	})
}

// httpOn returns the HTTP client of a Client whose API is handler's, and what reached it.
func httpOn(t *testing.T, handler http.HandlerFunc) (client *http.Client, seen *[]string, base string) {
	t.Helper()
	seen = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*seen = append(*seen, r.Method+" "+r.RequestURI+" "+string(body))
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := wecom.NewClient(wecom.Options{CorpID: "ww1", TokenSource: numbered(), Endpoints: wecom.Endpoints{API: server.URL + "/proxy"}})
	require.NoError(t, err)
	return c.HTTP(), seen, server.URL
}

func read(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprint(resp.Request.URL, resp.Request), "CANARY", "the response shows the request")
	return string(body)
}

// deadFirst refuses the first token.
func deadFirst(answer func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.RequestURI, "token-1") {
			_, _ = io.WriteString(w, `{"errcode":40014,"errmsg":"invalid access_token"}`)
			return
		}
		answer(w)
	}
}

func TestHTTPUploadsAndDownloads(t *testing.T) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("media", "a.txt")
	require.NoError(t, err)
	_, _ = io.WriteString(part, "text of a file")
	require.NoError(t, w.Close())
	sent := form.String()
	client, seen, base := httpOn(t, deadFirst(func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"errcode":0,"media_id":"m"}`) }))
	resp, err := client.Post("/cgi-bin/media/upload?type=file", w.FormDataContentType(), &form)
	assert.JSONEq(t, `{"errcode":0,"media_id":"m"}`, read(t, resp, err))
	resp, err = client.Get(base + "/proxy/cgi-bin/x?a=b&c=%2F")
	assert.JSONEq(t, `{"errcode":0,"media_id":"m"}`, read(t, resp, err))
	assert.Equal(t, []string{
		"POST /proxy/cgi-bin/media/upload?access_token=CANARY-token-1&type=file " + sent,
		"POST /proxy/cgi-bin/media/upload?access_token=CANARY-token-2&type=file " + sent,
		"GET /proxy/cgi-bin/x?access_token=CANARY-token-2&a=b&c=%2F ",
	}, *seen)

	file := strings.Repeat("\x00\xff", 3<<20)
	client, _, _ = httpOn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, file) })
	resp, err = client.Get("/cgi-bin/media/get?media_id=m")
	assert.True(t, file == read(t, resp, err), "larger than Call takes, byte for byte")

	client, seen, _ = httpOn(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="a.json"`)
		_, _ = io.WriteString(w, `{"errcode":40014}`)
	})
	resp, err = client.Get("/cgi-bin/media/get?media_id=m")
	assert.Equal(t, `{"errcode":40014}`, read(t, resp, err))
	assert.Len(t, *seen, 1, "a file is no answer")
}

func TestHTTPRepeatsOnlyWhatItCan(t *testing.T) {
	client, seen, _ := httpOn(t, deadFirst(func(w http.ResponseWriter) { _, _ = io.WriteString(w, "{}") }))
	resp, err := client.Post("/cgi-bin/x", "text/plain", io.LimitReader(strings.NewReader("once"), 4))
	assert.Contains(t, read(t, resp, err), "40014", "the body is gone")
	resp, err = client.Post("/cgi-bin/x", "text/plain", strings.NewReader("again"))
	assert.Equal(t, "{}", read(t, resp, err), "the next call has the next token")
	assert.Len(t, *seen, 2)

	client, seen, _ = httpOn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"errcode":42001}`) })
	resp, err = client.Get("/cgi-bin/x")
	assert.Contains(t, read(t, resp, err), "42001")
	assert.Len(t, *seen, 2, "repeated once")

	closed := make(chan struct{})
	client, seen, _ = httpOn(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(closed)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		_, _ = io.ReadFull(conn, make([]byte, 1))
		*seen = append(*seen, "a second request")
		_ = conn.Close()
	})
	resp, err = client.Get("/cgi-bin/x")
	assert.Equal(t, "{}", read(t, resp, err))
	_, err = client.Get("/cgi-bin/x")
	assert.Error(t, err)
	<-closed
	assert.Equal(t, []string{"GET /proxy/cgi-bin/x?access_token=CANARY-token-1 ", "a second request"}, *seen,
		"when a kept-alive connection dies, net/http would repeat a GET by itself")

	client, seen, _ = httpOn(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TransferEncoding) })
	resp, err = client.Post("/cgi-bin/x", "", nil)
	assert.Equal(t, "[]", read(t, resp, err), "a POST without a body")
	assert.Len(t, *seen, 1)
}

func TestHTTPFollowsNoRedirect(t *testing.T) {
	for _, location := range []string{"https://evil.example/", "https://evil.example", "http://[", "/%zz"} {
		client, seen, _ := httpOn(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", location+r.RequestURI) // with the token
			w.WriteHeader(http.StatusFound)
		})
		resp, err := client.Get("/cgi-bin/x")
		read(t, resp, err)
		assert.Equal(t, http.StatusFound, resp.StatusCode)
		noCanary(t, fmt.Sprint(resp.Header))
		assert.Len(t, *seen, 1)
	}
}

func TestHTTPSendsTheTokenNowhereElse(t *testing.T) {
	client, seen, base := httpOn(t, func(http.ResponseWriter, *http.Request) {})
	for _, address := range []string{
		"https://evil.example/cgi-bin/x", "//evil.example/cgi-bin/x", base + "/cgi-bin/x", base + "/proxyx/x", base + "@evil.example/proxy/x", strings.Replace(base, "http:", "https:", 1) + "/proxy/x",
		"/../x", base + "/proxy/../x", "/cgi-bin/x?access_token=mine", "cgi-bin/x", "", "/cgi-bin/x#fragment", "http://user:pass@" + base[len("http://"):] + "/proxy/x",
	} {
		_, err := client.Get(address)
		assert.Error(t, err, address)
		assert.NotContains(t, fmt.Sprint(err), "CANARY")
	}
	assert.Empty(t, *seen)
	resp, err := client.Get(base + "/proxy%2Fcgi-bin/x")
	read(t, resp, err)
	assert.Equal(t, []string{"GET /proxy/cgi-bin/x?access_token=CANARY-token-1 "}, *seen, "what was checked is what is sent")

	var host string
	client, _, base = httpOn(t, func(_ http.ResponseWriter, r *http.Request) { host = r.Host })
	r, err := http.NewRequest("GET", "/cgi-bin/x", nil)
	require.NoError(t, err)
	r.Host = "evil.example"
	resp, err = client.Do(r)
	read(t, resp, err)
	assert.Equal(t, base, "http://"+host)
}

// Where TLS is asked for, and where a source has no other token.
func TestHTTPSendsNothingInTheClearAndNoTokenTwice(t *testing.T) {
	sent := 0
	o := clientOptions(roundTrip(func(*http.Request) (*http.Response, error) {
		sent++
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"errcode":40014}`))}, nil
	}))
	o.TokenSource = fixedToken{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	_, err = c.HTTP().Get("http://qyapi.weixin.qq.com/cgi-bin/x")
	assert.ErrorContains(t, err, "Endpoints.API")
	assert.Zero(t, sent)
	resp, err := c.HTTP().Get("https://qyapi.weixin.qq.com/cgi-bin/x")
	assert.Contains(t, read(t, resp, err), "40014")
	assert.Equal(t, 1, sent)
}

// A closing body says whether it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestHTTPIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := clientOptions(roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: dripping{r.Context()}}, nil
		}))
		o.TokenSource = fixedToken{}
		c, err := wecom.NewClient(o)
		require.NoError(t, err)
		client, began := c.HTTP(), time.Now()
		resp, err := client.Get("/cgi-bin/x")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, time.Minute, time.Since(began))
	})
	o := clientOptions(roundTrip(func(*http.Request) (*http.Response, error) { return nil, nil }))
	o.TokenSource = fixedToken{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	_, err = c.HTTP().Get("/cgi-bin/x")
	assert.ErrorContains(t, err, "neither an answer nor an error")

	body := &closing{Reader: strings.NewReader("x")}
	_, err = c.HTTP().Post("https://evil.example/", "text/plain", body)
	assert.Error(t, err)
	assert.True(t, body.closed)
}

func TestHTTPErrorsShowNothing(t *testing.T) {
	client, _, _ := httpOn(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := client.Get("/cgi-bin/x?media_id=m")
	require.Error(t, err)
	noCanary(t, everyText(err))

	ctx, cancel := context.WithCancel(t.Context())
	client, _, _ = httpOn(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	r, err := http.NewRequestWithContext(ctx, "GET", "/cgi-bin/x", nil)
	require.NoError(t, err)
	_, err = client.Do(r)
	assert.ErrorIs(t, err, context.Canceled)
	noCanary(t, everyText(err))

	o := clientOptions(roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("no way to " + r.URL.String())}
	}))
	o.TokenSource = fixedToken{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	_, err = c.HTTP().Get("/cgi-bin/x")
	assert.ErrorContains(t, err, "no way to")
	noCanary(t, everyText(err))

	_, err = new(wecom.Client).HTTP().Get("/cgi-bin/x")
	assert.Error(t, err)
}
