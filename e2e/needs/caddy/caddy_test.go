package caddy_test

import (
	"testing"

	"github.com/wecomauth/wecom/e2e/internal/needs"
)

func TestMain(m *testing.M) {
	needs.Main(m, needs.Program("caddy"))
}

func TestCaddy(*testing.T) {}
