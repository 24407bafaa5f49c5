//go:build unix

package main_test

import (
	"syscall"

	"github.com/stretchr/testify/require"
)

// hang keeps the server from answering while its connections stand.
func (r *redisServer) hang()   { require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGSTOP)) }
func (r *redisServer) resume() { require.NoError(r.t, r.cmd.Process.Signal(syscall.SIGCONT)) }
