// Package needs says what tests were skipped for want of a program or a server, in the output of
// go test without -v: a package that passes shows its name there and, if none of its tests ran,
// [no tests to run]. So each program and server has a package of its name.
package needs

import (
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Main runs the package's tests if found, or none of them.
func Main(m *testing.M, found bool) {
	flag.Parse()
	if !found {
		_ = flag.Set("test.run", "^$")
	}
	os.Exit(m.Run())
}

// Program says whether one of the programs is in PATH.
func Program(names ...string) bool {
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

// Variable says whether one of the environment's variables is set.
func Variable(names ...string) bool {
	for _, name := range names {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// Server says whether somebody listens at address.
func Server(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// Postgres says whether the server at the standard port wants no password.
func Postgres() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, database := range []string{"test", "postgres"} {
		conn, err := pgx.Connect(ctx, "postgres://postgres@127.0.0.1:5432/"+database+"?sslmode=disable")
		if err == nil {
			_ = conn.Close(ctx)
			return true
		}
	}
	return false
}
