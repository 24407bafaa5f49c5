// Package logtest collects what a test logs.
package logtest

import (
	"strings"
	"sync"
)

// A Buffer is a [strings.Builder] for several goroutines: a logger writes while the test reads.
type Buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *Buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
