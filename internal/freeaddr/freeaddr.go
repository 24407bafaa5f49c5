// Package freeaddr finds addresses for the servers that a test starts.
package freeaddr

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Get returns an address of the loopback interface to listen on, now, or again after a restart.
// Its port is none that the system gives to outgoing connections, which would take it as soon
// as nobody listens.
func Get(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+rand.IntN(20_000)))
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}
