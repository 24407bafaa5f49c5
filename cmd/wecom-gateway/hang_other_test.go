//go:build !unix

package main_test

func (r *redisServer) hang()   { r.t.Skip("SKIPPED: this system does not stop processes") }
func (r *redisServer) resume() {}
