package nginx_test

import (
	"testing"

	"github.com/wecomauth/wecom/e2e/internal/needs"
)

func TestMain(m *testing.M) {
	needs.Main(m, needs.Program("nginx", "/usr/sbin/nginx"))
}

func TestNginx(*testing.T) {}
