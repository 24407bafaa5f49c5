//go:build !unix

package redisstore_test

func (s *server) hang()   { s.t.Skip("SKIPPED: this system does not stop processes") }
func (s *server) resume() {}
