package allow_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/wecomtest"
)

func TestDepartments(t *testing.T) {
	for name, tt := range map[string]struct {
		ids  []int64
		want map[string]bool
	}{
		"one":                   {[]int64{3}, map[string]bool{"lisi": true, "zhangsan": false, "wangwu": false}},
		"with what is below":    {[]int64{2}, map[string]bool{"zhangsan": true, "wangwu": true, "lisi": false}},
		"below only":            {[]int64{4}, map[string]bool{"wangwu": true, "zhangsan": false}},
		"the root, invisible":   {[]int64{1}, map[string]bool{"wangwu": true, "lisi": true}},
		"several":               {[]int64{4, 3}, map[string]bool{"wangwu": true, "lisi": true, "zhangsan": false}},
		"invisible":             {[]int64{5}, map[string]bool{"sunqi": false, "zhangsan": false}},
		"none":                  {nil, map[string]bool{"zhangsan": false}},
		"zero, a forgotten one": {[]int64{0}, map[string]bool{"zhangsan": false, "wangwu": false}},
		"one that is not there": {[]int64{99}, map[string]bool{"zhangsan": false}},
		"a disabled member's":   {[]int64{3}, map[string]bool{"zhaoliu": true}},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := newClient(t)
			a := allow.Departments(tt.ids...)
			for who, want := range tt.want {
				ok, err := a(t.Context(), c, member(who))
				require.NoError(t, err)
				assert.Equal(t, want, ok, who)
			}
		})
	}
}

// The caller may reuse the slice.
func TestDepartmentsCopiesItsArguments(t *testing.T) {
	_, c := newClient(t)
	ids := []int64{3}
	a := allow.Departments(ids...)
	ids[0] = 2
	ok, err := a(t.Context(), c, member("zhangsan"))
	require.NoError(t, err)
	assert.False(t, ok)
}

// The profile's departments serve at the sign-in. Later they may have changed.
func TestDepartmentsOfTheProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake, c := newClient(t)
		a := allow.Departments(2)
		id := member("zhangsan")
		id.Departments = []int64{4}
		ok, err := a(t.Context(), c, id)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Zero(t, fake.Calls("user/get"))

		m, _ := fake.Member("zhangsan")
		m.Departments = []int64{3}
		fake.AddMember(m)
		time.Sleep(6 * time.Minute)
		ok, err = a(t.Context(), c, id)
		require.NoError(t, err)
		assert.False(t, ok, "moved to another department")
		assert.Equal(t, 1, fake.Calls("user/get"))
	})
}

func TestTags(t *testing.T) {
	fake, c := newClient(t)
	fake.AddTag(wecomtest.Tag{ID: 2, Users: []string{"ZhangSan", "sunqi"}})
	fake.AddTag(wecomtest.Tag{ID: 3, Departments: []int64{2}})
	fake.AddTag(wecomtest.Tag{ID: 4})
	for name, tt := range map[string]struct {
		ids  []int64
		want map[string]bool
	}{
		"by member":        {[]int64{2}, map[string]bool{"zhangsan": true, "lisi": false, "sunqi": false}},
		"by department":    {[]int64{3}, map[string]bool{"zhangsan": true, "wangwu": true, "lisi": false}},
		"by both":          {[]int64{1}, map[string]bool{"wangwu": true, "lisi": true, "zhangsan": false}},
		"an empty tag":     {[]int64{4}, map[string]bool{"zhangsan": false}},
		"the second of it": {[]int64{4, 2}, map[string]bool{"zhangsan": true}},
		"no tag":           {nil, map[string]bool{"zhangsan": false}},
	} {
		a := allow.Tags(tt.ids...)
		for who, want := range tt.want {
			ok, err := a(t.Context(), c, member(who))
			require.NoError(t, err, name)
			assert.Equal(t, want, ok, "%s: %s", name, who)
		}
	}
	ok, err := allow.Tags(99, 2)(t.Context(), c, member("zhangsan"))
	assert.NoError(t, err)
	assert.True(t, ok, "a tag that was deleted keeps those of the others from nothing")
	_, err = allow.Tags(99, 2)(t.Context(), c, member("lisi"))
	assert.Error(t, err)
	_, err = allow.Tags(99)(t.Context(), c, member("zhangsan"))
	assert.Error(t, err, "a tag that does not exist is a mistake of the set-up, not a no")
}

// treeAPI is a WeCom with one member in one department, and any tree.
type treeAPI struct {
	member  int64
	tree    string
	fetched atomic.Int64
	held    chan struct{} // if not nil, the tree waits for it
}

func (api *treeAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	var body string
	switch op := strings.TrimPrefix(r.URL.Path, "/cgi-bin/"); op {
	case "gettoken":
		body = `{"errcode":0,"access_token":"tree-token","expires_in":7200}`
	case "user/get":
		body = fmt.Sprintf(`{"errcode":0,"userid":%q,"status":1,"department":[%d]}`, r.URL.Query().Get("userid"), api.member)
	case "department/simplelist":
		api.fetched.Add(1)
		if api.held != nil {
			<-api.held
		}
		body = `{"errcode":0,"department_id":[` + api.tree + `]}`
	default:
		body = `{"errcode":40063,"errmsg":"` + op + `"}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (api *treeAPI) client(t testing.TB) *wecom.Client {
	c, err := wecom.NewClient(wecom.Options{CorpID: "ww0000000000000001", AgentID: "1000002", Secret: wecom.NewSecret("the-secret-of-trees"), Transport: api})
	require.NoError(t, err)
	return c
}

// nodes writes a tree in which the parent of each of 1 to n is what parent says.
func nodes(n int64, parent func(int64) int64) string {
	var b strings.Builder
	for id := int64(1); id <= n; id++ {
		fmt.Fprintf(&b, `{"id":%d,"parentid":%d,"order":4294967295},`, id, parent(id))
	}
	return strings.TrimSuffix(b.String(), ",")
}

// Ten thousand departments, in whatever shape, end in an answer.
func TestDepartmentTreesOfEveryShape(t *testing.T) {
	const n = 10_000
	chain := nodes(n, func(id int64) int64 { return id - 1 })
	for name, tt := range map[string]struct {
		tree   string
		member int64
		wanted int64
		want   bool
	}{
		"a chain, to its top":           {chain, n, 1, true},
		"a chain, to a stranger":        {chain, n, n + 1, false},
		"a fan":                         {nodes(n, func(int64) int64 { return 1 }), n, 1, true},
		"a binary tree":                 {nodes(n, func(id int64) int64 { return id / 2 }), n, 2, true},
		"a binary tree, the other half": {nodes(n, func(id int64) int64 { return id / 2 }), n, 3, false},
		"one circle":                    {nodes(n, func(id int64) int64 { return id%n + 1 }), 7, n + 1, false},
		"one circle, on it":             {nodes(n, func(id int64) int64 { return id%n + 1 }), 7, 6, true},
		"a tail into a circle":          {nodes(n, func(id int64) int64 { return max(id-1, 1) }), n, n + 1, false},
		"each its own parent":           {nodes(n, func(id int64) int64 { return id }), 7, 8, false},
		"orphans":                       {nodes(n, func(id int64) int64 { return id + 20_000 }), 7, 1, false},
		"an orphan of the wanted":       {nodes(n, func(int64) int64 { return 20_000 }), 7, 20_000, true},
		"a member out of the tree":      {chain, n + 5, 1, false},
		"negative ids":                  {`{"id":-1,"parentid":-2},{"id":-2,"parentid":-1}`, -1, 5, false},
		"zero all over":                 {`{"id":2,"parentid":0},{"id":3,"parentid":2}`, 3, 0, false},
		"the same twice":                {`{"id":3,"parentid":2},{"id":3,"parentid":2},{"id":2,"parentid":1}`, 3, 1, true},
		"no departments at all":         {``, 3, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := &treeAPI{member: tt.member, tree: tt.tree}
			ok, err := allow.Departments(tt.wanted)(t.Context(), api.client(t), member("zhangsan"))
			require.NoError(t, err)
			assert.Equal(t, tt.want, ok)
		})
	}
}

// Two hundred people sign in at once, and again within five minutes: the tree is fetched once.
func TestDepartmentTreeIsFetchedOnceInItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		api := &treeAPI{member: n, tree: nodes(n, func(id int64) int64 { return id / 2 }), held: make(chan struct{})}
		c := api.client(t)
		a := allow.Departments(1)
		everybody := func() {
			var wg sync.WaitGroup
			for i := range 200 {
				wg.Go(func() {
					ok, err := a(t.Context(), c, member(fmt.Sprintf("member%d", i)))
					assert.NoError(t, err)
					assert.True(t, ok)
				})
			}
			synctest.Wait()
			if api.held != nil {
				close(api.held)
				api.held = nil
			}
			wg.Wait()
		}
		everybody()
		assert.EqualValues(t, 1, api.fetched.Load())
		time.Sleep(4 * time.Minute)
		everybody()
		assert.EqualValues(t, 1, api.fetched.Load())
		time.Sleep(2 * time.Minute)
		everybody()
		assert.EqualValues(t, 2, api.fetched.Load())
	})
}

// The way of a sign-in, over the whole middleware.
func TestMiddlewareAsks(t *testing.T) {
	for _, profile := range []bool{false, true} {
		t.Run(fmt.Sprintf("with a profile %t", profile), func(t *testing.T) {
			fake := wecomtest.New()
			o := fake.Options("https://app.example.com/wecom/callback")
			o.Authorize, o.Profile = allow.Departments(2), profile
			o.Logger = slog.New(slog.DiscardHandler)
			auth, err := wecom.New(o)
			require.NoError(t, err)
			app := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))

			in := fake.Browser("https://app.example.com", app).SignInAs("wangwu")
			assert.Equal(t, 200, in.Get("/").Status)
			assert.Equal(t, 1, fake.Calls("user/get"), "one look-up either way")

			out := fake.Browser("https://app.example.com", app).SignInAs("lisi")
			res := out.Get("/")
			assert.Equal(t, 403, res.Status)
			assert.Equal(t, 401, out.Fetch("GET", "/wecom/session", "").Status, "no session")
			assert.Len(t, res.Hops, 3, "and no loop")

			fake.Always("department/simplelist", wecomtest.Fault{Status: 500})
			fake.Always("user/get", wecomtest.Fault{Status: 500})
			assert.Equal(t, 503, fake.Browser("https://app.example.com", app).SignInAs("lisi").Get("/").Status)
		})
	}
}

// One route for one department.
func TestRequire(t *testing.T) {
	fake := wecomtest.New()
	o := fake.Options("https://app.example.com/wecom/callback")
	o.Logger = slog.New(slog.DiscardHandler)
	auth, err := wecom.New(o)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/sales", auth.Require(allow.Departments(3))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	b := fake.Browser("https://app.example.com", auth.Handler(mux)).SignInAs("lisi")
	for range 20 {
		assert.Equal(t, 200, b.Get("/sales").Status)
	}
	assert.Equal(t, 1, fake.Calls("user/get"))
	b.DropCookies()
	b.SignInAs("zhangsan")
	assert.Equal(t, 403, b.Get("/sales").Status)
	assert.Equal(t, 200, b.Get("/").Status)
}

func BenchmarkDepartments(b *testing.B) {
	const n = 10_000
	for name, parent := range map[string]func(int64) int64{
		"chain":  func(id int64) int64 { return id - 1 },
		"binary": func(id int64) int64 { return id / 2 },
	} {
		b.Run(name, func(b *testing.B) {
			api := &treeAPI{member: n, tree: nodes(n, parent)}
			c, a := api.client(b), allow.Departments(1)
			id := member("zhangsan")
			for b.Loop() {
				if ok, err := a(b.Context(), c, id); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
