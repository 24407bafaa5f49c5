package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// full says that the heavy repeats are wanted.
var full = os.Getenv("WECOM_E2E_FULL") != ""

// often returns n in a full run and fewer in an ordinary one.
func often(fewer, n int) int {
	if full {
		return n
	}
	return fewer
}

// scratch is a directory that all tests share.
var scratch string

func TestMain(m *testing.M) {
	if orders := os.Getenv(replicaVariable); orders != "" { // one of a fleet
		redis.SetLogger(quiet{})
		if err := replicate(orders); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "wecom-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	defer closeChromium()
	redis.SetLogger(quiet{})
	return m.Run()
}

// quiet is a logger for go-redis, which reports each failed dial.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// quickstartProgram builds the quickstart, once.
var quickstartProgram = sync.OnceValues(func() (string, error) {
	name := filepath.Join(scratch, "quickstart")
	cmd := exec.Command("go", "build", "-o", name, "./examples/quickstart")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})
