package postgres_test

import (
	"testing"

	"github.com/wecomauth/wecom/e2e/internal/needs"
)

func TestMain(m *testing.M) {
	needs.Main(m, needs.Variable("POSTGRES_URL", "DATABASE_URL") || needs.Postgres())
}

func TestPostgres(*testing.T) {}
