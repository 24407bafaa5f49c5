package wecom_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

// Each fault of the set-up is found and names the screen that mends it.
func TestCheck(t *testing.T) {
	trusted := func(a *wecomtest.App) { a.TrustedDomains = []string{"app.example.com"} }
	on8443 := func(o *wecom.Options) { o.CallbackURL = "https://app.example.com:8443/wecom/callback" }
	for name, tt := range map[string]struct {
		app    func(*wecomtest.App)
		option func(*wecom.Options)
		errs   []string // none: all is well
	}{
		"all is well":        {trusted, nil, nil},
		"wrong secret":       {trusted, func(o *wecom.Options) { o.Secret = wecom.NewSecret("wrong") }, []string{"errcode 40001", "→ Secret"}},
		"wrong corp":         {trusted, func(o *wecom.Options) { o.CorpID = "ww9999999999999999" }, []string{"errcode 40013", "我的企业"}},
		"wrong agent":        {trusted, func(o *wecom.Options) { o.AgentID = "1000009" }, []string{"errcode 40056", "AgentId"}},
		"disabled":           {func(a *wecomtest.App) { a.Disabled = true }, nil, []string{"errcode 50003", "应用管理"}},
		"untrusted address":  {func(a *wecomtest.App) { a.TrustedIPs = []string{"192.0.2.1"} }, nil, []string{"errcode 60020", "企业可信IP"}},
		"no trusted domain":  {nil, nil, []string{"no trusted domain", `"app.example.com"`, "可信域名"}},
		"another domain":     {func(a *wecomtest.App) { a.TrustedDomains = []string{"www.example.com"} }, nil, []string{`"www.example.com"`, `"app.example.com"`, "可信域名"}},
		"another port":       {func(a *wecomtest.App) { a.TrustedDomains = []string{"app.example.com:8443"} }, nil, []string{"app.example.com:8443"}},
		"with its port":      {func(a *wecomtest.App) { a.TrustedDomains = []string{"app.example.com:8443"} }, on8443, nil},
		"without its port":   {trusted, on8443, []string{`"app.example.com:8443"`}},
		"domain in capitals": {func(a *wecomtest.App) { a.TrustedDomains = []string{"APP.example.com"} }, nil, nil},
		"with a scheme":      {func(a *wecomtest.App) { a.TrustedDomains = []string{"https://app.example.com/"} }, nil, nil},
		"web login alone":    {nil, func(o *wecom.Options) { o.Page = wecom.PageWeb }, nil},
		"nobody is visible": {func(a *wecomtest.App) { trusted(a); a.VisibleDepartments, a.VisibleUsers = []int64{}, []string{} }, nil,
			[]string{"nobody", "可见范围"}},
		"two at once": {func(a *wecomtest.App) { a.VisibleDepartments = []int64{} }, nil, []string{"可见范围", "可信域名"}},
		"on loopback": {nil, func(o *wecom.Options) { o.CallbackURL = "http://127.0.0.1:8080/wecom/callback" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *wecom.Options) {
				if tt.option != nil {
					tt.option(o)
				}
			})
			app := w.fake.App()
			if tt.app != nil {
				tt.app(&app)
			}
			w.fake.AddApp(app)
			err := w.auth.Check(t.Context())
			if tt.errs == nil {
				assert.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, part := range tt.errs {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}

func TestCheckFindsAClosedApp(t *testing.T) {
	c := rawClient(t, `{"errcode":0,"agentid":1000002,"close":1,"allow_partys":{"partyid":[1]}}`)
	assert.ErrorContains(t, c.Check(t.Context()), "disabled")
}

func TestCheckWithoutAgentID(t *testing.T) {
	fake := wecomtest.New()
	o := fake.Options("")
	o.AgentID = ""
	c, err := wecom.NewClient(o)
	require.NoError(t, err)
	assert.NoError(t, c.Check(t.Context()))
	assert.Equal(t, 1, fake.Calls("getcallbackip"))
	fake.TrustIP("192.0.2.1")
	var api *wecom.APIError
	require.ErrorAs(t, c.Check(t.Context()), &api)
	assert.Equal(t, 60020, api.Code)
}

func TestCheckWhenWeComIsDown(t *testing.T) {
	w := newWorld(t)
	w.fake.Always("*", wecomtest.Fault{Drop: wecomtest.DropDial})
	assert.Error(t, w.auth.Check(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, newWorld(t).auth.Check(ctx), context.Canceled)
}

// An own Provider may have a Check of its own.
func TestCheckOfAnOwnProvider(t *testing.T) {
	cause := errors.New("the app is not approved")
	o := sound()
	o.Provider = checkedProvider{err: cause}
	auth, err := wecom.New(o)
	require.NoError(t, err)
	assert.ErrorIs(t, auth.Check(t.Context()), cause)

	assert.Error(t, (&wecom.Middleware{}).Check(t.Context()))
}

type checkedProvider struct {
	fixedProvider
	err error
}

func (p checkedProvider) Check(context.Context) error { return p.err }
