package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/envoptions"
)

// A condition says who may come in, as the variables of similar names do.
type condition struct {
	Members     string   `yaml:"members"`
	Users       []string `yaml:"users"`
	Departments []string `yaml:"departments"`
	Tags        []string `yaml:"tags"`

	place string // where it stands: a file's line, a query, a variable
}

func (c condition) hasLists() bool { return len(c.Users)+len(c.Departments)+len(c.Tags) > 0 }

// named returns what c names by its id: "department 3", "tag 7".
func (c condition) named() (names []string) {
	for _, id := range list(strings.Join(c.Departments, ",")) {
		names = append(names, "department "+strings.TrimLeft(id, "+0"))
	}
	for _, id := range list(strings.Join(c.Tags, ",")) {
		names = append(names, "tag "+strings.TrimLeft(id, "+0"))
	}
	return names
}

var conditionNames = strings.NewReplacer("WECOM_MEMBERS", "members", "WECOM_ALLOW_USERS", "users", "WECOM_ALLOW_DEPARTMENTS", "departments", "WECOM_ALLOW_TAGS", "tags")

// authorizer returns nil if c admits everybody who can sign in.
func (c condition) authorizer() (wecom.Authorizer, error) {
	for _, item := range slices.Concat(c.Users, c.Departments, c.Tags) {
		if strings.Trim(item, ", ") == "" {
			return nil, errors.New("an item of a list is empty")
		}
	}
	said := map[string]string{
		"WECOM_MEMBERS":           c.Members,
		"WECOM_ALLOW_USERS":       strings.Join(c.Users, ","),
		"WECOM_ALLOW_DEPARTMENTS": strings.Join(c.Departments, ","),
		"WECOM_ALLOW_TAGS":        strings.Join(c.Tags, ","),
	}
	options, err := envoptions.All().Read(func(name string) (string, bool) { return said[name], said[name] != "" })
	if err != nil {
		return nil, errors.New(conditionNames.Replace(err.Error()))
	}
	if options.Authorize == nil {
		return nil, nil
	}
	return noted(c.place, options.Authorize), nil
}

// A rule says who may open a path and, unless it is exact, what is below it.
type rule struct {
	Host      string `yaml:"host"` // "": every host
	Path      string `yaml:"path"`
	Exact     string `yaml:"exact"`
	Public    bool   `yaml:"public"`
	condition `yaml:",inline"`

	line     int
	elements []string         // patterns of package path
	folded   []string         // the same, folded
	may      wecom.Authorizer // nil: whoever is signed in
}

// rules are what WECOM_RULES says. The first that fits a path counts.
type rules []*rule

type rulesFile struct {
	Rules rules `yaml:"rules"`
}

const maxFile = 1 << 20

var goType = regexp.MustCompile(` (in|into) (type )?main\.\w+`)

// readRules reads a file. The error joins all that is wrong with it, each with its line.
func readRules(name string, hosts []string) (rules, error) {
	var file rulesFile
	at, err := readFile(name, &file, "rules")
	if err != nil {
		return nil, err
	}
	if len(file.Rules) == 0 {
		return nil, errors.New("it holds no rules")
	}
	return file.Rules, errors.Join(file.Rules.prepare(name, at), file.Rules.checkHosts(hosts))
}

// readFile reads a YAML file into a struct, and returns the lines on which the items of its list begin.
// A condition that is there must say something, as the variables of similar names must.
func readFile(name string, into any, list string) (at []int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && err != io.EOF {
		return nil, inWords(err)
	}
	if err := decoder.Decode(&struct{}{}); err != io.EOF {
		return nil, errors.New("want one document: a second one begins, or does not end")
	}
	var nodes map[string]yaml.Node
	_ = yaml.Unmarshal(text, &nodes)
	items := nodes[list]
	var errs []error
	for _, item := range items.Content {
		at = append(at, item.Line)
		for i := 0; i+1 < len(item.Content); i += 2 {
			name, value := item.Content[i], item.Content[i+1]
			if value.Alias != nil {
				value = value.Alias
			}
			if slices.Contains(parts, name.Value) && len(value.Content) == 0 && (value.Tag == "!!null" || strings.TrimSpace(value.Value) == "") {
				errs = append(errs, fmt.Errorf("line %d: %s is empty: leave it out to let everybody in", name.Line, name.Value))
			}
		}
	}
	return at, errors.Join(errs...)
}

// inWords returns what is wrong without the names of Go's types.
func inWords(err error) error {
	var wrong *yaml.TypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var errs []error
	for _, text := range wrong.Errors {
		errs = append(errs, errors.New(goType.ReplaceAllString(text, "")))
	}
	return errors.Join(errs...)
}

func (rs rules) prepare(file string, lines []int) error {
	var errs []error
	for i, r := range rs {
		if r == nil {
			r = &rule{} // a dash without anything
			rs[i] = r
		}
		r.line, r.place = lines[i], fmt.Sprintf("%s:%d", file, lines[i])
		err := r.prepare()
		for _, earlier := range rs[:i] {
			if err == nil && earlier.covers(r) {
				err = fmt.Errorf("the rule in line %d comes first and covers it", earlier.line)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", r.line, err))
		}
	}
	return errors.Join(errs...)
}

func (r *rule) prepare() error {
	p := r.Path + r.Exact
	switch {
	case (r.Path == "") == (r.Exact == ""):
		return errors.New("want either path or exact")
	case !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || hasDots(p):
		return fmt.Errorf("%q: want a path that begins with a slash, without empty elements and dots", p)
	case strings.ContainsAny(p, `%?#;\`):
		return fmt.Errorf(`%q: want the path decoded, and none of %%?#;\ in it`, p)
	case r.Public && (r.Members != "" || r.hasLists()):
		return errors.New("public is for everybody: it takes no members, users, departments or tags")
	case !r.Public && strings.TrimSpace(r.Members) == "" && !r.hasLists():
		return errors.New("want public: true, members, users, departments or tags")
	case r.Exact != "" && !r.Public && (r.Members != "all" || r.hasLists()):
		return errors.New("exact goes with public: true or members: all; what restricts has a path, and holds below it too")
	}
	r.elements = elements(strings.ReplaceAll(p, "[", `\[`))
	r.folded = elements(fold(strings.ReplaceAll(p, "[", `\[`)))
	may, err := r.authorizer()
	r.may = may
	return err
}

// elements splits a path. A slash at its end counts for nothing.
func elements(p string) []string {
	p = strings.TrimSuffix(strings.TrimPrefix(p, "/"), "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// fits says whether the rule is for a path. Most programs tell A from a; for those
// that do not, path and patterns are the folded ones.
func (r *rule) fits(elements, patterns []string) bool {
	if len(elements) < len(patterns) || r.Exact != "" && len(elements) > len(patterns) {
		return false
	}
	for i, pattern := range patterns {
		if ok, _ := path.Match(pattern, elements[i]); !ok {
			return false
		}
	}
	return true
}

// covers says whether r fits whatever other fits, so that other is never reached.
func (r *rule) covers(other *rule) bool {
	if r.Exact != "" && other.Exact == "" || r.Host != "" && r.Host != other.Host {
		return false
	}
	names := slices.Clone(other.elements)
	for i, name := range names {
		if strings.Contains(name, "*") && i < len(r.elements) && r.elements[i] != "*" && r.elements[i] != name {
			return false
		}
		names[i] = strings.ReplaceAll(name, `\[`, "[")
	}
	return r.fits(names, r.elements)
}

// of returns the rules that hold for a request's path at a host: more than one if its
// readings lead to different ones; nil stands for no rule.
func (rs rules) of(host string, u *url.URL) ([]*rule, error) {
	paths, err := readings(u)
	if err != nil {
		return nil, err
	}
	var found []*rule
	for _, p := range paths {
		exact, folded := elements(p), elements(fold(p))
		for _, first := range [...]*rule{
			rs.first(host, func(r *rule) bool { return r.fits(exact, r.elements) }),
			rs.first(host, func(r *rule) bool { return r.fits(folded, r.folded) }),
		} {
			if !slices.Contains(found, first) {
				found = append(found, first)
			}
		}
	}
	return found, nil
}

func (rs rules) first(host string, fits func(*rule) bool) *rule {
	if i := slices.IndexFunc(rs, func(r *rule) bool { return (r.Host == "" || r.Host == host) && fits(r) }); i >= 0 {
		return rs[i]
	}
	return nil
}

// reload reads the files again on each signal. One that cannot be used changes nothing.
func (g *gateway) reload(ctx context.Context, signals <-chan os.Signal, c config) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if c.rules != nil {
			g.reloadRules(c)
		}
		if c.clientsFile != "" {
			g.reloadClients(c.clientsFile)
		}
	}
}

func (g *gateway) reloadRules(c config) {
	rules, err := readRules(c.rulesFile, c.hostNames())
	if err != nil {
		g.log.Error("WECOM_RULES cannot be used: the rules from before hold", "cause", err.Error())
		return
	}
	g.rules.Store(&rules)
	g.log.Info("the rules were read again", "rules", len(rules))
}

// byRule hands a request to the upstream if everybody whom the rules ask for lets it pass.
func (g *gateway) byRule(w http.ResponseWriter, r *http.Request, rs rules) {
	found, err := rs.of(g.host, r.URL)
	if err != nil {
		g.log.Info("a path that programs read in different ways was refused", "cause", err.Error())
		(&wecom.Failure{Status: http.StatusBadRequest, Code: "bad_request"}).ServeHTTP(w, r)
		return
	}
	public, every := true, []wecom.Authorizer{}
	for _, rule := range found {
		public = public && rule != nil && rule.Public
		if rule != nil && rule.may != nil {
			every = append(every, rule.may)
		}
	}
	pass := http.HandlerFunc(g.pass)
	switch {
	case public:
		g.auth.Optional(pass).ServeHTTP(w, r)
	case len(every) == 0:
		g.app.ServeHTTP(w, r)
	default:
		g.auth.Require(allow.All(every...))(pass).ServeHTTP(w, r)
	}
}
