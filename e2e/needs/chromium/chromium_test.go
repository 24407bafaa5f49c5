package chromium_test

import (
	"testing"

	"github.com/wecomauth/wecom/e2e/internal/needs"
)

func TestMain(m *testing.M) {
	needs.Main(m, needs.Variable("CHROME") || needs.Program("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
}

func TestChromium(*testing.T) {}
