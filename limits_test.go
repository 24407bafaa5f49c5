package wecom_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

func TestLimitsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		limits wecom.Limits
		want   string // a part of the error, "" for none
	}{
		{wecom.Limits{SignIn: 5 * time.Second, Call: 100 * time.Millisecond, SessionStore: 100 * time.Millisecond, AnswerBytes: 64 << 10}, ""},
		{wecom.Limits{SignIn: 30 * time.Second, Call: time.Minute, SessionStore: 10 * time.Second, AnswerBytes: 64 << 20}, ""},
		{wecom.Limits{SignIn: 20}, "Limits.SignIn 20ns: want 5s to 30s; a number without a unit"},
		{wecom.Limits{SignIn: 31 * time.Second}, "Limits.SignIn"},
		{wecom.Limits{Call: -1}, "Limits.Call"},
		{wecom.Limits{Call: 61 * time.Second}, "Limits.Call"},
		{wecom.Limits{SessionStore: 99 * time.Millisecond}, "Limits.SessionStore"},
		{wecom.Limits{SessionStore: 11 * time.Second}, "Limits.SessionStore"},
		{wecom.Limits{AnswerBytes: 1 << 10}, "Limits.AnswerBytes"},
		{wecom.Limits{AnswerBytes: 1 << 40}, "Limits.AnswerBytes"},
		{wecom.Limits{AnswerBytes: -1}, "Limits.AnswerBytes"},
	} {
		o := sound()
		o.Limits = tt.limits
		_, err := wecom.New(o)
		_, clientErr := wecom.NewClient(o)
		for _, err := range []error{err, clientErr} {
			if tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		}
	}
}

func TestLimitsOfASignInAndARecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left []time.Duration
		m := fixed(t, func(o *wecom.Options) {
			o.Limits.SignIn = 20 * time.Second
			o.Recheck = time.Hour
			o.Authorize = func(ctx context.Context, _ *wecom.Client, _ wecom.Identity) (bool, error) {
				deadline, _ := ctx.Deadline()
				left = append(left, time.Until(deadline))
				<-ctx.Done()
				return true, nil
			}
		})
		began := time.Now()
		session := sessionOf(do(m.Routes(), comeBack(t, m, "zhangsan")))
		assert.Equal(t, 20*time.Second, time.Since(began))
		require.NotNil(t, session)
		time.Sleep(time.Hour)
		assert.True(t, isIn(m.Handler(hello()), session))
		synctest.Wait()
		time.Sleep(time.Minute)
		assert.Equal(t, []time.Duration{20 * time.Second, 20 * time.Second}, left)
	})
}

func TestLimitOfTheSessionStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, hang := newTestStore(), make(chan struct{})
		m := fixed(t, func(o *wecom.Options) {
			o.SessionStore = store
			o.Limits.SessionStore = 3 * time.Second
		})
		session := sessionOf(do(m.Routes(), comeBack(t, m, "zhangsan")))
		store.set(hanging(hang))
		began := time.Now()
		assert.False(t, isIn(m.Handler(hello()), session))
		assert.Equal(t, 3*time.Second, time.Since(began))
		close(hang)
	})
}

func TestLimitsOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := clientOptions(roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: dripping{r.Context()}}, nil
		}))
		o.TokenSource, o.Limits.Call = fixedToken{}, 40*time.Second
		c, err := wecom.NewClient(o)
		require.NoError(t, err)
		began := time.Now()
		assert.ErrorIs(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil), context.DeadlineExceeded)
		assert.Equal(t, 40*time.Second, time.Since(began))
	})

	long := `{"errcode":0,"x":"` + strings.Repeat("x", 2<<20-20) + `"}`
	o := clientOptions(&scriptedAPI{script: inTurn("user/get", long, long+" ")})
	o.Limits.AnswerBytes = 2 << 20
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	require.NoError(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil))
	assert.ErrorContains(t, c.Call(t.Context(), "GET", "user/get", nil, nil, nil), "larger than 2097152 bytes")
}
