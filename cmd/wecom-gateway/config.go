package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/events"
)

// A setting is a variable of the environment and the flag of the same name.
type setting struct {
	name     string
	fallback string
	usage    string
	secret   bool // never shown
	url      bool // shown without its password
}

// all is in the order in which -h and -print-config show it.
var all = []setting{
	{name: "ADDR", fallback: "127.0.0.1:8080", usage: "address to listen on"},
	{name: "WECOM_UPSTREAM", usage: "URL of the program to protect; empty if another proxy asks /wecom/auth or /wecom/forward", url: true},
	{name: "WECOM_CORP_ID", usage: "corp id (企业ID)"},
	{name: "WECOM_AGENT_ID", usage: "AgentId of the app"},
	{name: "WECOM_SECRET", usage: "Secret of the app; the variable is safer than the flag, which other users of the machine see", secret: true},
	{name: "WECOM_CALLBACK_URL", usage: "absolute URL of the callback, such as https://app.example.com/wecom/callback; default: /wecom/callback at ADDR"},
	{name: "WECOM_MOUNT_PATH", usage: "prefix that a proxy in front takes off the path, such as /app"},
	{name: "WECOM_HOME_PATH", usage: "where a sign-in ends that has no page to return to; default: the folder above the own routes"},
	{name: "WECOM_TRUSTED_PROXIES", usage: "addresses and CIDRs, separated by commas, whose forwarding headers are believed"},
	{name: "WECOM_SESSION_STORE", fallback: "memory", usage: "memory, sqlite:PATH, redis://HOST:PORT/DB (?master_name=NAME: Sentinel, ?addr=HOST:PORT: Cluster) or postgres://…", url: true},
	{name: "WECOM_TOKEN_STORE", fallback: "memory", usage: "memory, file:FOLDER, sqlite:PATH or redis://HOST:PORT/DB (as for WECOM_SESSION_STORE)", url: true},
	{name: "WECOM_SESSION_LIFETIME", fallback: "12h", usage: "how long a sign-in lasts"},
	{name: "WECOM_IDLE_TIMEOUT", usage: "ends a session that was not used for that long; default: none"},
	{name: "WECOM_RECHECK", usage: "how often a member is looked up again, such as 10m; default: never"},
	{name: "WECOM_EVENT_TOKEN", usage: "Token of the admin console's page 设置API接收; with the next one, WeCom's events at /wecom/events end sessions", secret: true},
	{name: "WECOM_EVENT_AES_KEY", usage: "EncodingAESKey of the same page", secret: true},
	{name: "WECOM_EARLIER_EVENT_TOKEN", usage: "Token that is accepted too, while it is changed", secret: true},
	{name: "WECOM_EARLIER_EVENT_AES_KEY", usage: "EncodingAESKey that is accepted too", secret: true},
	{name: "WECOM_MEMBERS", fallback: "all", usage: "all, visible (in the app's visible range, 可见范围) or active (that, and neither disabled nor gone)"},
	{name: "WECOM_ALLOW_USERS", usage: "user ids, separated by commas; with the next two, whoever fits one of them may come in"},
	{name: "WECOM_ALLOW_DEPARTMENTS", usage: "department ids; those below them count"},
	{name: "WECOM_ALLOW_TAGS", usage: "tag ids (标签)"},
	{name: "WECOM_SCOPE", usage: "snsapi_base (default), snsapi_privateinfo or snsapi_userinfo"},
	{name: "WECOM_PAGE", fallback: "auto", usage: "auto, in-app, web or weixin"},
	{name: "WECOM_LANGUAGE", usage: "zh or en; default: the browser's"},
	{name: "WECOM_PROFILE", fallback: "false", usage: "true fetches name, departments and so on at the sign-in"},
	{name: "WECOM_DOMAIN_PROOF", usage: "names of WW_verify_….txt files to serve, separated by commas"},
	{name: "WECOM_STATE_KEY", usage: "key that signs pending sign-ins instead of one derived from the secret: 32 bytes at least", secret: true},
	{name: "WECOM_EARLIER_STATE_KEYS", usage: "keys, separated by commas, that signed before WECOM_STATE_KEY or WECOM_SECRET was changed", secret: true},
	{name: "WECOM_API_URL", usage: "replaces https://qyapi.weixin.qq.com", url: true},
	{name: "WECOM_AUTHORIZE_URL", usage: "replaces https://open.weixin.qq.com/connect/oauth2/authorize", url: true},
	{name: "WECOM_WEB_LOGIN_URL", usage: "replaces https://login.work.weixin.qq.com/wwlogin/sso/login", url: true},
	{name: "WECOM_DANGEROUSLY_ALLOW_HTTP", fallback: "false", usage: "true accepts a callback with plain http: everybody on the network path can take over sessions"},
	{name: "WECOM_UPSTREAM_TIMEOUT", fallback: "60s", usage: "how long the upstream may take until its answer begins; 0: for ever"},
	{name: "WECOM_SHUTDOWN_TIMEOUT", fallback: "20s", usage: "how long requests in flight may take after SIGTERM"},
	{name: "WECOM_METRICS_ADDR", usage: "address of a second listener for Prometheus (/metrics); default: none"},
	{name: "WECOM_LOG_LEVEL", fallback: "info", usage: "debug, info, warn or error"},
}

func (s setting) flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.name, "WECOM_")), "_", "-")
}

// settings holds the value of each setting: the flag's, else the variable's, else the default.
type settings struct {
	value   map[string]string
	unknown []string // variables that look like ours
}

// serviceLink matches what Kubernetes puts into a container's environment for a
// Service named wecom or wecom-….
var serviceLink = regexp.MustCompile(`^WECOM_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// actions are the flags that do something else than serve.
type actions struct{ check, print, version bool }

func readSettings(args, environ []string, stderr io.Writer) (settings, actions, error) {
	s := settings{value: map[string]string{}}
	known := map[string]bool{}
	for _, one := range all {
		known[one.name] = true
		s.value[one.name] = one.fallback
	}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		if known[name] {
			s.value[name] = value
		} else if strings.HasPrefix(name, "WECOM_") && !serviceLink.MatchString(name) {
			s.unknown = append(s.unknown, name)
		}
	}

	var do actions
	flags := flag.NewFlagSet("wecom-gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { usage(stderr) }
	flags.BoolVar(&do.check, "check", false, "")
	flags.BoolVar(&do.print, "print-config", false, "")
	flags.BoolVar(&do.version, "version", false, "")
	for _, one := range all {
		flags.Func(one.flag(), "", func(value string) error {
			s.value[one.name] = strings.TrimSpace(value)
			return nil
		})
	}
	if err := flags.Parse(args); err != nil {
		return s, do, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, "wecom-gateway:", err)
		return s, do, err
	}
	return s, do, nil
}

func usage(w io.Writer) {
	fmt.Fprint(w, `wecom-gateway puts WeCom's sign-in in front of another program.

  -check         ask WeCom, the stores and the upstream whether all is set up, and exit
  -print-config  show the settings without secrets, and exit
  -version       show the version, and exit

Every other flag is a variable of the environment too; the flag wins.

`)
	for _, one := range all {
		fmt.Fprintf(w, "  -%s, %s\n        %s", one.flag(), one.name, one.usage)
		if one.fallback != "" {
			fmt.Fprintf(w, " (default %s)", one.fallback)
		}
		fmt.Fprintln(w)
	}
}

// print shows the settings as lines of an environment file, without secrets.
func (s settings) print(w io.Writer) {
	for _, one := range all {
		value := s.value[one.name]
		switch {
		case value == "":
		case one.secret:
			value = redacted
		case one.url:
			value = withoutPassword(value)
		}
		fmt.Fprintf(w, "%s=%s\n", one.name, value)
	}
}

const redacted = "[REDACTED]"

// A parameter whose name is escaped may be a password too.
var passwordInDSN = regexp.MustCompile(`(?i)([^?&=\s]*(?:pass|%)[^&=\s]*=)[^&\s]*`)

// withoutPassword shows a URL without the password in it, and nothing of what
// cannot be told apart.
func withoutPassword(s string) string {
	if strings.HasPrefix(s, "file:") || strings.HasPrefix(s, "sqlite:") {
		return s
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		if strings.ContainsAny(s, "@= \t") {
			return redacted // "host=db password=…", or a URL that lacks a slash
		}
		return s
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.Contains(tail, "@") {
		return scheme + "://" + redacted // a password with an unescaped slash
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, _, secret := strings.Cut(authority[:i], ":")
		if secret {
			user += ":" + redacted
		} else if strings.HasPrefix(scheme, "redis") {
			user = redacted // more often a password without its colon than a user
		}
		authority = user + authority[i:]
	}
	return scheme + "://" + authority + passwordInDSN.ReplaceAllString(tail, "${1}"+redacted)
}

// config is the settings, read.
type config struct {
	addr        string
	upstream    *url.URL // nil: none
	callbackURL string
	callback    *url.URL // nil if callbackURL is unusable
	proxies     []netip.Prefix
	proofs      []string
	members     wecom.Authorizer

	sessionStore, tokenStore                      string
	lifetime, idle, recheck                       time.Duration
	upstreamTimeout, shutdownTimeout              time.Duration
	profile, allowHTTP                            bool
	page                                          wecom.Page
	corpID, agentID, scope, language, mount, home string
	secret, stateKey                              wecom.Secret
	earlierKeys                                   []wecom.Secret
	eventToken, eventKey                          wecom.Secret
	earlierEventToken, earlierEventKey            wecom.Secret
	endpoints                                     wecom.Endpoints
	metricsAddr                                   string
	logLevel                                      slog.Level

	warnings []string
}

// parse reads the settings. What wecom.New judges is left to it.
func (s settings) parse() (config, mistakes) {
	var wrong mistakes
	v := s.value
	c := config{
		addr:         v["ADDR"],
		callbackURL:  v["WECOM_CALLBACK_URL"],
		corpID:       v["WECOM_CORP_ID"],
		agentID:      v["WECOM_AGENT_ID"],
		secret:       wecom.NewSecret(v["WECOM_SECRET"]),
		mount:        v["WECOM_MOUNT_PATH"],
		home:         v["WECOM_HOME_PATH"],
		scope:        v["WECOM_SCOPE"],
		language:     v["WECOM_LANGUAGE"],
		proofs:       list(v["WECOM_DOMAIN_PROOF"]),
		stateKey:     wecom.NewSecret(v["WECOM_STATE_KEY"]),
		eventToken:   wecom.NewSecret(v["WECOM_EVENT_TOKEN"]),
		eventKey:     wecom.NewSecret(v["WECOM_EVENT_AES_KEY"]),
		sessionStore: v["WECOM_SESSION_STORE"],
		tokenStore:   v["WECOM_TOKEN_STORE"],
		metricsAddr:  v["WECOM_METRICS_ADDR"],
		endpoints:    wecom.Endpoints{API: v["WECOM_API_URL"], Authorize: v["WECOM_AUTHORIZE_URL"], WebLogin: v["WECOM_WEB_LOGIN_URL"]},
	}
	c.earlierEventToken = wecom.NewSecret(v["WECOM_EARLIER_EVENT_TOKEN"])
	c.earlierEventKey = wecom.NewSecret(v["WECOM_EARLIER_EVENT_AES_KEY"])
	if c.hasEvents() && v["WECOM_MEMBERS"] == "all" {
		c.warnings = append(c.warnings, "WECOM_MEMBERS: with all, somebody who was taken out of the visible range can sign in again at once; active prevents that")
	}
	for _, key := range list(v["WECOM_EARLIER_STATE_KEYS"]) {
		c.earlierKeys = append(c.earlierKeys, wecom.NewSecret(key))
	}
	duration := func(name string, to *time.Duration, least time.Duration) {
		if v[name] == "" {
			return
		}
		d, err := time.ParseDuration(v[name])
		if err != nil || d < least {
			wrong.add(name, "%q: want a time such as 90s, 10m or 12h, %s at least", v[name], least)
			return
		}
		*to = d
	}
	duration("WECOM_SESSION_LIFETIME", &c.lifetime, time.Second)
	duration("WECOM_IDLE_TIMEOUT", &c.idle, 0)
	duration("WECOM_RECHECK", &c.recheck, 0)
	duration("WECOM_UPSTREAM_TIMEOUT", &c.upstreamTimeout, 0)
	duration("WECOM_SHUTDOWN_TIMEOUT", &c.shutdownTimeout, 0)
	boolean := func(name string, to *bool) {
		b, err := strconv.ParseBool(v[name])
		if err != nil {
			wrong.add(name, "%q: want true or false", v[name])
		}
		*to = b
	}
	boolean("WECOM_PROFILE", &c.profile)
	boolean("WECOM_DANGEROUSLY_ALLOW_HTTP", &c.allowHTTP)
	if err := c.logLevel.UnmarshalText([]byte(v["WECOM_LOG_LEVEL"])); err != nil {
		wrong.add("WECOM_LOG_LEVEL", "%q: want debug, info, warn or error", v["WECOM_LOG_LEVEL"])
	}
	switch page := v["WECOM_PAGE"]; page {
	case "auto":
	case string(wecom.PageInApp), string(wecom.PageWeb), string(wecom.PageWeixin):
		c.page = wecom.Page(page)
	default:
		wrong.add("WECOM_PAGE", "%q: want auto, in-app, web or weixin", page)
	}
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		wrong.add("ADDR", "%q: want an address such as 127.0.0.1:8080 or :8080", c.addr)
	}
	if c.metricsAddr != "" {
		if _, _, err := net.SplitHostPort(c.metricsAddr); err != nil {
			wrong.add("WECOM_METRICS_ADDR", "%q: want an address such as 127.0.0.1:9090", c.metricsAddr)
		}
	}
	c.parseProxies(v["WECOM_TRUSTED_PROXIES"], &wrong)
	c.parseUpstream(v["WECOM_UPSTREAM"], &wrong)
	c.parseMembers(v, &wrong)
	if c.callbackURL != "" {
		c.parseCallback(&wrong)
	}
	for _, name := range s.unknown {
		// A restriction that is misspelt would let everybody in.
		wrong.add(name, "there is no such variable; did you mean %s?", nearest(name))
	}
	return c, wrong
}

// nearest returns the variable whose name takes the fewest edits to make of name.
func nearest(name string) string {
	best, least := "", math.MaxInt
	for _, one := range all {
		if n := edits(name, one.name); n < least {
			best, least = one.name, n
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func (c *config) parseProxies(s string, wrong *mistakes) {
	for _, one := range list(s) {
		p, err := netip.ParsePrefix(one)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(one); a.Zone() != "" {
				err = errors.New("a zone")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if err == nil && p.Addr().Is4In6() {
			wrong.add("WECOM_TRUSTED_PROXIES", "%q: write an IPv4 address or CIDR: peers are compared as IPv4", one)
			continue
		}
		if err != nil {
			wrong.add("WECOM_TRUSTED_PROXIES", "%q: want addresses and CIDRs such as 10.0.0.7,192.168.0.0/24", one)
			continue
		}
		if p.Bits() == 0 {
			c.warnings = append(c.warnings, "WECOM_TRUSTED_PROXIES: "+one+" trusts everybody's forwarding headers")
		}
		c.proxies = append(c.proxies, p.Masked())
	}
}

func (c *config) parseUpstream(s string, wrong *mistakes) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		wrong.add("WECOM_UPSTREAM", "want a URL such as http://127.0.0.1:3000")
	case u.Port() != "" && !isPort(u.Port()):
		wrong.add("WECOM_UPSTREAM", "there is no port %s: want 1 to 65535", u.Port())
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		wrong.add("WECOM_UPSTREAM", "want scheme, host and at most a path")
	default:
		c.upstream = u
	}
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (c *config) parseMembers(v map[string]string, wrong *mistakes) {
	var any []wecom.Authorizer
	if v["WECOM_ALLOW_USERS"] != "" {
		users := list(v["WECOM_ALLOW_USERS"])
		for _, id := range users {
			if strings.Contains(id, "/") {
				wrong.add("WECOM_ALLOW_USERS", "%q: no member's id holds a slash", id)
			}
		}
		if len(users) == 0 {
			wrong.add("WECOM_ALLOW_USERS", "want user ids, separated by commas")
		}
		any = append(any, allow.Users(users...))
	}
	for name, authorizer := range map[string]func(...int64) wecom.Authorizer{
		"WECOM_ALLOW_DEPARTMENTS": allow.Departments,
		"WECOM_ALLOW_TAGS":        allow.Tags,
	} {
		if v[name] == "" {
			continue
		}
		ids, ok := numbers(v[name])
		if !ok {
			wrong.add(name, "%q: want ids, which are numbers, separated by commas", v[name])
		}
		any = append(any, authorizer(ids...))
	}
	var every []wecom.Authorizer
	switch v["WECOM_MEMBERS"] {
	case "all":
	case "visible":
		every = append(every, allow.Visible())
	case "active":
		every = append(every, allow.Active())
	default:
		wrong.add("WECOM_MEMBERS", "%q: want all, visible or active", v["WECOM_MEMBERS"])
	}
	if len(any) > 0 {
		every = append(every, allow.Any(any...))
	}
	if len(every) > 0 {
		c.members = allow.All(every...)
	}
}

func (c *config) parseCallback(wrong *mistakes) {
	u, err := url.Parse(c.callbackURL)
	if err != nil {
		return // wecom.New says so
	}
	if p := strings.TrimPrefix(u.Path, c.mount); u.Host != "" && path.Dir(p) == "/" && p != "/" {
		wrong.add("WECOM_CALLBACK_URL", "want a path with a folder, such as /wecom/callback: nothing in the folder is proxied")
		return
	}
	switch name := path.Base(u.Path); name {
	case "auth", "events", "forward", "readyz":
		wrong.add("WECOM_CALLBACK_URL", "its last element %q is the name of another own route", name)
	}
	c.callback = u
}

// options is what the middleware is made from.
func (c *config) options(s *stores, counts *metrics, log *slog.Logger) wecom.Options {
	if c.callbackURL == "" {
		c.callbackURL = "http://" + reachable(c.addr) + c.mount + "/wecom/callback"
		c.callback, _ = url.Parse(c.callbackURL)
	}
	return wecom.Options{
		CorpID: c.corpID, AgentID: c.agentID, Secret: c.secret,
		CallbackURL: c.callbackURL, MountPath: c.mount, HomePath: c.home,
		Authorize: c.members,
		Scope:     c.scope, Page: c.page, Language: c.language, Profile: c.profile, Recheck: c.recheck,
		SessionStore: s.sessions, SessionLifetime: c.lifetime, IdleTimeout: c.idle,
		TokenStore:  s.tokens,
		DomainProof: c.proofs, Endpoints: c.endpoints,
		Logger: log, Observe: counts.event,
		StateKey: c.stateKey, EarlierStateKeys: c.earlierKeys,
		TrustedProxies: c.proxies, DangerouslyAllowHTTP: c.allowHTTP,
	}
}

func (c *config) hasEvents() bool {
	return c.eventToken.Reveal()+c.eventKey.Reveal()+c.earlierEventToken.Reveal()+c.earlierEventKey.Reveal() != ""
}

// receiver takes WeCom's events; nil if none are wanted. auth is nil if it could not be made.
func (c *config) receiver(auth *wecom.Middleware, log *slog.Logger) (http.Handler, error) {
	if !c.hasEvents() {
		return nil, nil
	}
	o := events.Options{
		Token: c.eventToken, EncodingAESKey: c.eventKey,
		EarlierToken: c.earlierEventToken, EarlierEncodingAESKey: c.earlierEventKey,
		ReceiveIDs: []string{c.corpID}, Logger: log,
	}
	if auth != nil {
		o.Middlewares = []*wecom.Middleware{auth}
	}
	return events.New(o)
}

// reachable is how this machine's browser spells addr.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil { // a mistake that is noted already
		return all[0].fallback
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func numbers(s string) ([]int64, bool) {
	var ids []int64
	for _, item := range list(s) {
		id, err := strconv.ParseInt(item, 10, 64)
		if err != nil || id <= 0 {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, len(ids) > 0
}

// mistakes collects what is wrong with the settings, each by its variable's name.
type mistakes []string

func (m *mistakes) add(name, format string, args ...any) {
	*m = append(*m, name+": "+fmt.Sprintf(format, args...))
}

func (m mistakes) has(name string) bool {
	return slices.ContainsFunc(m, func(s string) bool { return strings.HasPrefix(s, name+":") })
}

// addOptions adds what wecom.New or events.New refuses.
func (m *mistakes) addOptions(err error) {
	if err == nil {
		return
	}
	errs := []error{err}
	if joined, ok := errors.Unwrap(err).(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		*m = append(*m, asVariables(strings.TrimPrefix(err.Error(), "wecom: ")))
	}
}

func (m mistakes) print(w io.Writer, c config) {
	fmt.Fprintln(w, "wecom-gateway: these settings cannot work:")
	for _, mistake := range m {
		fmt.Fprintln(w, "  "+mistake)
	}
	if c.upstream == nil && !m.has("WECOM_UPSTREAM") {
		fmt.Fprintln(w, "  WECOM_UPSTREAM is not set either; it may stay so if another proxy asks /wecom/auth or /wecom/forward")
	}
	fmt.Fprintln(w, "wecom-gateway -h explains them all.")
}

// variables are the names under which the gateway has fields of wecom.Options.
var variables = map[string]string{
	"CorpID": "WECOM_CORP_ID", "AgentID": "WECOM_AGENT_ID", "Secret": "WECOM_SECRET", "CallbackURL": "WECOM_CALLBACK_URL",
	"MountPath": "WECOM_MOUNT_PATH", "HomePath": "WECOM_HOME_PATH", "Scope": "WECOM_SCOPE", "Language": "WECOM_LANGUAGE",
	"SessionLifetime": "WECOM_SESSION_LIFETIME", "IdleTimeout": "WECOM_IDLE_TIMEOUT", "Recheck": "WECOM_RECHECK",
	"DomainProof": "WECOM_DOMAIN_PROOF", "StateKey": "WECOM_STATE_KEY", "EarlierStateKeys": "WECOM_EARLIER_STATE_KEYS",
	"Token": "WECOM_EVENT_TOKEN", "EncodingAESKey": "WECOM_EVENT_AES_KEY",
	"EarlierToken": "WECOM_EARLIER_EVENT_TOKEN", "EarlierEncodingAESKey": "WECOM_EARLIER_EVENT_AES_KEY",
	"TokenStore":    "WECOM_TOKEN_STORE",
	"Endpoints.API": "WECOM_API_URL", "Endpoints.Authorize": "WECOM_AUTHORIZE_URL", "Endpoints.WebLogin": "WECOM_WEB_LOGIN_URL",
	"DangerouslyAllowHTTP": "WECOM_DANGEROUSLY_ALLOW_HTTP",
}

var (
	notHere    = regexp.MustCompile(` \(or set TokenSource[^)]*\)`)
	fieldFirst = regexp.MustCompile(`^[A-Z][A-Za-z.]+`)
	fieldLater = regexp.MustCompile(`(Options\.)?\b(CallbackURL|StateKey|DangerouslyAllowHTTP|MountPath)\b|Options\.[A-Z][A-Za-z]+`)
)

// asVariables says the same in the words of the environment.
func asVariables(text string) string {
	text = notHere.ReplaceAllString(text, "")
	if field := fieldFirst.FindString(text); variables[field] != "" {
		text = variables[field] + text[len(field):]
	}
	return fieldLater.ReplaceAllStringFunc(text, func(field string) string {
		if name := variables[strings.TrimPrefix(field, "Options.")]; name != "" {
			return name
		}
		return field
	})
}
