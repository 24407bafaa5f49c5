package wecom_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program of the README is Example, but for where its settings come from and
// for who looks at it.
func TestExampleIsTheProgramOfTheREADME(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	_, example, ok := strings.Cut(string(source), "\nfunc Example() {\n")
	require.True(t, ok)
	example, _, _ = strings.Cut(example, "\n}\n")
	_, after, ok := strings.Cut(example, "\toptions, err := ") // before that, it makes its variables
	require.True(t, ok)
	example = after
	own := func(line string) bool {
		for _, part := range []string{"fake.", "// Output:", "browser", "os.LookupEnv", "envoptions", "ListenAndServe"} {
			if strings.Contains(line, part) {
				return true
			}
		}
		return false
	}
	lines := func(program string) (list []string) {
		for line := range strings.Lines(program) {
			if !own(line) {
				code, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " // ") // comments are in the README's language
				list = append(list, code)
			}
		}
		return list
	}
	for _, name := range []string{"README.md", "README.zh-CN.md"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		_, program, ok := strings.Cut(string(text), "\nfunc main() {\n")
		require.True(t, ok, name)
		program, _, _ = strings.Cut(program, "\n}\n")
		assert.Equal(t, lines(program), lines(example), name)
		assert.GreaterOrEqual(t, len(lines(example)), 10)
	}
}
