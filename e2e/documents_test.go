package e2e_test

import (
	"testing"

	"github.com/wecomauth/wecom/internal/doctest"
)

// The Go code in the documents compiles that needs other modules than the root.
func TestProgramsInDocuments(t *testing.T) {
	doctest.Run(t, "..", []string{
		".", "adapters/wecomecho", "adapters/wecomgin", "adapters/wecomotel", "e2e", "examples/routers",
		"tokenstore/filestore", "tokenstore/redisstore", "tokenstore/sqlitestore",
	}, []string{"."})
}
