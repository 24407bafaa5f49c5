package main

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// dropNew makes the kernel drop the segments that would open a connection. Clients send
// them again after a second, when the port is closed or another process listens at it.
func dropNew(l *net.TCPListener) error {
	conn, err := l.SyscallConn()
	if err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // TCP's flags
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 2, Jf: 1},
		{Code: unix.BPF_RET, K: 0}, // SYN
		{Code: unix.BPF_RET, K: 1 << 16},
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
	return errors.Join(err, failed)
}
