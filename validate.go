package wecom

import (
	"cmp"
	"net/mail"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wecomauth/wecom/internal/config"
	"github.com/wecomauth/wecom/internal/returnto"
)

const (
	maxLifetime = 100 * 365 * 24 * time.Hour // Unix nanoseconds end in 2262
	minStateKey = 32
)

// validate checks o as a whole. It returns CallbackURL and the path where a sign-in
// ends that has no page to return to.
func (o Options) validate() (callback *url.URL, home string, err error) {
	var c checks
	callback = c.callback(o)
	c.app(o)
	c.keys(o)
	c.sessions(o, callback)
	c.proofs(o)
	c.proxies(o)
	c.endpoints(o)
	c.panel(o)
	c.limits(o.Limits)
	home = c.home(o, callback)
	return callback, home, c.Err("wecom: these options")
}

// checks collects what is wrong with the options.
type checks struct{ config.Mistakes }

var (
	corpIDForm = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
	digits     = regexp.MustCompile(`^[0-9]{1,18}$`)
	proofName  = regexp.MustCompile(`^(?:WW|MP)_verify_([0-9A-Za-z_-]{1,64})\.txt$`)
)

// app checks what names the app and its sign-in page.
func (c *checks) app(o Options) {
	switch o.Scope {
	case "", "snsapi_base", "snsapi_userinfo", "snsapi_privateinfo":
	default:
		c.Add("Scope %q: want snsapi_base, snsapi_privateinfo or snsapi_userinfo", o.Scope)
	}
	switch o.Page {
	case PageAuto, PageInApp, PageWeb, PageWeixin:
	default:
		c.Add("Page %q: want one of the Page constants", o.Page)
	}
	if o.ProfileRequired && !o.Profile {
		c.Add("ProfileRequired does nothing without Profile: set both, or neither")
	}
	if !isShort(o.AppName, 60) {
		c.Add("AppName: want a name of at most 60 characters, in one line")
	}
	c.contact(o.Contact)
	if o.Language != "" && o.Language != "zh" && o.Language != "en" {
		c.Add("Language %q: want zh, en or nothing", o.Language)
	}
	if o.JSSDK && (o.Provider != nil || o.AgentID == "") {
		c.Add("JSSDK needs AgentID, and no Provider")
	}
	if o.Provider != nil {
		if o.StateKey.Reveal() == "" && o.Secret.Reveal() == "" {
			c.Add("StateKey is missing: with a Provider there is no Secret to derive it from")
		}
		if o.Scope != "" || o.Page != PageAuto || o.Profile {
			c.Add("Scope, Page and Profile belong to the built-in provider: leave them out when Provider is set")
		}
		return
	}
	c.client(o)
	if o.AgentID == "" && (o.Page != PageInApp || o.Scope != "" && o.Scope != defaultScope) {
		c.Add("AgentID is missing: the web-login page and every scope but snsapi_base need it; it stands on the app's page in the admin console")
	}
	if o.Secret.Reveal() == "" && o.TokenSource != nil && o.StateKey.Reveal() == "" {
		c.Add("StateKey is missing: without Secret there is nothing to derive it from")
	}
}

// contact checks Contact: a page links it only if it is an address or a URL.
func (c *checks) contact(contact string) {
	if !isShort(contact, 200) {
		c.Add("Contact: want at most 200 characters, in one line")
		return
	}
	scheme, rest, _ := strings.Cut(contact, ":")
	u, err := url.Parse(contact)
	switch {
	case scheme == "mailto":
		if a, wrong := mail.ParseAddress(rest); err != nil || wrong != nil || a.Address != u.Opaque {
			c.Add("Contact: want an address such as mailto:it@example.com, and nothing after it")
		}
	case scheme == "https":
		if err != nil || u.Host == "" || u.User != nil {
			c.Add("Contact: want a URL such as https://help.example.com/")
		}
	case strings.HasPrefix(rest, "//"):
		c.Add("Contact: want a URL with https")
	}
}

// isShort reports whether s is a line of visible text, or empty.
func isShort(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// client checks what newClient uses of o.
func (c *checks) client(o Options) {
	if o.Provider != nil {
		if o.TokenSource == nil {
			c.Add("TokenSource is missing: only a WeCom corp app's is made from Options")
		}
		if o.Endpoints.API == "" {
			c.Add("Endpoints.API is missing: only WeCom's is known")
		}
		c.Address("Endpoints.API", o.Endpoints.API)
		return
	}
	switch {
	case o.CorpID == "":
		c.Add("CorpID is missing: it is the 企业ID on the admin console's page 我的企业")
	case !corpIDForm.MatchString(o.CorpID):
		c.Add("CorpID %q: want letters, digits, - and _ only", o.CorpID)
	}
	if o.AgentID != "" && !digits.MatchString(o.AgentID) {
		c.Add("AgentID %q: want digits, as on the app's page in the admin console", o.AgentID)
	}
	switch secret := o.Secret.Reveal(); {
	case secret == "" && o.TokenSource == nil:
		c.Add("Secret is missing: it stands on the app's page in the admin console (or set TokenSource)")
	case strings.TrimSpace(secret) != secret:
		c.Add("Secret begins or ends with white space")
	}
	if o.TokenSource != nil && o.TokenStore != nil {
		c.Add("TokenStore is never asked when TokenSource is set: leave one of them out")
	}
	c.Address("Endpoints.API", o.Endpoints.API)
}

func (c *checks) keys(o Options) {
	if n := len(o.StateKey.Reveal()); n > 0 && n < minStateKey {
		c.Add("StateKey has %d bytes: want at least %d, random", n, minStateKey)
	}
	for i, k := range o.EarlierStateKeys {
		if n := len(k.Reveal()); n < minStateKey {
			c.Add("EarlierStateKeys[%d] has %d bytes: want at least %d", i, n, minStateKey)
		}
	}
}

// callback checks CallbackURL and MountPath. It never returns nil.
func (c *checks) callback(o Options) *url.URL {
	none := &url.URL{Path: "/wecom/callback"}
	if o.CallbackURL == "" {
		c.Add("CallbackURL is missing: for example https://app.example.com/wecom/callback")
		return none
	}
	u, err := url.Parse(o.CallbackURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.Add("CallbackURL: want an absolute URL such as https://app.example.com/wecom/callback")
		return none
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(o.CallbackURL, "#") {
		c.Add("CallbackURL: want scheme, host and path only")
	}
	if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) && !o.DangerouslyAllowHTTP {
		c.Add("CallbackURL: plain http gives the session to everybody on the network: use https (or DangerouslyAllowHTTP)")
	}
	if p := u.Port(); u.Scheme == "https" && p == "443" || u.Scheme == "http" && p == "80" || strings.HasSuffix(u.Host, ":") {
		c.Add("CallbackURL: leave the default port out: WeCom compares host and port with the 可信域名 letter by letter")
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }) {
		c.Add("CallbackURL: write the host as browsers send it, in Punycode (xn--…)")
	}
	if u.Host != strings.ToLower(u.Host) {
		c.Add("CallbackURL: write the host in lower case, as browsers do")
	}
	name := path.Base(u.Path)
	switch _, taken := builtInRoutes[name]; {
	case u.Path == "" || u.Path == "/" || strings.HasSuffix(u.Path, "/"):
		c.Add("CallbackURL: want a path that does not end in a slash, such as /wecom/callback")
		return none
	case path.Clean(u.Path) != u.Path || u.EscapedPath() != u.Path || !plainPath.MatchString(u.Path):
		c.Add("CallbackURL: want a path of letters, digits, -, _, . and ~, without empty or dot elements")
	case taken:
		c.Add("CallbackURL: its last element %q is the name of another built-in route", name)
	}
	if o.MountPath != "" {
		switch {
		case !plainPath.MatchString(o.MountPath) || path.Clean(o.MountPath) != o.MountPath || o.MountPath == "/":
			c.Add("MountPath %q: want a path such as /app, without a slash at the end", o.MountPath)
		case !strings.HasPrefix(u.Path, o.MountPath+"/"):
			c.Add("MountPath %q is no prefix of CallbackURL's path: it is what stands before the path that the handler sees", o.MountPath)
			return none
		}
	}
	return u
}

var plainPath = regexp.MustCompile(`^(?:/[0-9A-Za-z._~-]+)+$`)

// home checks HomePath and returns what it defaults to.
func (c *checks) home(o Options, callback *url.URL) string {
	if o.HomePath == "" {
		up := path.Dir(path.Dir(callback.Path))
		if len(up) < len(o.MountPath) { // the built-in routes stand at the mount's root
			up = o.MountPath
		}
		return strings.TrimSuffix(up, "/") + "/"
	}
	home, ok := returnto.Parse(o.HomePath)
	if !ok {
		c.Add("HomePath %q: want a path on this site such as /", o.HomePath)
	} else if isOwnPath(returnto.Path(home), callback.Path) {
		c.Add("HomePath %q is a built-in route: a sign-in that ends there never ends", o.HomePath)
	}
	return home
}

func isOwnPath(p, callback string) bool {
	dir, name := path.Split(p)
	return p == callback || path.Clean(dir) == path.Dir(callback) && builtInRoutes[name].serve != nil
}

func (c *checks) sessions(o Options, callback *url.URL) {
	c.duration("SessionLifetime", o.SessionLifetime, time.Second, maxLifetime)
	c.duration("IdleTimeout", o.IdleTimeout, time.Second, cmp.Or(o.SessionLifetime, defaultLifetime))
	c.duration("Recheck", o.Recheck, time.Second, maxLifetime)
	if o.Sessions != nil {
		c.manager(o.Sessions, callback.Scheme == "https", callback.Path)
	}
}

func (c *checks) proofs(o Options) {
	for _, file := range o.DomainProof {
		if !proofName.MatchString(file) {
			c.Add("DomainProof %q: want the name of the file that the admin console offers, such as WW_verify_AbCd1234.txt", file)
		}
	}
}

func (c *checks) proxies(o Options) {
	for i, p := range o.TrustedProxies {
		if !p.IsValid() {
			c.Add("TrustedProxies[%d] is not a valid prefix", i)
		}
	}
}

// endpoints checks the sign-in pages; client checks the API.
func (c *checks) endpoints(o Options) {
	c.Address("Endpoints.Authorize", o.Endpoints.Authorize)
	c.Address("Endpoints.WebLogin", o.Endpoints.WebLogin)
}

// policyURL is what can stand in a Content-Security-Policy without ending its directive.
var policyURL = regexp.MustCompile(`^[0-9A-Za-z._~:/\[\]@%+-]+$`)

// panel checks LoginPanel and what it uses.
func (c *checks) panel(o Options) {
	script := o.Endpoints.PanelScript
	switch {
	case script == "" || plainPath.MatchString(script):
	case !policyURL.MatchString(script):
		c.Add("Endpoints.PanelScript: want an absolute URL, or a path on this site, of plain characters")
	default:
		c.Address("Endpoints.PanelScript", script)
	}
	switch {
	case !o.LoginPanel:
	case o.Provider != nil:
		c.Add("LoginPanel belongs to the built-in provider: leave it out when Provider is set")
	case o.Page == PageInApp:
		c.Add("LoginPanel is never shown with Page %q: leave one of them out", o.Page)
	case o.Endpoints.WebLogin != "" && !policyURL.MatchString(originOf(o.Endpoints.WebLogin)):
		c.Add("Endpoints.WebLogin: LoginPanel needs a host of plain characters")
	}
}

func (c *checks) limits(l Limits) {
	c.duration("Limits.SignIn", l.SignIn, 5*time.Second, 30*time.Second) // a proxy in front gives up after a minute
	c.duration("Limits.Call", l.Call, time.Second/10, time.Minute)
	c.duration("Limits.SessionStore", l.SessionStore, time.Second/10, 10*time.Second)
	if n := l.AnswerBytes; n != 0 && (n < 64<<10 || n > 64<<20) {
		c.Add("Limits.AnswerBytes %d: want %d to %d", n, 64<<10, 64<<20)
	}
}

// duration checks a duration that is not 0.
func (c *checks) duration(name string, d, least, most time.Duration) {
	if d != 0 && (d < least || d > most) {
		c.Add("%s %s: want %s to %s; a number without a unit counts nanoseconds", name, d, least, most)
	}
}
