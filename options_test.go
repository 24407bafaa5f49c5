package wecom_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

const testSecret = "canary-corpsecret-Zx81qPmA0sLk3vTnB7yRwE5uHjD2gFcX"

// sound returns options that New accepts.
func sound() wecom.Options {
	return wecom.Options{
		CorpID:      "ww0123456789abcdef",
		AgentID:     "1000002",
		Secret:      wecom.NewSecret(testSecret),
		CallbackURL: "https://app.example.com/wecom/callback",
	}
}

// scs.New starts a goroutine that never ends, which a test in a bubble of
// testing/synctest must not do: these are made outside.
var managers = func() chan *scs.SessionManager {
	made := make(chan *scs.SessionManager, 100)
	for range cap(made) {
		made <- scs.New()
	}
	return made
}()

// soundManager returns a session manager that New accepts under https.
func soundManager() *scs.SessionManager {
	m := <-managers
	m.HashTokenInStore = true
	m.Cookie.Name, m.Cookie.Secure = "__Host-session", true
	return m
}

func TestOptions(t *testing.T) {
	stateKey := wecom.NewSecret(strings.Repeat("k", 32))
	tests := []struct {
		desc   string
		change func(*wecom.Options)
		want   []string // parts of the error; none: it is accepted
	}{
		{"sound", func(*wecom.Options) {}, nil},
		{"nothing at all", func(o *wecom.Options) { *o = wecom.Options{} },
			[]string{"CorpID is missing", "AgentID is missing", "Secret is missing", "CallbackURL is missing"}},
		{"corp id with a slash", func(o *wecom.Options) { o.CorpID = "ww/1" }, []string{"CorpID"}},
		{"agent id that is no number", func(o *wecom.Options) { o.AgentID = "app" }, []string{"AgentID"}},
		{"no agent id, web page possible", func(o *wecom.Options) { o.AgentID = "" }, []string{"AgentID is missing"}},
		{"no agent id, in-app only", func(o *wecom.Options) { o.AgentID, o.Page = "", wecom.PageInApp }, nil},
		{"no agent id, in-app privateinfo", func(o *wecom.Options) {
			o.AgentID, o.Page, o.Scope = "", wecom.PageInApp, "snsapi_privateinfo"
		}, []string{"AgentID is missing"}},
		{"no agent id, in-app userinfo", func(o *wecom.Options) {
			o.AgentID, o.Page, o.Scope = "", wecom.PageInApp, "snsapi_userinfo"
		}, []string{"AgentID is missing"}},
		{"app name and contact", func(o *wecom.Options) { o.AppName, o.Contact = "数据报表", "IT 服务台：8001" }, nil},
		{"a mailbox as contact", func(o *wecom.Options) { o.Contact = "mailto:it@example.com" }, nil},
		{"a URL as contact", func(o *wecom.Options) { o.Contact = "https://help.example.com/it?a=b" }, nil},
		{"app name of two lines", func(o *wecom.Options) { o.AppName = "a\nb" }, []string{"AppName"}},
		{"app name that reverses the text", func(o *wecom.Options) { o.AppName = "a\u202eb" }, []string{"AppName"}},
		{"app name that is too long", func(o *wecom.Options) { o.AppName = strings.Repeat("数", 61) }, []string{"AppName"}},
		{"app name of white space", func(o *wecom.Options) { o.AppName = " " }, []string{"AppName"}},
		{"contact that is too long", func(o *wecom.Options) { o.Contact = strings.Repeat("x", 201) }, []string{"Contact"}},
		{"contact that is no text", func(o *wecom.Options) { o.Contact = "\xff" }, []string{"Contact"}},
		{"contact with plain http", func(o *wecom.Options) { o.Contact = "http://help.example.com/" }, []string{"Contact"}},
		{"contact with a user", func(o *wecom.Options) { o.Contact = "https://wecom.example.com@evil.example/" }, []string{"Contact"}},
		{"contact without a host", func(o *wecom.Options) { o.Contact = "https:help" }, []string{"Contact"}},
		{"mailbox with a subject", func(o *wecom.Options) { o.Contact = "mailto:it@example.com?bcc=x@evil.example" }, []string{"Contact"}},
		{"mailbox that is none", func(o *wecom.Options) { o.Contact = "mailto:it" }, []string{"Contact"}},
		{"the older scope", func(o *wecom.Options) { o.Scope = "snsapi_userinfo" }, nil},
		{"secret with a newline from a file", func(o *wecom.Options) { o.Secret = wecom.NewSecret(testSecret + "\n") }, []string{"white space"}},
		{"no secret, but token source and state key", func(o *wecom.Options) {
			o.Secret, o.TokenSource, o.StateKey = wecom.Secret{}, fixedToken{}, stateKey
		}, nil},
		{"no secret and no state key", func(o *wecom.Options) { o.Secret, o.TokenSource = wecom.Secret{}, fixedToken{} }, []string{"StateKey is missing"}},
		{"token source and token store", func(o *wecom.Options) { o.TokenSource, o.TokenStore = fixedToken{}, newSharedStore() }, []string{"TokenStore"}},
		{"short state key", func(o *wecom.Options) { o.StateKey = wecom.NewSecret("short") }, []string{"StateKey has 5 bytes"}},
		{"short earlier state key", func(o *wecom.Options) {
			o.EarlierStateKeys = []wecom.Secret{wecom.NewSecret(strings.Repeat("k", 32)), wecom.NewSecret("k")}
		}, []string{"EarlierStateKeys[1]"}},
		{"empty earlier state key", func(o *wecom.Options) { o.EarlierStateKeys = []wecom.Secret{{}} }, []string{"EarlierStateKeys[0]"}},
		{"unknown scope", func(o *wecom.Options) { o.Scope = "snsapi_login" }, []string{"Scope"}},
		{"unknown page", func(o *wecom.Options) { o.Page = "qr" }, []string{"Page"}},
		{"unknown language", func(o *wecom.Options) { o.Language = "fr" }, []string{"Language"}},

		{"relative callback", func(o *wecom.Options) { o.CallbackURL = "/wecom/callback" }, []string{"absolute URL"}},
		{"callback without scheme", func(o *wecom.Options) { o.CallbackURL = "app.example.com/wecom/callback" }, []string{"absolute URL"}},
		{"callback of another scheme", func(o *wecom.Options) { o.CallbackURL = "ftp://app.example.com/wecom/callback" }, []string{"absolute URL"}},
		{"plain http", func(o *wecom.Options) { o.CallbackURL = "http://app.example.com/wecom/callback" }, []string{"plain http"}},
		{"plain http, in a private network", func(o *wecom.Options) { o.CallbackURL = "http://192.168.1.9:8080/wecom/callback" }, []string{"plain http"}},
		{"plain http on purpose", func(o *wecom.Options) {
			o.CallbackURL, o.DangerouslyAllowHTTP = "http://app.example.com/wecom/callback", true
		}, nil},
		{"plain http on loopback", func(o *wecom.Options) { o.CallbackURL = "http://127.0.0.1:8080/wecom/callback" }, nil},
		{"plain http on IPv6 loopback", func(o *wecom.Options) { o.CallbackURL = "http://[::1]:8080/wecom/callback" }, nil},
		{"plain http on localhost", func(o *wecom.Options) { o.CallbackURL = "http://localhost:8080/wecom/callback" }, nil},
		{"a host that only begins like loopback", func(o *wecom.Options) { o.CallbackURL = "http://127.0.0.1.example.com/wecom/callback" }, []string{"plain http"}},
		{"callback with a query", func(o *wecom.Options) { o.CallbackURL += "?next=/" }, []string{"scheme, host and path"}},
		{"callback with a question mark", func(o *wecom.Options) { o.CallbackURL += "?" }, []string{"scheme, host and path"}},
		{"JSSDK without an agent id", func(o *wecom.Options) { o.JSSDK, o.AgentID, o.Page = true, "", wecom.PageInApp }, []string{"JSSDK needs AgentID"}},
		{"callback with a fragment", func(o *wecom.Options) { o.CallbackURL += "#x" }, []string{"scheme, host and path"}},
		{"callback with a user", func(o *wecom.Options) { o.CallbackURL = "https://u:p@app.example.com/wecom/callback" }, []string{"scheme, host and path"}},
		{"callback with the default port", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com:443/wecom/callback" }, []string{"default port"}},
		{"callback in capitals", func(o *wecom.Options) { o.CallbackURL = "https://App.example.com/wecom/callback" }, []string{"lower case"}},
		{"callback is the root", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com/" }, []string{"a path that does not end in a slash"}},
		{"callback ends in a slash", func(o *wecom.Options) { o.CallbackURL += "/" }, []string{"a path that does not end in a slash"}},
		{"callback with an escape", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com/we%63om/callback" }, []string{"a path of letters"}},
		{"callback with dots", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com/a/../callback" }, []string{"a path of letters"}},
		{"callback is another own route", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com/wecom/logout" }, []string{"another built-in route"}},
		{"callback at the top", func(o *wecom.Options) { o.CallbackURL = "https://app.example.com/callback" }, nil},
		{"mount path", func(o *wecom.Options) {
			o.CallbackURL, o.MountPath = "https://app.example.com/app/wecom/callback", "/app"
		}, nil},
		{"mount path with a slash at its end", func(o *wecom.Options) { o.MountPath = "/wecom/" }, []string{"MountPath"}},
		{"mount path that is not the callback's", func(o *wecom.Options) { o.MountPath = "/app" }, []string{"MountPath"}},
		{"mount path that only begins the callback's", func(o *wecom.Options) { o.MountPath = "/we" }, []string{"MountPath"}},
		{"home on another site", func(o *wecom.Options) { o.HomePath = "//evil.example" }, []string{"HomePath"}},
		{"home is an own route", func(o *wecom.Options) { o.HomePath = "/wecom/login" }, []string{"a built-in route"}},
		{"home", func(o *wecom.Options) { o.HomePath = "/start?x=1" }, nil},

		{"negative lifetime", func(o *wecom.Options) { o.SessionLifetime = -time.Second }, []string{"SessionLifetime"}},
		{"a lifetime without a unit", func(o *wecom.Options) { o.SessionLifetime = 12 }, []string{"SessionLifetime 12ns", "unit"}},
		{"an idle time-out without a unit", func(o *wecom.Options) { o.IdleTimeout = 30 }, []string{"IdleTimeout 30ns", "unit"}},
		{"a recheck without a unit", func(o *wecom.Options) { o.Recheck = 10 }, []string{"Recheck 10ns", "unit"}},
		{"a host that is not ASCII", func(o *wecom.Options) { o.CallbackURL = "https://应用.example.com/wecom/callback" }, []string{"Punycode"}},
		{"negative idle time-out", func(o *wecom.Options) { o.IdleTimeout = -time.Second }, []string{"IdleTimeout"}},
		{"idle time-out beyond the lifetime", func(o *wecom.Options) { o.IdleTimeout = 13 * time.Hour }, []string{"IdleTimeout"}},
		{"negative recheck", func(o *wecom.Options) { o.Recheck = -1 }, []string{"Recheck"}},

		{"session manager", func(o *wecom.Options) { o.Sessions = soundManager() }, nil},
		{"session manager as scs makes it", func(o *wecom.Options) { o.Sessions = scs.New() }, []string{"HashTokenInStore", "Cookie.Secure", "__Host-session"}},
		{"session manager that is none", func(o *wecom.Options) { o.Sessions = &scs.SessionManager{} }, []string{"scs.New", "HttpOnly", "SameSite", "__Host-session", "Cookie.Path"}},
		{"T10: Strict", func(o *wecom.Options) {
			o.Sessions = soundManager()
			o.Sessions.Cookie.SameSite = 3
		}, []string{"must be Lax"}},
		{"T10: None without Secure", func(o *wecom.Options) {
			o.CallbackURL = "http://127.0.0.1/wecom/callback"
			o.Sessions = soundManager()
			o.Sessions.Cookie.SameSite, o.Sessions.Cookie.Secure = 4, false
		}, []string{"None needs Cookie.Secure"}},
		{"T10: not HttpOnly", func(o *wecom.Options) {
			o.Sessions = soundManager()
			o.Sessions.Cookie.HttpOnly = false
		}, []string{"HttpOnly"}},
		{"T10: __Host- with a domain", func(o *wecom.Options) {
			o.Sessions = soundManager()
			o.Sessions.Cookie.Name, o.Sessions.Cookie.Domain = "__Host-s", "example.com"
		}, []string{"__Host-"}},
		{"T10: a name that a subdomain can plant", func(o *wecom.Options) {
			o.Sessions = soundManager()
			o.Sessions.Cookie.Name = "__Secure-s"
		}, []string{"__Host-session", "subdomain"}},
		{"any name on loopback", func(o *wecom.Options) {
			o.CallbackURL = "http://127.0.0.1/wecom/callback"
			o.Sessions = soundManager()
			o.Sessions.Cookie.Name, o.Sessions.Cookie.Secure = "session", false
		}, nil},
		{"no name", func(o *wecom.Options) {
			o.CallbackURL = "http://127.0.0.1/wecom/callback"
			o.Sessions = soundManager()
			o.Sessions.Cookie.Name = ""
		}, []string{"Cookie.Name"}},
		{"T10: __Secure- without Secure", func(o *wecom.Options) {
			o.CallbackURL = "http://127.0.0.1/wecom/callback"
			o.Sessions = soundManager()
			o.Sessions.Cookie.Name, o.Sessions.Cookie.Secure = "__Secure-s", false
		}, []string{"__Secure-"}},
		{"cookie path that misses the callback", func(o *wecom.Options) {
			o.Sessions = soundManager()
			o.Sessions.Cookie.Path = "/admin"
		}, []string{"does not cover the callback"}},

		{"proof file", func(o *wecom.Options) { o.DomainProof = []string{"WW_verify_AbCd1234.txt"} }, nil},
		{"proof file with a path", func(o *wecom.Options) { o.DomainProof = []string{"../WW_verify_AbCd1234.txt"} }, []string{"DomainProof"}},
		{"any file", func(o *wecom.Options) { o.DomainProof = []string{"robots.txt"} }, []string{"DomainProof"}},
		{"invalid proxy", func(o *wecom.Options) { o.TrustedProxies = []netip.Prefix{{}} }, []string{"TrustedProxies[0]"}},
		{"plain http endpoint", func(o *wecom.Options) { o.Endpoints.API = "http://proxy.example.com" }, []string{"Endpoints.API"}},
		{"plain http endpoint, whatever DangerouslyAllowHTTP says", func(o *wecom.Options) {
			o.Endpoints.API, o.DangerouslyAllowHTTP = "http://proxy.example.com", true
		}, []string{"Endpoints.API"}},
		{"endpoints on loopback", func(o *wecom.Options) {
			o.Endpoints = wecom.Endpoints{API: "http://127.0.0.1:1", Authorize: "http://localhost:1/a", WebLogin: "http://[::1]:1/b"}
		}, nil},
		{"relative endpoints", func(o *wecom.Options) { o.Endpoints = wecom.Endpoints{Authorize: "/a", WebLogin: "b"} },
			[]string{"Endpoints.Authorize", "Endpoints.WebLogin"}},
		{"provider without a key", func(o *wecom.Options) { *o = wecom.Options{CallbackURL: o.CallbackURL, Provider: fixedProvider{}} }, []string{"StateKey is missing"}},
		{"provider", func(o *wecom.Options) {
			*o = wecom.Options{CallbackURL: o.CallbackURL, Provider: fixedProvider{}, StateKey: stateKey}
		}, nil},
		{"provider with what belongs to the built-in one", func(o *wecom.Options) {
			*o = wecom.Options{CallbackURL: o.CallbackURL, Provider: fixedProvider{}, StateKey: stateKey, Scope: "snsapi_base"}
		}, []string{"Scope, Page"}},
	}
	for _, tt := range tests {
		t.Run(tt.desc, func(t *testing.T) {
			o := sound()
			tt.change(&o)
			m, err := wecom.New(o)
			if tt.want == nil {
				require.NoError(t, err)
				require.NotNil(t, m)
				return
			}
			require.Error(t, err)
			assert.Nil(t, m)
			for _, part := range tt.want {
				assert.ErrorContains(t, err, part)
			}
			assert.NotContains(t, err.Error(), "canary")
		})
	}
}

func TestOptionsReportEveryMistakeAtOnce(t *testing.T) {
	_, err := wecom.New(wecom.Options{Scope: "x", Language: "fr", DomainProof: []string{"a"}, SessionLifetime: -1})
	for _, part := range []string{"CorpID", "AgentID", "Secret", "CallbackURL", "Scope", "Language", "DomainProof", "SessionLifetime"} {
		assert.ErrorContains(t, err, part)
	}
}

// What the caller does with its slices afterwards changes nothing, and New writes into none of
// them. TestT14_ForwardedForIsBelievedOfTrustedProxiesOnly shows it of TrustedProxies.
func TestOptionsAreCopied(t *testing.T) {
	o := sound()
	o.DomainProof = []string{"WW_verify_one.txt"}
	o.StateKey = wecom.NewSecret(strings.Repeat("k", 32))
	keys := make([]wecom.Secret, 2)
	keys[0] = wecom.NewSecret(strings.Repeat("e", 32))
	o.EarlierStateKeys = keys[:1]
	m, err := wecom.New(o)
	require.NoError(t, err)
	assert.Empty(t, keys[1].Reveal())
	o.DomainProof[0] = "WW_verify_two.txt"
	res := do(m.Handler(nil), request("GET", "/WW_verify_one.txt"))
	assert.Equal(t, 200, res.Code)
	assert.Equal(t, "one", res.Body.String())

	staff := []*wecom.Middleware{fixed(t)}
	either := wecom.AnyOf(staff...)
	session := sessionOf(do(staff[0].Routes(), comeBack(t, staff[0], "zhangsan")))
	staff[0] = m
	assert.True(t, isIn(either(hello()), session))
}

func TestOptionsNeedKeyedLiterals(t *testing.T) {
	assert.False(t, reflect.TypeFor[wecom.Options]().Comparable())
	f := reflect.TypeFor[wecom.Options]().Field(0)
	assert.Equal(t, "_", f.Name, "an unnamed first field forbids unkeyed literals")
}
