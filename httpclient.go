package wecom

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/upstream"
)

const (
	httpTimeout = time.Minute
	maxRefusal  = 4 << 10 // bytes; a refusal is some hundred
)

// HTTP returns an HTTP client for what [Client.Call] does not do: uploads,
// downloads, answers that are large or slow. A request's URL is the operation's path, such as
// "/cgi-bin/media/get?media_id=…", or an absolute one on Endpoints.API. It holds no
// access_token: the client adds it, and sends it nowhere else.
//
// If WeCom refuses the access token, the client invalidates it and repeats the
// request once with another, provided that the body can be sent again: [http.NewRequest]
// sees to that for a [bytes.Buffer], a [bytes.Reader] and a [strings.Reader]; for others
// set GetBody. Nothing else is repeated. The answer is WeCom's, an errcode in it
// included, but for the header Location: no redirect is followed, and it may repeat the token.
//
// A request may take one minute, its answer included. A context ends it sooner; for longer ones
// set the Timeout of the returned client, which is the caller's own. The error of a failed
// request shows the URL as the caller gave it, and neither secret nor token.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: &apiTransport{c}, Timeout: httpTimeout}
}

// An apiTransport adds the access token below the http.Client, whose errors and
// responses show the request that it was given.
type apiTransport struct{ c *Client }

func (t *apiTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var token Token
	address, op, err := t.c.onAPI(r.URL)
	if err == nil {
		token, err = t.c.tokens.Token(r.Context())
	}
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	resp, err := t.send(r, address, r.Body, token)
	if err != nil || !t.c.refusesToken(resp, op) {
		return resp, err
	}
	t.c.tokens.Invalidate(token)
	next, err := t.c.tokens.Token(r.Context())
	if err != nil || next.equal(token) {
		return resp, nil // the refusal tells more
	}
	body := r.Body
	if body != nil && body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil
		}
		if body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	_ = resp.Body.Close()
	return t.send(r, address, body, next)
}

// onAPI returns the operation that u names, and its URL without a token yet.
func (c *Client) onAPI(u *url.URL) (address *url.URL, op string, err error) {
	if c == nil || c.tokens == nil {
		return nil, "", errZeroClient
	}
	api, err := url.Parse(c.api)
	switch {
	case err != nil:
		return nil, "", errors.New("wecom: Endpoints.API cannot be read")
	case u.Opaque != "" || u.User != nil || u.Fragment != "" || u.Query().Has("access_token"):
		return nil, "", errors.New("wecom: the URL must hold neither access_token, which is added, nor user or fragment")
	case strings.Contains(u.Path+"/", "/../") || !strings.HasPrefix(u.Path, "/"):
		return nil, "", errors.New("wecom: the URL must hold a path such as /cgi-bin/media/get")
	}
	on := *u
	on.RawPath = "" // what was checked is what is sent
	if u.Scheme == "" && u.Host == "" {
		on.Scheme, on.Host, on.Path = api.Scheme, api.Host, api.Path+u.Path
	}
	op, ok := strings.CutPrefix(on.Path, api.Path+"/")
	if !ok || on.Scheme != api.Scheme || on.Host != api.Host {
		return nil, "", errors.New("wecom: the URL is not one of Endpoints.API: the token would go elsewhere")
	}
	return &on, strings.TrimPrefix(op, "cgi-bin/"), nil
}

// send makes one request, which net/http must not send again by itself.
func (t *apiTransport) send(r *http.Request, address *url.URL, body io.ReadCloser, token Token) (*http.Response, error) {
	value := token.Value.Reveal()
	u := *address
	u.RawQuery = "access_token=" + url.QueryEscape(value)
	if address.RawQuery != "" {
		u.RawQuery += "&" + address.RawQuery
	}
	out := r.Clone(r.Context())
	out.URL, out.Host, out.Body, out.GetBody = &u, "", body, nil
	if r.Method != http.MethodPost && (body == nil || body == http.NoBody) {
		out.Body = io.NopCloser(strings.NewReader("")) // see upstream.Do
	}
	resp, err := t.c.transport.RoundTrip(out)
	if err == nil && (resp == nil || resp.Body == nil) {
		err = errors.New("the transport returned neither an answer nor an error")
	}
	if err != nil {
		return nil, upstream.Hide(err, upstream.Hidden{value, t.c.secret.Reveal()})
	}
	resp.Header.Del("Location")
	resp.Request = r
	return resp, nil
}

// refusesToken says that WeCom refused the access token, and leaves the answer as it
// came. A file that was uploaded is no answer of WeCom's, whatever stands in it.
func (c *Client) refusesToken(resp *http.Response, op string) bool {
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Disposition") != "" {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	failed, w := io.Pipe()
	_ = w.CloseWithError(err) // of the body: it is read again where the head ends; io.EOF if there is none
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), failed, resp.Body), resp.Body}
	if err != nil || len(head) == maxRefusal {
		return false
	}
	answer, err := upstream.ReadAnswer(head, nil)
	return err == nil && errcode.Of(c.app.Provider, op, answer.Code).Class == errcode.Token
}
