package main

import (
	"cmp"
	"crypto"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/envoptions"
	"github.com/wecomauth/wecom/events"
	"github.com/wecomauth/wecom/issuer"
)

// all is in the order in which -h and -print-config show it. Each one is a flag too.
var all = slices.Concat(envoptions.Variables{
	{Name: "ADDR", Default: "127.0.0.1:8080", Usage: "address to listen on"},
	{Name: "WECOM_HOSTS", Usage: "further hosts, which sign in at the callback's: wiki.example.com,grafana.example.com=http://127.0.0.1:3001, with an upstream that is not WECOM_UPSTREAM"},
	{Name: "WECOM_UPSTREAM", Usage: "URL of the program to protect; empty if another proxy asks /wecom/auth or /wecom/forward"},
}, slices.DeleteFunc(envoptions.All(), func(v envoptions.Variable) bool {
	// Such people have no user id, and the program behind gets nothing else.
	return v.Option == "AllowOutsiders" || v.Option == "AllowLinkedCorps"
}), envoptions.Variables{
	{Name: "WECOM_GROUPS", Usage: "departments, tags or both: what X-Forwarded-Groups tells by name; needs WECOM_PROFILE"},
	{Name: "WECOM_EMAIL", Default: "{biz_mail}", Usage: "what X-Forwarded-Email is made of, such as {biz_mail},{user_id}@corp.example: the first that makes an address"},
	{Name: "WECOM_RULES", Usage: "YAML file that says who may open which path of the upstream; read again on SIGHUP", Restricts: true},
	{Name: "WECOM_ISSUER_CLIENTS", Usage: "YAML file of the programs that sign people in here by OpenID Connect; read again on SIGHUP"},
	{Name: "WECOM_SIGNING_KEYS", Usage: "private keys (PEM) that sign ID tokens and assertions, the current one first; default: made, kept in WECOM_SESSION_STORE and replaced every 90 days", Secret: true},
	{Name: "WECOM_ASSERTION_AUDIENCE", Usage: "URL that names the program behind: then it gets X-Wecom-Assertion, a signed statement of who is signed in"},
	{Name: "WECOM_SESSION_STORE", Default: "memory", Usage: "memory, sqlite:PATH, redis://HOST:PORT/DB (?master_name=NAME: Sentinel, ?addr=HOST:PORT: Cluster) or postgres://…"},
	{Name: "WECOM_TOKEN_STORE", Option: "TokenStore", Default: "memory", Usage: "memory, file:FOLDER, sqlite:PATH or redis://HOST:PORT/DB (as for WECOM_SESSION_STORE)"},
	{Name: "WECOM_EVENT_TOKEN", Option: "Token", Usage: "Token of the admin console's page 设置API接收; with the next one, WeCom's events at /wecom/events end sessions", Secret: true},
	{Name: "WECOM_EVENT_AES_KEY", Option: "EncodingAESKey", Usage: "EncodingAESKey of the same page", Secret: true},
	{Name: "WECOM_EARLIER_EVENT_TOKEN", Option: "EarlierToken", Usage: "Token that is accepted too, while it is changed", Secret: true},
	{Name: "WECOM_EARLIER_EVENT_AES_KEY", Option: "EarlierEncodingAESKey", Usage: "EncodingAESKey that is accepted too", Secret: true},
	{Name: "WECOM_UPSTREAM_TIMEOUT", Default: "60s", Usage: "how long the upstream may take until its answer begins; 0: for ever"},
	{Name: "WECOM_SHUTDOWN_TIMEOUT", Default: "20s", Usage: "how long requests in flight may take after SIGTERM"},
	{Name: "WECOM_METRICS_ADDR", Usage: "address of a second listener for Prometheus (/metrics); default: none"},
	{Name: "WECOM_AUDIT", Usage: "where sign-ins, sign-outs, refusals and revocations are recorded with the people's ids: log, or the path of a file; default: nowhere"},
	{Name: "WECOM_LOG_LEVEL", Default: "info", Usage: "debug, info, warn or error"},
})

// flagOf is the flag of the same name.
func flagOf(v envoptions.Variable) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(v.Name, "WECOM_")), "_", "-")
}

// settings holds the value of each setting: the flag's, else the variable's, else the default.
type settings struct {
	value map[string]string
	wrong mistakes // what could not be read
}

// actions are what the program does instead of serving.
type actions struct {
	check, print, version bool
	client                string
	command               string   // revoke, departments or ""
	people                []string // whose sessions to revoke; none: everybody's
}

func readSettings(args, environ []string, stderr io.Writer) (settings, actions, error) {
	s := settings{value: map[string]string{}}
	given := map[string]string{} // by flags
	var do actions
	if len(args) > 0 && (args[0] == "revoke" || args[0] == "departments") {
		do.command, args = args[0], args[1:]
	} else if len(args) == 1 && args[0] == "version" {
		return s, actions{version: true}, nil
	}
	flags := flag.NewFlagSet("wecom-gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { usage(stderr) }
	flags.BoolVar(&do.check, "check", false, "")
	flags.BoolVar(&do.print, "print-config", false, "")
	flags.BoolVar(&do.version, "version", false, "")
	flags.StringVar(&do.client, "print-client", "", "")
	revokes, everybody := do.command == "revoke", false
	if revokes {
		flags.BoolVar(&everybody, "all", false, "")
	}
	for _, v := range all {
		flags.Func(flagOf(v), "", func(value string) error {
			given[v.Name] = value
			return nil
		})
	}
	if err := flags.Parse(args); err != nil {
		return s, do, err
	}
	var err error
	switch do.people = flags.Args(); {
	case !revokes && len(do.people) > 0:
		err = fmt.Errorf("unexpected argument %q", do.people[0])
	case revokes && everybody == (len(do.people) > 0):
		err = errors.New("revoke: want user ids, or -all for everybody")
	}
	if err != nil {
		fmt.Fprintln(stderr, "wecom-gateway:", err)
		return s, do, err
	}

	env := map[string]string{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	for _, v := range all {
		from := env
		if _, ok := given[v.Name]; ok {
			from = given
		}
		value, err := v.Value(func(name string) (string, bool) { value, set := from[name]; return value, set })
		s.wrong.addAll(err)
		s.value[v.Name] = cmp.Or(value, v.Default)
	}
	s.wrong.addAll(all.Unknown(environ))
	return s, do, nil
}

func usage(w io.Writer) {
	fmt.Fprint(w, `wecom-gateway puts WeCom's sign-in in front of another program.

  -check         ask WeCom, the stores and the upstream whether all is set up, and exit
  -print-config  show the settings without secrets, and exit
  -print-client  show what to enter in Grafana, GitLab, Gitea, Argo CD or Nightingale for the client of that id, and exit;
                 for an id that is not in WECOM_ISSUER_CLIENTS, with a new secret and the file's entry
  -version       show the version, and exit
  departments    list the departments and tags that the app sees, with their ids
  revoke USER…   end all sessions of these people, in the store that the gateways share; -all: everybody's

Every other flag is a variable of the environment too; the flag wins. Instead of
WECOM_SECRET, and so on, WECOM_SECRET_FILE may name a file that holds the value. The
variable or the file is safer than the flag, which other users of the machine see.

`)
	for _, one := range all {
		fmt.Fprintf(w, "  -%s, %s\n        %s", flagOf(one), one.Name, one.Usage)
		if one.Default != "" {
			fmt.Fprintf(w, " (default %s)", one.Default)
		}
		fmt.Fprintln(w)
	}
}

// print shows the settings as lines of an environment file, without secrets. What is not
// set stands in comments: some variables must not be empty.
func (s settings) print(w io.Writer) {
	for _, one := range all {
		value := s.value[one.Name]
		switch {
		case value == "":
		case one.Secret:
			value = redacted
		case one.Name == "WECOM_HOSTS":
			entries := list(value)
			for i, e := range entries {
				entries[i] = withoutPassword(e)
			}
			value = strings.Join(entries, ",")
		case mayHoldPassword.MatchString(one.Name):
			value = withoutPassword(value)
		}
		if value == "" {
			fmt.Fprint(w, "# ")
		}
		fmt.Fprintf(w, "%s=%s\n", one.Name, value)
	}
}

var mayHoldPassword = regexp.MustCompile(`^WECOM_(UPSTREAM|.*_URL|.*_STORE)$`)

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
	wecom.Options // without what is made at the start: stores, log, counters

	addr     string
	upstream *url.URL // nil: none
	callback *url.URL // nil if CallbackURL is unusable
	hosts    []host

	rulesFile string
	rules     rules // nil: no file

	departments, tags bool // what groups tell
	emails            emails

	clientsFile string
	clients     []issuer.Client
	signingKeys []crypto.Signer
	audience    string // of assertions; "": there are none

	sessionStore, tokenStore           string
	upstreamTimeout, shutdownTimeout   time.Duration
	eventToken, eventKey               wecom.Secret
	earlierEventToken, earlierEventKey wecom.Secret
	metricsAddr, audit                 string
	conditions                         []condition // of the variables and files
	logLevel                           slog.Level

	warnings []string
}

// parse reads the settings. What wecom.New judges is left to it.
func (s settings) parse() (config, mistakes) {
	wrong := s.wrong
	v := s.value
	options, err := all.Read(func(name string) (string, bool) { return v[name], v[name] != "" })
	wrong.addAll(err)
	if options.Authorize != nil {
		var names []string
		for _, one := range all {
			if one.Option == "Authorize" && v[one.Name] != one.Default {
				names = append(names, one.Name)
			}
		}
		options.Authorize = noted(strings.Join(names, ", "), options.Authorize)
	}
	c := config{
		Options:           options,
		addr:              v["ADDR"],
		eventToken:        wecom.NewSecret(v["WECOM_EVENT_TOKEN"]),
		eventKey:          wecom.NewSecret(v["WECOM_EVENT_AES_KEY"]),
		earlierEventToken: wecom.NewSecret(v["WECOM_EARLIER_EVENT_TOKEN"]),
		earlierEventKey:   wecom.NewSecret(v["WECOM_EARLIER_EVENT_AES_KEY"]),
		sessionStore:      v["WECOM_SESSION_STORE"],
		tokenStore:        v["WECOM_TOKEN_STORE"],
		metricsAddr:       v["WECOM_METRICS_ADDR"],
		audit:             v["WECOM_AUDIT"],
		conditions: []condition{
			{place: "WECOM_ALLOW_USERS", Users: list(v["WECOM_ALLOW_USERS"])},
			{place: "WECOM_ALLOW_DEPARTMENTS", Departments: list(v["WECOM_ALLOW_DEPARTMENTS"])},
			{place: "WECOM_ALLOW_TAGS", Tags: list(v["WECOM_ALLOW_TAGS"])},
		},
	}
	if c.hasEvents() && v["WECOM_MEMBERS"] == "all" {
		c.warnings = append(c.warnings, "WECOM_MEMBERS: with all, somebody who was taken out of the visible range can sign in again at once; active prevents that")
	}
	for _, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			c.warnings = append(c.warnings, "WECOM_TRUSTED_PROXIES: "+p.String()+" trusts everybody's forwarding headers")
		}
	}
	for name, to := range map[string]*time.Duration{
		"WECOM_UPSTREAM_TIMEOUT": &c.upstreamTimeout,
		"WECOM_SHUTDOWN_TIMEOUT": &c.shutdownTimeout,
	} {
		d, err := time.ParseDuration(v[name])
		if err != nil || d < 0 {
			wrong.add(name, "%q: want a time such as 90s, 10m or 12h", v[name])
		}
		*to = d
	}
	if err := c.logLevel.UnmarshalText([]byte(v["WECOM_LOG_LEVEL"])); err != nil {
		wrong.add("WECOM_LOG_LEVEL", "%q: want debug, info, warn or error", v["WECOM_LOG_LEVEL"])
	}
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		wrong.add("ADDR", "%q: want an address such as 127.0.0.1:8080 or :8080", c.addr)
	}
	if c.metricsAddr != "" {
		if _, _, err := net.SplitHostPort(c.metricsAddr); err != nil {
			wrong.add("WECOM_METRICS_ADDR", "%q: want an address such as 127.0.0.1:9090", c.metricsAddr)
		}
	}
	if s := v["WECOM_UPSTREAM"]; s != "" {
		if c.upstream, err = readUpstream(s); err != nil {
			wrong.add("WECOM_UPSTREAM", "%v", err)
		}
	}
	c.parseAccount(v, &wrong)
	c.parseIssuer(v, &wrong)
	if c.CallbackURL != "" {
		c.parseCallback(&wrong)
	}
	c.parseHosts(v["WECOM_HOSTS"], &wrong)
	c.parseRules(v["WECOM_RULES"], &wrong)
	return c, wrong
}

func readUpstream(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("want a URL such as http://127.0.0.1:3000")
	case u.Port() != "" && !isPort(u.Port()):
		return nil, fmt.Errorf("there is no port %s: want 1 to 65535", u.Port())
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("want scheme, host and at most a path")
	}
	return u, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (c *config) parseRules(file string, wrong *mistakes) {
	if file == "" {
		return
	}
	proxies := func(h host) bool { return h.upstream != nil }
	if c.upstream == nil && !slices.ContainsFunc(c.hosts, proxies) && !wrong.has("WECOM_UPSTREAM") && !wrong.has("WECOM_HOSTS") {
		wrong.add("WECOM_RULES", "is for WECOM_UPSTREAM: another proxy asks with ?users=, departments=, tags= or members=")
		return
	}
	read, err := readRules(file, c.hostNames())
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			wrong.add("WECOM_RULES", "%s", line)
		}
	}
	c.rulesFile, c.rules = file, read
	for _, r := range read {
		c.conditions = append(c.conditions, r.condition)
	}
}

func (c *config) parseAccount(v map[string]string, wrong *mistakes) {
	for _, kind := range list(v["WECOM_GROUPS"]) {
		switch kind {
		case "departments":
			c.departments = true
		case "tags":
			c.tags = true
		default:
			wrong.add("WECOM_GROUPS", "%q: want departments, tags or both, separated by a comma", kind)
		}
	}
	if (c.departments || c.tags) && !c.Profile {
		wrong.add("WECOM_GROUPS", "needs WECOM_PROFILE=true, which fetches a member's departments at the sign-in")
	}
	c.emails = list(v["WECOM_EMAIL"])
	if err := c.emails.check(); err != nil {
		wrong.add("WECOM_EMAIL", "%v", err)
	}
}

// list splits at commas, and drops spaces.
func list(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
}

func (c *config) parseCallback(wrong *mistakes) {
	u, err := url.Parse(c.CallbackURL)
	if err != nil {
		return // wecom.New says so
	}
	if p := strings.TrimPrefix(u.Path, c.MountPath); u.Host != "" && path.Dir(p) == "/" && p != "/" {
		wrong.add("WECOM_CALLBACK_URL", "want a path with a folder, such as /wecom/callback: nothing in the folder is proxied")
		return
	}
	switch name := path.Base(u.Path); name {
	case "auth", "events", "forward", "readyz", "authorize", "token", "userinfo", "keys", "end-session":
		wrong.add("WECOM_CALLBACK_URL", "its last element %q is the name of another own route", name)
	}
	c.callback = u
}

// options is what the middleware is made from.
func (c *config) options(s *stores, counts *metrics, log *slog.Logger) wecom.Options {
	if c.CallbackURL == "" {
		c.CallbackURL = "http://" + reachable(c.addr) + c.MountPath + "/wecom/callback"
		c.callback, _ = url.Parse(c.CallbackURL)
	}
	o := c.Options
	o.SessionStore, o.TokenStore = s.sessions, s.tokens
	o.Logger, o.Observe = log, counts.event
	return o
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
		ReceiveIDs: []string{c.CorpID}, Logger: log,
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
		return all[0].Default
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// mistakes collects what is wrong with the settings, each by its variable's name.
type mistakes []string

func (m *mistakes) add(name, format string, args ...any) {
	*m = append(*m, name+": "+fmt.Sprintf(format, args...))
}

func (m mistakes) has(name string) bool {
	return slices.ContainsFunc(m, func(s string) bool { return strings.HasPrefix(s, name+":") })
}

// addAll adds the mistakes that err joins, one a line.
func (m *mistakes) addAll(err error) {
	if err != nil {
		*m = append(*m, strings.Split(err.Error(), "\n")...)
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
