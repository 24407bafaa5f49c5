// Package doctest compiles the Go code of the documents: programs as they stand
// there, and fragments with what they leave out.
package doctest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/wecomauth/wecom"

// Run compiles the documents of the repository at root whose code imports nothing
// outside these modules, given by their folders below root, the root module as ".". Skipped
// are those that the modules in without can compile.
func Run(t *testing.T, root string, modules, without []string) {
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	provided, elsewhere, nested := provides(t, root, modules), provides(t, root, without), nestedModules(t, root)
	scratch := t.TempDir()
	names := map[string]string{} // of the code in a folder of scratch
	for _, c := range read(t, root) {
		if len(without) > 0 && all(c.imports, elsewhere, nested) || !all(c.imports, provided, nested) {
			continue
		}
		dir := filepath.Join(scratch, fmt.Sprintf("p%03d", len(names)))
		names[filepath.Base(dir)] = c.name
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "code.go"), []byte(c.source), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) == 0 {
		t.Fatal("no code was found")
	}
	work := "go 1.26.0\n\nuse .\n"
	for _, m := range modules {
		work += "use " + filepath.ToSlash(filepath.Join(root, m)) + "\n"
	}
	for name, text := range map[string]string{"go.work": work, "go.mod": "module example.com/documents\n\ngo 1.26.0\n"} {
		if err := os.WriteFile(filepath.Join(scratch, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sums, _ := os.ReadFile(filepath.Join(root, "go.work.sum"))
	if err := os.WriteFile(filepath.Join(scratch, "go.work.sum"), sums, 0o644); err != nil {
		t.Fatal(err)
	}

	build := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "./...")
	build.Dir = scratch
	build.Env = append(build.Environ(), "GOWORK="+filepath.Join(scratch, "go.work"), "GOFLAGS=")
	out, err := build.CombinedOutput()
	at := regexp.MustCompile(`^(?:\./)?(p\d+)/code\.go:(\d+):\d+: (.*)$`)
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		m := at.FindStringSubmatch(line)
		switch {
		case m != nil && isFragment(names[m[1]]) && leftOut.MatchString(m[3]):
		case m != nil:
			t.Errorf("%s, line %s: %s", names[m[1]], m[2], m[3])
		case err != nil && !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "\t"):
			t.Error(line)
		}
	}
	t.Logf("compiled %d pieces of code", len(names))
}

// leftOut is what a fragment may leave out: what it refers to was made before it, and what
// it makes is used after it.
var leftOut = regexp.MustCompile(`^(undefined: \w+|declared and not used: \w+|missing return)$`)

type code struct {
	name    string
	imports []string
	source  string
}

const fragment = " (fragment)"

func isFragment(name string) bool { return strings.HasSuffix(name, fragment) }

// read returns the fenced Go code of all documents.
func read(t *testing.T, root string) (list []code) {
	fence := regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue // removed, not yet committed
		}
		for _, m := range fence.FindAllSubmatchIndex(text, -1) {
			body := string(text[m[2]:m[3]])
			line := 1 + strings.Count(string(text[:m[2]]), "\n")
			c, err := complete(fmt.Sprintf("%s:%d", file, line), body)
			if err != nil {
				t.Errorf("%s:%d: %v", file, line, err)
				continue
			}
			list = append(list, c)
		}
	}
	return list
}

// complete makes a file of a program or a fragment. Its package is none that a
// linker would want, so that go build only compiles.
func complete(name, body string) (code, error) {
	if f, err := parse(body); err == nil {
		clause := regexp.MustCompile(`(?m)^package \w+$`)
		return code{name, imports(f), clause.ReplaceAllLiteralString(body, "package p")}, nil
	}
	var f *ast.File
	var err error
	for _, form := range []string{"package p\n\n%s", "package p\n\nvar _ = %s", "package p\n\nfunc _() error {\n%s}\n"} {
		source := fmt.Sprintf(form, body)
		if f, err = parse(source); err == nil {
			c := code{name: name + fragment}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Obj == nil {
						if p, ok := known[x.Name]; ok && !slices.Contains(c.imports, p) {
							c.imports = append(c.imports, p)
						}
					}
				}
				return true
			})
			header := "package p\n\n"
			for _, p := range c.imports {
				header += fmt.Sprintf("import %q\n", p)
			}
			c.source = strings.Replace(source, "package p\n\n", header, 1)
			return c, nil
		}
	}
	return code{}, fmt.Errorf("it is neither a file nor declarations, statements or a value: %w", err)
}

func parse(source string) (*ast.File, error) {
	return parser.ParseFile(token.NewFileSet(), "code.go", source, 0)
}

func imports(f *ast.File) (list []string) {
	for _, i := range f.Imports {
		list = append(list, strings.Trim(i.Path.Value, `"`))
	}
	return list
}

// known are the packages that fragments speak of by name.
var known = func() map[string]string {
	byName := map[string]string{"wecom": modulePath, "redis": "github.com/redis/go-redis/v9", "echo": "github.com/labstack/echo/v4"}
	for _, p := range []string{
		"context", "embed", "encoding/json", "errors", "fmt", "html/template", "io", "log", "log/slog", "net", "net/http",
		"net/netip", "net/url", "os", "strings", "testing", "time",
		modulePath + "/allow", modulePath + "/events", modulePath + "/tokenserver", modulePath + "/wecomtest", modulePath + "/weixin",
		modulePath + "/adapters/wecomgin", modulePath + "/adapters/wecomecho", modulePath + "/adapters/wecomotel",
		modulePath + "/tokenstore/filestore", modulePath + "/tokenstore/redisstore", modulePath + "/tokenstore/sqlitestore",
		"github.com/alexedwards/scs/v2", "github.com/alexedwards/scs/goredisstore", "github.com/gin-gonic/gin",
	} {
		name := path.Base(p)
		if name == "v2" {
			name = path.Base(path.Dir(p))
		}
		byName[name] = p
	}
	return byName
}()

// provides returns the paths of the modules and of what they require.
func provides(t *testing.T, root string, modules []string) (paths []string) {
	for _, m := range modules {
		text, err := os.ReadFile(filepath.Join(root, m, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range regexp.MustCompile(`(?m)^(?:module |require |\t)(\S+\.\S+)`).FindAllSubmatch(text, -1) {
			paths = append(paths, string(r[1]))
		}
	}
	return paths
}

// all reports whether every import is the standard library's or in one of the modules.
func all(imports, modules, nested []string) bool {
	for _, p := range imports {
		first, _, _ := strings.Cut(p, "/")
		in := func(m string) bool { return p == m || strings.HasPrefix(p, m+"/") }
		elsewhere := func(m string) bool { return in(m) && !slices.Contains(modules, m) }
		if strings.Contains(first, ".") && (!slices.ContainsFunc(modules, in) || slices.ContainsFunc(nested, elsewhere)) {
			return false
		}
	}
	return true
}

// nestedModules are the repository's modules below the root.
func nestedModules(t *testing.T, root string) (paths []string) {
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\./(\S+)$`).FindAllSubmatch(text, -1) {
		paths = append(paths, modulePath+"/"+string(m[1]))
	}
	return paths
}
