//go:build !linux

package main

import "net"

func dropNew(*net.TCPListener) error { return nil }
