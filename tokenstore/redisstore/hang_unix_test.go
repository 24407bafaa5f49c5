//go:build unix

package redisstore_test

import (
	"syscall"

	"github.com/stretchr/testify/require"
)

// hang keeps the server from answering while its connections stand.
func (s *server) hang()   { require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGSTOP)) }
func (s *server) resume() { require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGCONT)) }
