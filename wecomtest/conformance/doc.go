// Package conformance holds the test suites that every implementation of this module's interfaces
// passes. They are meant for implementations elsewhere, too:
//
//	func TestStore(t *testing.T) {
//		dir := t.TempDir()
//		conformance.TokenStore(t, func(t *testing.T) wecom.TokenStore {
//			return mystore.New(dir)
//		})
//	}
//
// The suites use the standard library alone. They look for goroutines that an implementation leaves
// behind, so nothing else may run beside them: the test that calls one does not call t.Parallel
// itself. Contracts that take long to observe are skipped under go test -short.
package conformance
