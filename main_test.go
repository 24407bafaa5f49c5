package wecom_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// No goroutine of ours outlives the tests (B19).
func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	if left := goroutinesLeft(5 * time.Second); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n\n%s\n", left)
		status = max(status, 1)
	}
	os.Exit(status)
}

// goroutinesLeft returns the stacks of goroutines, but for the caller's, in which this
// module's code has a part. What was told to end may take its time.
func goroutinesLeft(patience time.Duration) []byte {
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		buf := make([]byte, 1<<20)
		stacks := bytes.Split(buf[:runtime.Stack(buf, true)], []byte("\n\n"))
		var left [][]byte
		for _, s := range stacks[1:] { // the first is ours
			if bytes.Contains(s, []byte("wecomauth/wecom")) {
				left = append(left, s)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return bytes.Join(left, []byte("\n\n"))
		}
	}
}
