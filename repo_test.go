package wecom_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	goast "go/ast"
	goparser "go/parser"
	gotoken "go/token"
	gotypes "go/types"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/doctest"
	"github.com/wecomauth/wecom/internal/pages"
)

// What holds for the repository as a whole: modules, imports, exported names, documents.

const modulePath = "github.com/wecomauth/wecom"

var updateExported = flag.Bool("update", false, "rewrite testdata/exported.txt")

func TestRootModule(t *testing.T) {
	m := readModule(t, ".")
	assert.Equal(t, modulePath, m.Module.Path)
	assert.Equal(t, "1.25.0", m.Go)
	assert.Empty(t, m.Toolchain)
	assert.Empty(t, m.Replace)
	assert.Empty(t, m.Exclude)
	for _, r := range m.Require {
		if !r.Indirect {
			assert.Contains(t, []string{"github.com/alexedwards/scs/v2", "github.com/stretchr/testify", "golang.org/x/sync"}, r.Path)
		}
	}
}

func TestNestedModules(t *testing.T) {
	newest := "1.25.0"
	for _, dir := range moduleDirs(t) {
		m := readModule(t, dir)
		if dir == "." {
			continue
		}
		t.Run(dir, func(t *testing.T) {
			assert.Equal(t, modulePath+"/"+dir, m.Module.Path)
			assert.Empty(t, m.Toolchain)
			if strings.HasPrefix(dir, "cmd/") {
				assert.Empty(t, m.Exclude, "go install refuses such a program")
			}
			if strings.HasPrefix(dir, "adapters/") {
				assert.Equal(t, "1.25.0", m.Go)
			}
			for _, r := range m.Require {
				if r.Path == modulePath || strings.HasPrefix(r.Path, modulePath+"/") {
					// go mod tidy does not read go.work: it finds what is not released by the replace alone.
					assert.Equal(t, strings.HasPrefix(r.Version, "v0.0.0"), slices.Contains(m.replaced(), r.Path), "replaced until it is released: %s", r.Path)
				}
			}
			for _, r := range m.Replace {
				assert.True(t, r.Old.Path == modulePath || strings.HasPrefix(r.Old.Path, modulePath+"/"), "replaces %s", r.Old.Path)
				rel, err := filepath.Rel(dir, path.Join(".", strings.TrimPrefix(r.Old.Path, modulePath)))
				require.NoError(t, err)
				assert.Equal(t, path.Clean(filepath.ToSlash(rel)), path.Clean(r.New.Path))
			}
		})
		if olderGo(newest, m.Go) {
			newest = m.Go
		}
	}

	var work struct {
		Go  string
		Use []struct{ DiskPath string }
	}
	goJSON(t, &work, "work", "edit", "-json", "go.work")
	var used []string
	for _, u := range work.Use {
		used = append(used, path.Clean(u.DiskPath))
	}
	assert.ElementsMatch(t, moduleDirs(t), used, "go.work names every module, and no other")
	assert.Equal(t, newest, work.Go, "go.work says what its newest member needs")
}

// A program that requires the root module gets what the root's own packages
// import, and nothing that only tests, stores, adapters or tools need.
func TestRootDownloadsItsOwnRequirementsOnly(t *testing.T) {
	allowed := []string{"github.com/alexedwards/scs/v2", "golang.org/x/sync"}
	cache := filepath.ToSlash(strings.TrimSpace(string(goOutput(t, nil, "env", "GOMODCACHE"))))
	proxies := strings.TrimSpace(string(goOutput(t, nil, "env", "GOPROXY")))
	fresh := t.TempDir()
	env := []string{
		"GOWORK=off",
		"GOMODCACHE=" + fresh,
		"GOFLAGS=-modcacherw",
		"GOPROXY=file://" + path.Join("/", cache, "cache/download") + "," + proxies,
		"GONOSUMDB=*",
	}
	goOutput(t, env, "build", "./...")

	var downloaded []string
	require.NoError(t, filepath.WalkDir(filepath.Join(fresh, "cache", "download"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".zip") {
			rel, _ := filepath.Rel(filepath.Join(fresh, "cache", "download"), name)
			module, _, _ := strings.Cut(filepath.ToSlash(rel), "/@v/")
			downloaded = append(downloaded, module)
		}
		return err
	}))
	assert.NotEmpty(t, downloaded)
	assert.Subset(t, allowed, downloaded)
}

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		if _, ok := comments[f.dir]; !ok {
			comments[f.dir] = nil
		}
		if f.ast.Doc != nil {
			comments[f.dir] = append(comments[f.dir], f.name)
			want := "Package " + f.ast.Name.Name + " "
			if f.ast.Name.Name == "main" {
				name := path.Base(f.dir)
				want = strings.ToUpper(name[:1]) + name[1:] + " "
			}
			assert.True(t, strings.HasPrefix(f.ast.Doc.Text(), want), "%s: the comment starts with %q", f.name, want)
		}
	}
	require.NotEmpty(t, comments)
	for dir, files := range comments {
		assert.Len(t, files, 1, "package %s has its comment in exactly one file", dir)
	}
	assert.Equal(t, []string{"doc.go"}, comments["."])
}

// Each change of what is exported is a decision: go test -run TestExportedNames -update . takes it.
func TestExportedNames(t *testing.T) {
	const most = 33 // in the root; the aim is 30
	files := goFiles(t)
	var got strings.Builder
	for _, dir := range []string{".", "allow", "assertion", "envoptions", "events", "issuer", "miniprogram", "tokenserver", "tokenstore/private", "wecomtest", "wecomtest/conformance", "weixin"} {
		var names, members []string
		for _, f := range files {
			if f.dir == dir && !f.test {
				n, m := exportedNames(f.ast)
				names, members = append(names, n...), append(members, m...)
			}
		}
		members = promoted(members)
		require.NotEmpty(t, names, dir)
		slices.Sort(names)
		slices.Sort(members)
		fmt.Fprintf(&got, "package %s\n\n%s\n\n", path.Join(modulePath, dir), strings.Join(slices.Concat(names, members), "\n"))
		if dir == "." {
			assert.LessOrEqual(t, len(names), most)
		}
	}
	golden := filepath.Join("testdata", "exported.txt")
	if *updateExported {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got.String(), "if the change is meant: go test -run TestExportedNames -update .")
}

// promoted gives the exported types the methods of the unexported ones that they embed.
func promoted(members []string) (list []string) {
	for _, m := range members {
		outer, embedded, ok := strings.Cut(m, " embeds ")
		if !ok && !strings.HasPrefix(m, "unexported ") {
			list = append(list, m)
		}
		for _, method := range members {
			if rest, found := strings.CutPrefix(method, "unexported "+embedded+"."); ok && found {
				list = append(list, "func (*"+outer+") "+rest)
			}
		}
	}
	return list
}

// exportedNames lists the top-level names of a file, and the methods and fields
// below them, each with its type. What [promoted] needs to know stands among them.
func exportedNames(f *goast.File) (names, members []string) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *goast.FuncDecl:
			if !d.Name.IsExported() {
				continue
			}
			if d.Recv == nil {
				names = append(names, "func "+d.Name.Name+typeParams(d.Type.TypeParams)+signature(d.Type))
			} else if recv := d.Recv.List[0].Type; goast.IsExported(receiver(recv)) {
				members = append(members, "func ("+gotypes.ExprString(recv)+") "+d.Name.Name+signature(d.Type))
			} else {
				members = append(members, "unexported "+receiver(recv)+"."+d.Name.Name+signature(d.Type))
			}
		case *goast.GenDecl:
			var last goast.Expr // a constant without a type of its own has that of the one before it
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *goast.ValueSpec:
					if s.Type != nil || len(s.Values) > 0 {
						last = s.Type
					}
					for _, name := range s.Names {
						if name.IsExported() {
							names = append(names, strings.TrimSuffix(d.Tok.String()+" "+name.Name+" "+typeString(last), " "))
						}
					}
				case *goast.TypeSpec:
					if s.Name.IsExported() {
						name, below := exportedType(s)
						names, members = append(names, name), append(members, below...)
					}
				}
			}
		}
	}
	return names, members
}

func exportedType(s *goast.TypeSpec) (name string, members []string) {
	name = "type " + s.Name.Name + typeParams(s.TypeParams)
	if s.Assign.IsValid() {
		name += " ="
	}
	var fields []*goast.Field
	switch typ := s.Type.(type) {
	case *goast.StructType:
		name += " struct"
		fields = typ.Fields.List
	case *goast.InterfaceType:
		name += " interface"
		fields = typ.Methods.List
	default:
		return name + " " + gotypes.ExprString(typ), nil
	}
	for _, field := range fields {
		names := field.Names
		if len(names) == 0 {
			names = []*goast.Ident{{Name: receiver(field.Type)}}
		}
		for _, n := range names {
			if !n.IsExported() {
				if len(field.Names) == 0 {
					members = append(members, s.Name.Name+" embeds "+n.Name)
				}
				continue
			}
			member := s.Name.Name + "." + n.Name
			if f, ok := field.Type.(*goast.FuncType); ok && strings.HasSuffix(name, " interface") {
				members = append(members, member+signature(f))
			} else {
				members = append(members, member+" "+gotypes.ExprString(field.Type))
			}
		}
	}
	return name, members
}

func signature(f *goast.FuncType) string { return strings.TrimPrefix(gotypes.ExprString(f), "func") }

func typeParams(list *goast.FieldList) string {
	if list == nil {
		return ""
	}
	return "[" + strings.Trim(signature(&goast.FuncType{Params: list}), "()") + "]"
}

func typeString(e goast.Expr) string {
	if e == nil {
		return ""
	}
	return gotypes.ExprString(e)
}

func receiver(e goast.Expr) string {
	switch e := e.(type) {
	case *goast.StarExpr:
		return receiver(e.X)
	case *goast.IndexExpr:
		return receiver(e.X)
	case *goast.SelectorExpr:
		return e.Sel.Name
	case *goast.Ident:
		return e.Name
	}
	return ""
}

func TestRootTestsAreBlackBox(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.dir == "." && f.test {
			assert.Equal(t, "wecom_test", f.ast.Name.Name, f.name)
		}
	}
}

func TestImports(t *testing.T) {
	in := func(list ...string) func(string) bool {
		return func(s string) bool { return slices.Contains(list, s) }
	}
	under := func(dir string) func(goFile) bool {
		return func(f goFile) bool { return f.dir == dir || strings.HasPrefix(f.dir, dir+"/") }
	}
	nested := slices.DeleteFunc(moduleDirs(t), func(dir string) bool { return dir == "." })
	ours := func(p string) bool { return p == modulePath || strings.HasPrefix(p, modulePath+"/") }
	standard := func(p string) bool {
		first, _, _ := strings.Cut(p, "/")
		return !strings.Contains(first, ".")
	}
	rules := []struct {
		name      string
		files     func(goFile) bool // tests and what only serves them excepted
		forbidden func(string) bool
	}{
		{
			"T32: what is random comes from crypto/rand",
			func(f goFile) bool { return !under("benchmarks")(f) },
			in("math/rand", "math/rand/v2"),
		},
		{
			// So that the rest knows neither a store's ways nor which carrier there is.
			"store.go calls scs's stores, scscarrier.go a session manager, options.go names the types: nothing else touches scs",
			func(f goFile) bool {
				return f.dir == "." && f.name != "store.go" && f.name != "scscarrier.go" && f.name != "options.go"
			},
			func(p string) bool { return strings.HasPrefix(p, "github.com/alexedwards/scs/") },
		},
		{
			"internal packages are plain values: but for support for tests, they never import the root",
			func(f goFile) bool { return strings.HasPrefix(f.dir, "internal/") },
			func(p string) bool { return p == modulePath || p == modulePath+"/wecomtest" },
		},
		{
			"wecomtest stands on the standard library, the root and plain values",
			func(f goFile) bool { return f.dir == "wecomtest" },
			func(p string) bool {
				return !standard(p) && p != modulePath && !strings.HasPrefix(p, modulePath+"/internal/") || p == "testing"
			},
		},
		{
			"the fake and testify stay out of programs",
			func(f goFile) bool {
				return f.dir != "wecomtest" && f.dir != "cmd/fake-wecom" && f.dir != "issuer/example" && !under("examples")(f) && !under("e2e")(f) && !under("benchmarks")(f)
			},
			func(p string) bool {
				return p == "testing" || strings.HasPrefix(p, "github.com/stretchr/") || ours(p) && testSupport(p)
			},
		},
		{
			// They are released apart: an old one is built with any newer root.
			"nested modules import what the root exports, not its internal packages",
			func(f goFile) bool {
				return slices.ContainsFunc(nested, func(dir string) bool { return under(dir)(f) })
			},
			func(p string) bool { return strings.HasPrefix(p, modulePath+"/internal/") },
		},
		{
			"the root needs none of what is built on it",
			func(f goFile) bool { return f.dir == "." },
			func(p string) bool { return ours(p) && !strings.HasPrefix(p, modulePath+"/internal/") },
		},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, f := range goFiles(t) {
				if f.test || testSupport(f.dir) && f.dir != "wecomtest" || !rule.files(f) {
					continue
				}
				for _, p := range f.imports() {
					assert.False(t, rule.forbidden(p), "%s imports %s", f.name, p)
				}
			}
		})
	}
}

// The default client and transport belong to the whole program: anything in it
// may change them, and they have no deadline.
func TestNoDefaultClient(t *testing.T) {
	shared := []string{"DefaultClient", "DefaultTransport", "Get", "Head", "Post", "PostForm"}
	for _, f := range goFiles(t) {
		if f.test || testSupport(f.dir) && f.dir != "wecomtest" || strings.HasPrefix(f.dir+"/", "benchmarks/") || strings.HasPrefix(f.dir+"/", "e2e/") {
			continue
		}
		goast.Inspect(f.ast, func(n goast.Node) bool {
			if s, ok := n.(*goast.SelectorExpr); ok {
				if x, ok := s.X.(*goast.Ident); ok && x.Name == "http" && x.Obj == nil {
					assert.NotContains(t, shared, s.Sel.Name, "%s: http.%s", f.name, s.Sel.Name)
				}
			}
			return true
		})
	}
}

// A document and its translation have the same sections, the same code and lead to the same files.
func TestTranslations(t *testing.T) {
	tracked := trackedFiles(t)
	for _, name := range tracked {
		english, isDocument := strings.CutSuffix(name, ".md")
		if isDocument && !strings.HasSuffix(english, ".zh-CN") && (strings.HasPrefix(name, "docs/") || path.Base(name) == "README.md") {
			assert.Contains(t, tracked, english+".zh-CN.md", "no translation")
		}
	}
	for _, chinese := range tracked {
		english, ok := strings.CutSuffix(chinese, ".zh-CN.md")
		if !ok {
			continue
		}
		english += ".md"
		t.Run(english, func(t *testing.T) {
			require.Contains(t, tracked, english)
			en, zh := readDocument(t, english), readDocument(t, chinese)
			assert.Equal(t, en.levels, zh.levels, "levels of the headings, in order")
			assert.Equal(t, en.fences, zh.fences, "fenced blocks, comments apart")
		})
	}
}

type documentShape struct {
	levels []int
	fences []string
}

// fenceComments by the language of a fenced block. Of blocks in other languages only the language is compared: diagrams
// and transcripts are prose.
var fenceComments = map[string]*regexp.Regexp{
	"go":         regexp.MustCompile(`(?m)(^|\s)//.*$`),
	"js":         regexp.MustCompile(`(?m)(^|\s)//.*$`),
	"json":       regexp.MustCompile(`$^`),
	"sh":         regexp.MustCompile(`(?m)(^|\s)#.*$`),
	"yaml":       regexp.MustCompile(`(?m)(^|\s)#.*$`),
	"nginx":      regexp.MustCompile(`(?m)(^|\s)#.*$`),
	"dockerfile": regexp.MustCompile(`(?m)(^|\s)#.*$`),
	"caddyfile":  regexp.MustCompile(`(?m)(^|\s)#.*$`),
	"ini":        regexp.MustCompile(`(?m)^[#;].*$`),
	"env":        regexp.MustCompile(`(?m)(^|\s)#.*$`),
}

func readDocument(t *testing.T, name string) documentShape {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	var d documentShape
	heading := regexp.MustCompile(`^(#{1,6}) `)
	fence, language, body := false, "", ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			if fence {
				if c, ok := fenceComments[language]; ok {
					body = c.ReplaceAllString(body, "")
				} else {
					body = ""
				}
				d.fences = append(d.fences, language+"\n"+strings.Join(strings.Fields(body), " "))
			}
			fence, language, body = !fence, strings.TrimPrefix(line, "```"), ""
		case fence:
			body += line + "\n"
		default:
			if m := heading.FindStringSubmatch(line); m != nil {
				d.levels = append(d.levels, len(m[1]))
			}
		}
	}
	require.False(t, fence, "%s: a fenced block has no end", name)
	return d
}

// The threat model names each code that stands in a test's name, and proofs that exist.
func TestThreatModel(t *testing.T) {
	row := regexp.MustCompile(`(?m)^\| ([TFB][0-9]+) \|.*\|$`)
	quoted := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	code := regexp.MustCompile(`[TFB][0-9]+`)
	tests, codes := map[string]bool{}, map[string]bool{}
	for _, f := range goFiles(t) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*goast.FuncDecl)
			if !ok || !f.test {
				continue
			}
			tests[fn.Name.Name] = true
			name, isTest := strings.CutPrefix(fn.Name.Name, "Test")
			for part := range strings.SplitSeq(name, "_") {
				if !isTest || code.FindString(part) != part {
					break
				}
				codes[part] = true
			}
		}
	}
	for _, name := range []string{"docs/threat-model.md", "docs/threat-model.zh-CN.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		listed := map[string]bool{}
		for _, m := range row.FindAllStringSubmatch(string(text), -1) {
			assert.False(t, listed[m[1]], "%s has two rows for %s", name, m[1])
			listed[m[1]] = true
			proofs := quoted.FindAllStringSubmatch(m[0], -1)
			assert.True(t, m[1][0] == 'B' || len(proofs) > 0, "%s: nothing proves %s", name, m[1])
			for _, p := range proofs {
				assert.True(t, tests[p[1]], "%s names %s, which is no test", name, p[1])
			}
		}
		for c := range codes {
			assert.True(t, listed[c], "%s does not say what %s means", name, c)
		}
	}
}

// Every code of a Failure has a row in docs/failures.md, with its status and the title
// that the person sees, and every row a code.
func TestFailureCodes(t *testing.T) {
	source, err := os.ReadFile("failure.go")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(source), "var statuses = ")
	table, _, _ = strings.Cut(table, "\n}\n")
	var codes []string
	statuses := map[string]string{}
	for _, m := range regexp.MustCompile(`"([a-z_]+)": +http\.Status(\w+)`).FindAllStringSubmatch(table, -1) {
		codes = append(codes, m[1])
		for n := 400; n < 600; n++ {
			if strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(n)) == m[2] {
				statuses[m[1]] = strconv.Itoa(n)
			}
		}
	}
	require.Greater(t, len(codes), 20)
	for lang, name := range map[string]string{"en": "docs/failures.md", "zh": "docs/failures.zh-CN.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		var rows []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]+)[^|]* \\| [\"“]([^|]+)[\"”] \\| [^|]+ \\|$").FindAllStringSubmatch(string(text), -1) {
			rows = append(rows, m[1])
			p, _, _ := pages.For("", lang, m[1])
			assert.Equal(t, []string{statuses[m[1]], p.Title}, m[2:], "%s, %s", name, m[1])
		}
		assert.ElementsMatch(t, codes, rows, name)
	}
}

// A link to a file of the repository leads there, and one to a heading leads to a heading.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	code := regexp.MustCompile("(?s)\n```.*?\n```|`[^`\n]*`")
	for _, name := range trackedFiles(t) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(data), ""), -1) {
			target, anchor, _ := strings.Cut(m[1]+m[2], "#")
			if strings.Contains(target, ":") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.Join(filepath.Dir(name), filepath.FromSlash(target))
			}
			_, err := os.Stat(file)
			assert.NoError(t, err, "%s links to %s", name, target)
			if anchor != "" && strings.HasSuffix(file, ".md") {
				assert.Contains(t, anchors(t, file), anchor, "%s links to a heading that %s does not have", name, file)
			}
		}
	}
}

// anchors are the names that GitHub gives to a document's headings.
func anchors(t *testing.T, name string) (list []string) {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^#{1,6} (.+)$`).FindAllStringSubmatch(string(data), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return list
}

// The Go code in the documents compiles. What needs more than this module is compiled by e2e.
func TestProgramsInDocuments(t *testing.T) {
	trackedFiles(t)
	doctest.Run(t, ".", []string{"."}, nil)
}

func TestText(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, name := range trackedFiles(t) {
		if strings.Contains(name, "testdata/") {
			continue
		}
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // removed, not yet committed
		}
		require.NoError(t, err)
		if bytes.IndexByte(data, 0) >= 0 {
			continue // not a text
		}
		assert.False(t, bytes.Contains(data, []byte("\r\n")), "%s: CRLF", name)
		assert.True(t, len(data) == 0 || bytes.HasSuffix(data, []byte("\n")), "%s: no newline at the end", name)
		assert.False(t, bytes.HasSuffix(data, []byte("\n\n")), "%s: an empty line at the end", name)
		assert.False(t, bytes.Contains(data, []byte(here)), "%s names the directory that it was written in", name)
		n := 0
		for line := range bytes.Lines(data) {
			n++
			line = bytes.TrimSuffix(line, []byte("\n"))
			assert.Equal(t, string(bytes.TrimRight(line, " \t")), string(line), "%s:%d: space at the end", name, n)
			assert.False(t, unfinished.Match(line), "%s:%d: unfinished: %s", name, n, line)
		}
	}
}

// --- what the tests above read

type moduleFile struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Require   []struct {
		Path, Version string
		Indirect      bool
	}
	Exclude []struct{ Path string }
	Replace []struct{ Old, New struct{ Path string } }
}

func (m moduleFile) replaced() []string {
	var paths []string
	for _, r := range m.Replace {
		paths = append(paths, r.Old.Path)
	}
	return paths
}

func readModule(t *testing.T, dir string) moduleFile {
	t.Helper()
	var m moduleFile
	goJSON(t, &m, "-C", dir, "mod", "edit", "-json")
	return m
}

func goJSON(t *testing.T, v any, args ...string) {
	t.Helper()
	require.NoError(t, json.Unmarshal(goOutput(t, nil, args...), v))
}

func goOutput(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(cmd.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s\n%s", strings.Join(args, " "), stderr.String())
	return out
}

// olderGo compares go lines such as 1.25.0.
func olderGo(a, b string) bool {
	var x, y [3]int
	fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:]) < 0
}

// trackedFiles lists the repository's files, by slash-separated names relative to its root. A copy of the module in
// a module cache is not the repository: it holds no nested module.
func trackedFiles(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a checkout of the repository")
	}
	files := gitFiles(t)
	require.Contains(t, files, "go.mod")
	return files
}

func gitFiles(t *testing.T, flags ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", append([]string{"ls-files", "-z"}, flags...)...).Output()
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// moduleDirs includes modules that are not committed yet: go.work must know them too.
func moduleDirs(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, name := range append(trackedFiles(t), gitFiles(t, "--others", "--exclude-standard")...) {
		if path.Base(name) == "go.mod" {
			dirs = append(dirs, path.Dir(name))
		}
	}
	return dirs
}

type goFile struct {
	name, dir string
	test      bool
	ast       *goast.File
}

// testSupport reports whether a package serves tests only, by its folder or import path.
func testSupport(dir string) bool {
	dir = strings.TrimPrefix(dir, modulePath+"/")
	return dir == "wecomtest" || strings.HasPrefix(dir, "wecomtest/") || dir == "internal/freeaddr" || dir == "internal/vectors" || dir == "internal/whatwg" ||
		strings.HasPrefix(dir, "internal/") && strings.HasSuffix(dir, "test")
}

func (f goFile) imports() []string {
	var paths []string
	for _, i := range f.ast.Imports {
		paths = append(paths, strings.Trim(i.Path.Value, `"`))
	}
	return paths
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	for _, name := range trackedFiles(t) {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		if _, err := os.Stat(name); os.IsNotExist(err) {
			continue // removed, not yet committed
		}
		f := goFile{name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
		var err error
		f.ast, err = goparser.ParseFile(gotoken.NewFileSet(), name, nil, goparser.ParseComments)
		require.NoError(t, err)
		files = append(files, f)
	}
	return files
}
