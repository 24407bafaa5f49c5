package redis_test

import (
	"testing"

	"github.com/wecomauth/wecom/e2e/internal/needs"
)

func TestMain(m *testing.M) {
	needs.Main(m, needs.Variable("REDIS_URL") || needs.Server("127.0.0.1:6379") || needs.Program("redis-server"))
}

func TestRedis(*testing.T) {}
