package allow_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/wecomtest"
)

func yes(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return true, nil }
func no(context.Context, *wecom.Client, wecom.Identity) (bool, error)  { return false, nil }

var errDown = errors.New("WeCom is down")

func unsure(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return false, errDown }

// unsureYes breaks the rule that an error goes with false.
func unsureYes(context.Context, *wecom.Client, wecom.Identity) (bool, error) { return true, errDown }

func member(userID string) wecom.Identity {
	return wecom.Identity{Provider: "wecom", CorpID: "ww0000000000000001", AppID: "1000002", UserID: userID, AuthenticatedAt: time.Now()}
}

// others are people who are no members of the corp.
var others = map[string]wecom.Identity{
	"nobody":                            {},
	"an outsider":                       {Provider: "wecom", CorpID: "ww0000000000000001", OpenID: "zhangsan"},
	"a customer":                        {Provider: "wecom", CorpID: "ww0000000000000001", ExternalUserID: "zhangsan"},
	"a member of a linked corp":         {Provider: "wecom", CorpID: "ww0000000000000001", LinkedUserID: "ww1/zhangsan"},
	"one without the corp":              {Provider: "wecom", LinkedUserID: "zhangsan"},
	"one in the wrong field":            {Provider: "wecom", CorpID: "ww0000000000000001", UserID: "ww1/zhangsan"},
	"one with departments":              {Provider: "wecom", CorpID: "ww0000000000000001", OpenID: "o", Departments: []int64{1, 2}},
	"one with departments and a slash":  {Provider: "wecom", CorpID: "ww0000000000000001", UserID: "ww1/zhangsan", Departments: []int64{1, 2}},
	"one whose id is nothing but slash": {Provider: "wecom", CorpID: "ww0000000000000001", UserID: "/"},
}

// newClient returns a client of a fake WeCom.
func newClient(t *testing.T) (*wecomtest.Fake, *wecom.Client) {
	t.Helper()
	fake := wecomtest.New()
	c, err := wecom.NewClient(fake.Options(""))
	require.NoError(t, err)
	return fake, c
}

func TestCombinators(t *testing.T) {
	for name, tt := range map[string]struct {
		a     wecom.Authorizer
		ok    bool
		cause error
	}{
		"All: nothing":             {allow.All(), false, nil},
		"All: yes":                 {allow.All(yes), true, nil},
		"All: yes yes":             {allow.All(yes, yes), true, nil},
		"All: yes no":              {allow.All(yes, no), false, nil},
		"All: unsure yes":          {allow.All(unsure, yes), false, errDown},
		"All: no wins, later":      {allow.All(unsure, no), false, nil},
		"All: no wins, earlier":    {allow.All(no, unsure), false, nil},
		"All: an error is no yes":  {allow.All(unsureYes), false, errDown},
		"All: one forgotten":       {allow.All(yes, nil), false, errAny},
		"All: forgotten, but no":   {allow.All(nil, no), false, nil},
		"Any: nothing":             {allow.Any(), false, nil},
		"Any: no":                  {allow.Any(no), false, nil},
		"Any: no yes":              {allow.Any(no, yes), true, nil},
		"Any: no unsure":           {allow.Any(no, unsure), false, errDown},
		"Any: yes wins, later":     {allow.Any(unsure, yes), true, nil},
		"Any: yes wins, earlier":   {allow.Any(yes, unsure), true, nil},
		"Any: an error is no yes":  {allow.Any(unsureYes, no), false, errDown},
		"Any: one forgotten":       {allow.Any(no, nil), false, errAny},
		"Any: forgotten, but yes":  {allow.Any(nil, yes), true, nil},
		"Not: yes":                 {allow.Not(yes), false, nil},
		"Not: no":                  {allow.Not(no), true, nil},
		"Not: unsure":              {allow.Not(unsure), false, errDown},
		"Not: an error is no yes":  {allow.Not(unsureYes), false, errDown},
		"Not: forgotten":           {allow.Not(nil), false, errAny},
		"nested":                   {allow.All(allow.Any(no, unsure, yes), allow.Not(allow.All(yes, no))), true, nil},
		"nested, could not tell":   {allow.All(yes, allow.Not(allow.Any(no, unsure))), false, errDown},
		"nested, no beats unsure":  {allow.All(allow.Not(unsure), allow.Not(yes)), false, nil},
		"nested, yes beats unsure": {allow.Any(allow.Not(unsure), allow.Not(no)), true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ok, err := tt.a(t.Context(), nil, member("zhangsan"))
			assert.Equal(t, tt.ok, ok)
			switch tt.cause {
			case nil:
				assert.NoError(t, err)
			case errAny:
				assert.Error(t, err)
			default:
				assert.ErrorIs(t, err, tt.cause)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestCombinatorsStopEarly(t *testing.T) {
	never := func(context.Context, *wecom.Client, wecom.Identity) (bool, error) {
		t.Error("asked in vain")
		return false, nil
	}
	_, _ = allow.All(no, never)(t.Context(), nil, member("zhangsan"))
	_, _ = allow.Any(yes, never)(t.Context(), nil, member("zhangsan"))
}

func TestUsers(t *testing.T) {
	a := allow.Users("ZhangSan", "li.si", "ww1/wangwu", "", "k")
	for id, want := range map[string]bool{
		"zhangsan": true, "ZHANGSAN": true, "LI.SI": true, "li.si": true, "k": true, "K": true,
		"wangwu": false, "ww1/wangwu": false, "": false, "zhangsan ": false, "zhang": false,
		"\u212a": false, // the Kelvin sign lowers to k, but is another letter
	} {
		ok, err := a(t.Context(), nil, member(id))
		require.NoError(t, err)
		assert.Equal(t, want, ok, "%q", id)
	}
	ok, err := allow.Users()(t.Context(), nil, member("zhangsan"))
	require.NoError(t, err)
	assert.False(t, ok)
}

// Whoever is no member of the corp passes no authorizer, and costs no call to WeCom.
func TestT17_OthersNeverPass(t *testing.T) {
	fake, c := newClient(t)
	for name, a := range map[string]wecom.Authorizer{
		"Users":         allow.Users("zhangsan", "ww1/zhangsan", "/", ""),
		"Departments":   allow.Departments(1, 2),
		"Tags":          allow.Tags(1),
		"Active":        allow.Active(),
		"Visible":       allow.Visible(),
		"Not Users":     allow.Not(allow.Users("lisi")),
		"Not Not Users": allow.Not(allow.Not(allow.Users("zhangsan"))),
		"Not Visible":   allow.Not(allow.Visible()),
		"All":           allow.All(allow.Users("zhangsan"), allow.Visible()),
		"Any":           allow.Any(allow.Users("zhangsan"), allow.Visible(), allow.Not(allow.Active())),
	} {
		for who, id := range others {
			id.AuthenticatedAt = time.Now()
			ok, err := a(t.Context(), c, id)
			require.NoError(t, err, "%s, %s", name, who)
			assert.False(t, ok, "%s, %s", name, who)
		}
	}
	assert.Zero(t, fake.TotalCalls())
}

// Ids that differ only in case are one person for every authorizer.
func TestT17_CaseOfUserIDs(t *testing.T) {
	_, c := newClient(t)
	for name, a := range map[string]wecom.Authorizer{
		"Users": allow.Users("wangwu"), "Departments": allow.Departments(4), "Tags": allow.Tags(1), "Active": allow.Active(), "Visible": allow.Visible(),
	} {
		for _, id := range []string{"wangwu", "WangWu", "WANGWU"} {
			ok, err := a(t.Context(), c, member(id))
			require.NoError(t, err, name)
			assert.True(t, ok, "%s: %s", name, id)
		}
	}
	for name, a := range map[string]wecom.Authorizer{"Active": allow.Active(), "Visible": allow.Visible(), "Not": allow.Not(allow.Users("SUNQI"))} {
		ok, err := a(t.Context(), c, member("sunqi"))
		require.NoError(t, err)
		assert.False(t, ok, name)
	}
}

func TestVisibleAndActive(t *testing.T) {
	for _, invisible := range []int{60011, 60111} {
		fake, c := newClient(t)
		fake.Configure(func(s *wecomtest.Settings) { s.InvisibleErrcode = invisible })
		fake.AddMember(wecomtest.Member{UserID: "asleep", Departments: []int64{2}, Status: wecomtest.Inactive})
		fake.AddMember(wecomtest.Member{UserID: "left", Departments: []int64{2}, Status: wecomtest.Resigned})
		for id, want := range map[string]struct{ visible, active bool }{
			"zhangsan": {true, true},
			"zhaoliu":  {true, false}, // disabled
			"asleep":   {true, false},
			"left":     {true, false},
			"sunqi":    {false, false}, // outside the visible range
			"nobody":   {false, false},
		} {
			visible, err := allow.Visible()(t.Context(), c, member(id))
			require.NoError(t, err)
			active, err := allow.Active()(t.Context(), c, member(id))
			require.NoError(t, err)
			assert.Equal(t, want.visible, visible, id)
			assert.Equal(t, want.active, active, id)
		}
	}
}

// "Could not tell" is an error and neither a yes nor a no.
func TestCouldNotTell(t *testing.T) {
	for name, fault := range map[string]wecomtest.Fault{
		"no right":        {ErrCode: 48002},
		"untrusted":       {ErrCode: 60020},
		"too many calls":  {ErrCode: 45009},
		"HTTP 500":        {Status: 500},
		"connection lost": {Drop: wecomtest.DropBefore},
		"no JSON":         {Body: []byte("<html>")},
		"somebody else":   {Body: []byte(`{"errcode":0,"userid":"lisi","status":1,"department":[2]}`)},
		"not an answer":   {Body: []byte(`{"errcode":0}`)},
	} {
		fake, c := newClient(t)
		fake.Always("*", fault)
		fake.Always("gettoken", wecomtest.Fault{})
		for which, a := range map[string]wecom.Authorizer{
			"Departments": allow.Departments(2), "Tags": allow.Tags(1), "Active": allow.Active(), "Visible": allow.Visible(),
			"Not": allow.Not(allow.Visible()), "All": allow.All(allow.Users("zhangsan"), allow.Active()), "Any": allow.Any(allow.Users("lisi"), allow.Active()),
		} {
			ok, err := a(t.Context(), c, member("zhangsan"))
			assert.Error(t, err, "%s: %s", name, which)
			assert.False(t, ok, "%s: %s", name, which)
		}
	}
	fake, c := newClient(t)
	fake.Always("user/get", wecomtest.Fault{Body: []byte(`{"errcode":0,"userid":"zhangsan"}`)})
	_, err := allow.Active()(t.Context(), c, member("zhangsan"))
	assert.ErrorContains(t, err, "did not say", "without a status")
	_, err = allow.Visible()(t.Context(), nil, member("zhangsan"))
	assert.ErrorContains(t, err, "no Client")
}

// A sign-in is never decided by what WeCom said earlier; requests after it are, for five minutes.
func TestAnswersCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, c := newClient(t)
		active := allow.Active()
		ask := func(id wecom.Identity) bool {
			t.Helper()
			ok, err := active(t.Context(), c, id)
			require.NoError(t, err)
			return ok
		}
		session := member("zhangsan")
		assert.True(t, ask(session))
		for range 10 {
			assert.True(t, ask(session))
		}
		assert.Equal(t, 1, fake.Calls("user/get"))

		time.Sleep(time.Minute)
		fake.DisableMember("zhangsan")
		assert.True(t, ask(session), "what was said counts for five minutes")
		assert.False(t, ask(member("ZhangSan")), "but not at a sign-in")
		assert.False(t, ask(session), "and the newer answer replaces it")
		_, another := newClient(t)
		ok, err := active(t.Context(), another, session)
		require.NoError(t, err)
		assert.True(t, ok, "what one client was told is nothing to another")
		assert.Equal(t, 2, fake.Calls("user/get"))

		m, _ := fake.Member("zhangsan")
		m.Status = wecomtest.Active
		fake.AddMember(m)
		assert.False(t, ask(session))
		time.Sleep(11 * time.Second)
		assert.True(t, ask(session), "a no counts for ten seconds")

		fake.DisableMember("zhangsan")
		time.Sleep(5*time.Minute + time.Second)
		assert.False(t, ask(session))

		fake.Always("*", wecomtest.Fault{Status: 500})
		time.Sleep(11 * time.Second)
		calls := fake.Calls("user/get")
		for range 10 {
			_, err := active(t.Context(), c, session)
			require.Error(t, err)
		}
		assert.Equal(t, calls+1, fake.Calls("user/get"), "a failure is shared for a second")
		fake.ClearFaults()
		time.Sleep(2 * time.Second)
		assert.False(t, ask(session))
	})
}

// A session may come from a replica whose clock is ahead, or from before the clock was set back.
func TestF20_AnswersCountWhateverTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, c := newClient(t)
		session := member("zhangsan")
		session.AuthenticatedAt = time.Now().Add(time.Hour).Round(0)
		session.Departments = []int64{4}
		active, departments := allow.Active(), allow.Departments(2)
		for range 10 {
			ok, err := active(t.Context(), c, session)
			require.NoError(t, err)
			assert.True(t, ok)
		}
		assert.Equal(t, 1, fake.Calls("user/get"), "not a call for each request")

		m, _ := fake.Member("zhangsan")
		m.Departments = []int64{3}
		fake.AddMember(m)
		ok, err := departments(t.Context(), c, session)
		require.NoError(t, err)
		assert.False(t, ok, "the departments of the sign-in are old")
	})
}

// Somebody who leaves takes nobody with them, and leaves at once.
func TestCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, c := newClient(t)
		held := make(chan struct{})
		fake.Script("user/get", wecomtest.Fault{Until: held})
		visible := allow.Visible()
		id := member("zhangsan")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := visible(ctx, c, id)
			assert.ErrorIs(t, err, context.Canceled)
		})
		wg.Go(func() {
			ok, err := visible(t.Context(), c, id)
			assert.NoError(t, err)
			assert.True(t, ok)
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(held)
		wg.Wait()
		assert.Equal(t, 1, fake.Calls("user/get"))
	})
}

// An own authorizer's panic is the middleware's business, one in a look-up is an error.
func TestPanicInTheTransport(t *testing.T) {
	fake := wecomtest.New()
	o := fake.Options("")
	o.TokenSource = panicking{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	_, err = allow.Visible()(t.Context(), c, member("zhangsan"))
	assert.ErrorContains(t, err, "panic")
	assert.NotContains(t, err.Error(), "CANARY", "a panic's value may be a URL with a token in it")
}

type panicking struct{}

func (panicking) Token(context.Context) (wecom.Token, error) { panic("a source's own fault: CANARY") }
func (panicking) Invalidate(wecom.Token)                     {}

// A look-up that ends its goroutine has said neither yes nor no; a no would be Not's yes.
func TestT17_GoexitIsNoAnswer(t *testing.T) {
	o := wecomtest.New().Options("")
	o.TokenSource = leaving{}
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	ok, err := allow.Not(allow.Departments(2))(t.Context(), c, member("zhangsan"))
	assert.Error(t, err)
	assert.False(t, ok)
}

type leaving struct{}

func (leaving) Token(context.Context) (wecom.Token, error) { runtime.Goexit(); panic("not reached") }
func (leaving) Invalidate(wecom.Token)                     {}
