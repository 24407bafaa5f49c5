package wecom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
	"github.com/wecomauth/wecom/internal/jsonx"
	"github.com/wecomauth/wecom/internal/upstream"
)

// A Client calls WeCom's server API as one app, or that of another platform
// (see [NewClient]). It adds the access token, replaces one that is refused, and
// keeps every answer and every wait bounded. It is itself the app's [TokenSource].
//
// A Client is safe for concurrent use and starts no goroutine before its first
// use. Every call of the zero Client fails.
type Client struct {
	app       App
	secret    Secret
	api       string // base URL without a slash at its end
	transport http.RoundTripper
	timeout   time.Duration // of one request
	maxAnswer int64         // bytes
	tokens    TokenSource

	corpTicket, appTicket TokenSource // of the JS-SDK; nil on other platforms
}

var errZeroClient = errors.New("wecom: this Client was not made by NewClient or New")

// Token returns the app's access token, as [TokenSource] says.
func (c *Client) Token(ctx context.Context) (Token, error) {
	if c == nil || c.tokens == nil {
		return Token{}, errZeroClient
	}
	return c.tokens.Token(ctx)
}

// Invalidate reports that WeCom refused a token, as [TokenSource] says. Call
// does so by itself.
func (c *Client) Invalidate(rejected Token) {
	if c != nil && c.tokens != nil {
		c.tokens.Invalidate(rejected)
	}
}

// Call calls one operation of WeCom's API.
//
// method is GET or POST. path is the operation's path as WeCom's documentation
// has it, such as "/cgi-bin/user/get"; the leading "/cgi-bin/" may be left out.
// Weixin has operations elsewhere, too, such as "/datacube/getusersummary".
// query holds parameters other than access_token, which Call adds; it is not
// modified. in is sent as JSON and must be nil for GET; for POST nil sends no body.
// The answer, a JSON object, is decoded into out as by [json.Unmarshal] (a
// *json.RawMessage takes it as it is) unless out is nil. In texts, control characters have
// become spaces, and what is not Unicode U+FFFD. Nothing is sent if out
// is no pointer, or a nil one.
//
// If WeCom refuses the access token (40014, 42001; Weixin also 40001), Call invalidates it and
// repeats once with another; if WeCom is busy (-1), it tries three times in
// all. A request that may have reached WeCom without an answer is never
// repeated. Each request may take
// [Limits].Call, 5 seconds by default, and its answer may have [Limits].AnswerBytes,
// 1 MiB by default; ctx bounds the whole.
//
// If the errcode is not 0 (Weixin leaves a 0 out) the error is an *[APIError], among them too many
// calls (45009, 45033), which it is up to the caller to space out. Other errors
// say why there is no answer; their texts hold no secret, token, code or URL, and
// [errors.Is] sees [context.DeadlineExceeded] and the like in them. out is
// untouched if WeCom gave no valid answer.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	op := strings.TrimPrefix(path, cgi)
	switch {
	case c == nil || c.tokens == nil:
		return errZeroClient
	case method != http.MethodGet && method != http.MethodPost:
		return errors.New("wecom: Call: the method must be GET or POST")
	case !operation.MatchString(c.bareOp(op)):
		return errors.New("wecom: Call: the path must be one such as /cgi-bin/user/get, without host and query")
	case query.Has("access_token"):
		return errors.New("wecom: Call: access_token is added by Call and must not be in the query")
	case out != nil && (reflect.TypeOf(out).Kind() != reflect.Pointer || reflect.ValueOf(out).IsNil()):
		// Not only when the answer is there: what was sent would be sent again.
		return errors.New("wecom: Call: out must be a pointer, and not a nil one")
	case method == http.MethodGet && in != nil:
		return errors.New("wecom: Call: a GET has no body; use POST, or the query")
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("wecom: %s: the request cannot be encoded: %T: %w", op, in, err)
		}
	}
	text, _, err := c.call(ctx, method, op, query, body)
	if err != nil || out == nil {
		return err
	}
	return decode(op, text, out)
}

// decode leaves json's own errors out: they quote the answer.
func decode(op string, text []byte, out any) error {
	err := json.Unmarshal(text, out)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return fmt.Errorf("wecom: %s: the answer does not fit %T: field %q is no %v", op, out, wrong.Field, wrong.Type)
	}
	return fmt.Errorf("wecom: %s: the answer does not fit %T", op, out)
}

const cgi = "/cgi-bin/"

// bareOp takes off the slash in front of an operation outside /cgi-bin/, where
// the platform has such.
func (c *Client) bareOp(op string) string {
	if c.app.Provider == errcode.WeCom {
		return op
	}
	return strings.TrimPrefix(op, "/")
}

// operation is what can stand behind /cgi-bin/: words and slashes, so that
// nothing in it can mean another host, another folder or a query.
var operation = regexp.MustCompile(`^[0-9A-Za-z_-]+(/[0-9A-Za-z_-]+)*$`)

// call is the policy of Call: it returns the answer as text and as an object
// whose errcode is 0.
func (c *Client) call(ctx context.Context, method, op string, query url.Values, body []byte) ([]byte, jsonx.Object, error) {
	text, answer, err := c.try(ctx, method, op, query, body)
	var noToken *tokenError
	if errors.As(err, &noToken) {
		err = noToken.err
	}
	return text, answer, err
}

// try is call, but for want of a token its error is a *tokenError.
func (c *Client) try(ctx context.Context, method, op string, query url.Values, body []byte) ([]byte, jsonx.Object, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, nil, &tokenError{err: err}
	}
	for tries, renewed := 1, false; ; {
		text, answer, err := c.send(ctx, method, op, query, body, token)
		switch class := errcode.ClassOf(err); {
		case class == errcode.Token && !renewed:
			renewed = true
			c.tokens.Invalidate(token)
			next, tokenErr := c.tokens.Token(ctx)
			if tokenErr != nil {
				return nil, nil, &tokenError{tokenErr, true}
			}
			if next.equal(token) {
				return nil, nil, err // the source has no other
			}
			token = next
		case class == errcode.Busy && tries < upstream.BusyTries && upstream.Pause(ctx, tries):
			tries++
		default:
			return text, answer, err
		}
	}
}

// send makes one exchange with the token, or without one if that is the zero
// Token, and judges its errcode.
func (c *Client) send(ctx context.Context, method, op string, query url.Values, body []byte, token Token) ([]byte, jsonx.Object, error) {
	hide := upstream.Hidden{c.secret.Reveal(), token.Value.Reveal()}
	address := c.api + cgi + op
	if strings.HasPrefix(op, "/") {
		address = c.api + op
	}
	op = c.bareOp(op)
	separator := "?"
	if value := token.Value.Reveal(); value != "" {
		address += "?access_token=" + url.QueryEscape(value)
		separator = "&"
	}
	if len(query) > 0 {
		address += separator + query.Encode()
	}
	hide = append(hide, upstream.Confidential(query, body)...)

	text, err := upstream.Do(ctx, c.transport, upstream.Request{
		Method: method, URL: address, Body: body, Hide: hide,
		Timeout: c.timeout, MaxAnswer: c.maxAnswer,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("wecom: %s: %w", op, err)
	}
	answer, err := upstream.ReadAnswer(text, hide)
	switch {
	case err != nil:
		return nil, nil, unreadable(op, err)
	case answer.Code != 0:
		return nil, nil, &APIError{Provider: c.app.Provider, Op: op, Code: answer.Code, Hint: answer.Hint}
	case !answer.Judged && c.app.Provider == errcode.WeCom:
		return nil, nil, unreadable(op, errors.New("there is no errcode"))
	}
	return answer.Text, answer.Object, nil
}

// fetchToken asks WeCom for an access token: the fetch of the default
// [TokenSource]. A wrong secret is never sent again by it.
func (c *Client) fetchToken(ctx context.Context) (Token, error) {
	withoutToken := *c
	withoutToken.tokens = noTokens{}
	return withoutToken.fetch(ctx, "gettoken", "access_token", url.Values{"corpid": {c.app.CorpID}, "corpsecret": {c.secret.Reveal()}})
}

// fetch asks WeCom for a token or a ticket, which stands in the field of that name.
func (c *Client) fetch(ctx context.Context, op, field string, query url.Values) (Token, error) {
	// From the request's start and not from the answer: a token must not be
	// thought to live longer than it does.
	start := time.Now()
	_, answer, err := c.call(ctx, http.MethodGet, op, query, nil)
	if err != nil {
		return Token{}, err
	}
	value, life, err := upstream.ReadToken(answer, field)
	if err != nil {
		return Token{}, unreadable(op, err)
	}
	return Token{NewSecret(value), start.Add(life)}, nil
}

// noTokens is the source for the call that needs no token.
type noTokens struct{}

func (noTokens) Token(context.Context) (Token, error) { return Token{}, nil }
func (noTokens) Invalidate(Token)                     {}
