package storetest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/wecomauth/wecom"
)

const (
	roleVar   = "WECOM_STORETEST_ROLE"
	mediumVar = "WECOM_STORETEST_MEDIUM"
)

// An Open returns a handle to the store in a medium: a folder, a file, a URL.
type Open func(medium string) (wecom.TokenStore, error)

// Main runs the tests, or in a process that [Start] started its role, and exits. roles are the
// test's own, beside those of this package.
func Main(m *testing.M, open Open, roles map[string]func(store wecom.TokenStore, stdin *bufio.Reader) error) {
	name := os.Getenv(roleVar)
	if name == "" {
		os.Exit(m.Run())
	}
	role, ok := map[string]func(wecom.TokenStore, *bufio.Reader) error{
		"gateway": gateway,
		"writer":  writer,
		"holder":  holder,
		"account": account,
	}[name]
	if !ok {
		role = roles[name]
	}
	store, err := open(os.Getenv(mediumVar))
	if err == nil {
		err = role(store, bufio.NewReader(os.Stdin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name, "failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A Process is one more process with the store.
type Process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err strings.Builder
	end func()
}

// Start starts a process that plays role. It is killed when the test ends.
func Start(t *testing.T, role, medium string, env ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(os.Args[0])} // #nosec G204 -- the test binary
	p.cmd.Env = append(append(os.Environ(), roleVar+"="+role, mediumVar+"="+medium), env...)
	p.cmd.Stderr = &p.err
	p.end = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

// Say writes a line to the process.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("a process is gone: %v", err)
	}
}

// Hear reads a line from the process.
func (p *Process) Hear() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.end()
		p.t.Fatalf("a process is gone: %v\n%s", err, p.err.String())
	}
	return strings.TrimSpace(line)
}

// Kill kills the process in the middle of what it does and waits until it is gone.
func (p *Process) Kill() { p.end() }
