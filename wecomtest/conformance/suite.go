package conformance

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A testCase tests one promise of what open returns.
type testCase[T any] struct {
	name string
	test func(*testing.T, T)
}

// suite runs the tests, each with what open returns for it, and looks for goroutines that are left behind.
func suite[T any](t *testing.T, name string, open func(*testing.T) T, tests []testCase[T]) {
	before := goroutines()
	t.Run(name, func(t *testing.T) {
		for _, c := range tests {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t, open(t))
			})
		}
	})
	if left := goroutinesLeft(before); left != "" {
		t.Errorf("goroutines left after everything was closed:\n%s", left)
	}
}

// goroutines returns the stacks of all goroutines by their number.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		number, _, _ := strings.Cut(strings.TrimPrefix(string(stack), "goroutine "), " ")
		stacks[number] = string(stack)
	}
	return stacks
}

// goroutinesLeft returns the stacks of goroutines that began after before was taken and do not end
// within some seconds, since what was told to end may take its time.
func goroutinesLeft(before map[string]string) string {
	for deadline := time.Now().Add(5 * time.Second); ; {
		var left []string
		for number, stack := range goroutines() {
			if _, old := before[number]; !old {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		<-time.After(20 * time.Millisecond)
	}
}
