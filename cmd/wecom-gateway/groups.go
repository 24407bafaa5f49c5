package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wecomauth/wecom"
)

const (
	namesCount = 10 * time.Minute
	// maxGroups is how much of them a header tells, and an assertion.
	maxGroups = 1000
	// maxAnswer keeps what another proxy is told within nginx's buffer, which has 4 KiB by default.
	maxAnswer = 3800
	maxTold   = 10_000
	maxTags   = 500
)

// groups tells by name which departments and tags people belong to. The names are fetched once
// for a fleet that shares a token store, and served while WeCom is away.
type groups struct {
	names wecom.TokenSource // as JSON: a token source caches whatever has a value and a life
	log   *slog.Logger

	mu     sync.Mutex
	latest *directory
}

// newGroups returns nil if no groups are wanted.
func newGroups(c config, client *wecom.Client, store wecom.TokenStore, log *slog.Logger) *groups {
	if !c.departments && !c.tags {
		return nil
	}
	key := fmt.Sprintf("groups:%s:%s:%t:%t", url.QueryEscape(c.CorpID), url.QueryEscape(c.AgentID), c.departments, c.tags)
	return &groups{log: log, names: wecom.NewTokenSource(key, store, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
		until := time.Now().Add(namesCount)
		names, err := fetchNames(ctx, client, c.departments, c.tags)
		if err != nil {
			return wecom.Token{}, err
		}
		text, err := json.Marshal(names)
		return wecom.Token{Value: wecom.NewSecret(string(text)), Expires: until}, err
	})}
}

// names are what WeCom says of departments and tags.
type names struct {
	Departments []wecom.Department `json:"departments"`
	Tags        []tag              `json:"tags"`
}

type tag struct {
	ID          int64    `json:"tagid"`
	Name        string   `json:"tagname"`
	Users       []string `json:"users"`
	Departments []int64  `json:"departments"`
}

func fetchNames(ctx context.Context, client *wecom.Client, departments, tags bool) (n names, err error) {
	if departments {
		n.Departments, err = client.Departments(ctx, 0)
	} else { // who has a tag through a department is known by the tree alone
		n.Departments, err = client.DepartmentIDs(ctx, 0)
	}
	if err != nil || !tags {
		return n, err
	}
	if n.Tags, err = listTags(ctx, client); err != nil {
		return n, err
	}
	if len(n.Tags) > maxTags {
		return n, fmt.Errorf("the corp has %d tags: the gateway tells %d at most", len(n.Tags), maxTags)
	}
	each, ctx := errgroup.WithContext(ctx)
	each.SetLimit(8)
	for i := range n.Tags {
		each.Go(func() error {
			var holders struct {
				Users []struct {
					UserID string `json:"userid"`
				} `json:"userlist"`
				Departments []int64 `json:"partylist"`
			}
			t := &n.Tags[i]
			if err := client.Call(ctx, http.MethodGet, "tag/get", url.Values{"tagid": {strconv.FormatInt(t.ID, 10)}}, nil, &holders); err != nil {
				return err
			}
			for _, u := range holders.Users {
				t.Users = append(t.Users, u.UserID)
			}
			t.Departments = holders.Departments
			return nil
		})
	}
	return n, each.Wait()
}

// listTags returns the tags, without who has them.
func listTags(ctx context.Context, client *wecom.Client) ([]tag, error) {
	var list struct {
		Tags []tag `json:"taglist"`
	}
	err := client.Call(ctx, http.MethodGet, "tag/list", nil, nil, &list)
	return list.Tags, err
}

// printDepartments shows the departments and tags that the app sees. It returns the exit status.
func printDepartments(ctx context.Context, client *wecom.Client, out, errs io.Writer) int {
	departments, err := client.Departments(ctx, 0)
	paths := pathsOf(departments)
	slices.SortFunc(departments, func(a, b wecom.Department) int { return cmp.Compare(paths[a.ID], paths[b.ID]) })
	for _, d := range departments {
		fmt.Fprintf(out, "department %6d  %s\n", d.ID, strings.Join(readable(paths[d.ID]), ""))
	}
	tags, tagsErr := listTags(ctx, client)
	for _, t := range tags {
		fmt.Fprintf(out, "tag        %6d  %s\n", t.ID, t.Name)
	}
	if err = errors.Join(err, tagsErr); err != nil {
		fmt.Fprintln(errs, "wecom-gateway:", all.Named(err))
		return 1
	}
	return 0
}

// A directory is the names, ready for use, and what was told of people by them.
type directory struct {
	text    string
	parents map[int64]int64
	paths   map[int64]string // escaped; of departments with a name
	tags    []holders

	mu   sync.Mutex
	told map[session]string
}

type holders struct {
	name        string // escaped
	users       map[string]bool
	departments map[int64]bool
}

// A session is who signed in and when: departments belong to it.
type session struct {
	user string
	at   int64
	room int // for what is told
}

// A roomKey is what a context holds the room for groups under, if it is less than maxGroups.
type roomKey struct{}

func newDirectory(text string) (*directory, error) {
	var n names
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return nil, errors.New("what the token store holds for names is none of ours")
	}
	d := &directory{text: text, parents: map[int64]int64{}, paths: pathsOf(n.Departments), told: map[session]string{}}
	for _, dep := range n.Departments {
		d.parents[dep.ID] = dep.ParentID
	}
	for _, t := range n.Tags {
		h := holders{"tag:" + escapeName(t.Name), map[string]bool{}, map[int64]bool{}}
		for _, u := range t.Users {
			h.users[foldUser(u)] = true
		}
		for _, id := range t.Departments {
			h.departments[id] = true
		}
		d.tags = append(d.tags, h)
	}
	return d, nil
}

// pathsOf returns the escaped paths of the departments that have a name.
func pathsOf(departments []wecom.Department) map[int64]string {
	byID, paths, times := map[int64]wecom.Department{}, map[int64]string{}, map[string]int{}
	for _, d := range departments {
		byID[d.ID] = d
	}
	for id, d := range byID {
		if d.Name == "" {
			continue
		}
		path := escapeName(d.Name)
		for up, steps := byID[d.ParentID], 0; up.Name != "" && steps < len(byID); up, steps = byID[up.ParentID], steps+1 {
			path = escapeName(up.Name) + "/" + path
		}
		paths[id] = path
		times[path]++
	}
	for id, path := range paths { // where the app does not see what is above them
		if times[path] > 1 {
			paths[id] = path + "#" + strconv.FormatInt(id, 10)
		}
	}
	return paths
}

// escapeName leaves nothing in a name that is not ASCII or separates names. It is undone as a URL's path is.
func escapeName(name string) string { return strings.ReplaceAll(url.PathEscape(name), ":", "%3A") }

// readable returns the groups of a header as text. What separates stays escaped, or
// one department could be called what another one's path is.
func readable(header string) []string {
	groups := strings.FieldsFunc(separators.Replace(header), func(c rune) bool { return c == ',' })
	for i, group := range groups {
		groups[i], _ = url.PathUnescape(group) // never fails: escapeName wrote it
	}
	return groups
}

var separators = strings.NewReplacer("%25", "%2525", "%2F", "%252F", "%3A", "%253A")

func foldUser(id string) string { return wecom.Identity{UserID: id}.Key() }

// of returns somebody's groups, separated by commas.
func (gs *groups) of(ctx context.Context, id wecom.Identity) (string, error) {
	if gs == nil || id.UserID == "" {
		return "", nil
	}
	d, err := gs.directory(ctx)
	if err != nil {
		return "", err
	}
	room, ok := ctx.Value(roomKey{}).(int)
	if !ok {
		room = maxGroups
	}
	key := session{id.UserID, id.AuthenticatedAt.UnixNano(), room}
	d.mu.Lock()
	defer d.mu.Unlock()
	told, ok := d.told[key]
	if !ok {
		var whole bool
		told, whole = d.tell(id, room)
		if !whole {
			gs.log.Warn("somebody is in more groups than fit into a header: the last ones were left out", "user", id.UserID)
		}
		if len(d.told) >= maxTold {
			clear(d.told)
		}
		d.told[key] = told
	}
	return told, nil
}

// over is for callers that do not wait: what they ask for is fetched anyway.
var over, _ = context.WithDeadline(context.Background(), time.Unix(0, 0))

// directory returns the latest names that there are. It waits only if there are none.
func (gs *groups) directory(ctx context.Context) (*directory, error) {
	gs.mu.Lock()
	latest := gs.latest
	gs.mu.Unlock()
	if latest != nil {
		ctx = over
	}
	token, err := gs.names.Token(ctx)
	if err == nil && latest != nil && latest.text == token.Value.Reveal() {
		return latest, nil
	}
	if err == nil {
		var next *directory
		if next, err = newDirectory(token.Value.Reveal()); err == nil {
			gs.mu.Lock()
			gs.latest = next
			gs.mu.Unlock()
			return next, nil
		}
	}
	if latest == nil {
		return nil, fmt.Errorf("WECOM_GROUPS: %w", err)
	}
	return latest, nil
}

// tell returns a person's groups, and whether they are all there.
func (d *directory) tell(id wecom.Identity, room int) (told string, whole bool) {
	var all []string
	within := map[int64]bool{}
	for _, dep := range id.Departments {
		if path := d.paths[dep]; path != "" {
			all = append(all, path)
		}
		for known := true; known && !within[dep]; dep, known = d.parents[dep] {
			within[dep] = true
		}
	}
	for _, t := range d.tags {
		has := t.users[foldUser(id.UserID)]
		for dep := range t.departments {
			has = has || within[dep]
		}
		if has {
			all = append(all, t.name)
		}
	}
	for i, group := range all {
		if len(told)+1+len(group) > room {
			return told, false
		}
		if i > 0 {
			told += ","
		}
		told += group
	}
	return told, true
}

// check fetches the names, or finds them in the token store.
func (gs *groups) check(ctx context.Context) error {
	if gs == nil {
		return errNone
	}
	_, err := gs.directory(ctx)
	return err
}
