package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// Every metric and label that the dashboard and the alerts name is there.
func TestMonitoring(t *testing.T) {
	w := newWorld(t)
	g := w.start("WECOM_METRICS_ADDR=127.0.0.1:0")
	c := g.signedIn()
	c.send("POST", "/wecom/logout", nil, false)
	metrics := g.metrics()

	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary, Action string }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(must(os.ReadFile("monitoring/alerts.yaml")), &rules))
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	require.NoError(t, json.Unmarshal(must(os.ReadFile("monitoring/dashboard.json")), &board))

	var exprs []string
	for _, r := range rules.Groups[0].Rules {
		assert.NotEmpty(t, r.Annotations.Summary, r.Alert)
		assert.NotEmpty(t, r.Annotations.Action, r.Alert)
		exprs = append(exprs, r.Expr)
	}
	for _, p := range board.Panels {
		require.NotEmpty(t, p.Targets)
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	metric := regexp.MustCompile(`\b((?:wecom|go|process)_[a-z_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`(\w+)(=~?|!~?)"([^"]*)"`)
	seen := 0
	for _, expr := range exprs {
		for _, m := range metric.FindAllStringSubmatch(expr, -1) {
			seen++
			assert.Regexp(t, `(?m)^`+m[1]+`[ {]`, metrics, expr)
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] == "job" { // Prometheus gives it
					continue
				}
				assert.Regexp(t, `(?m)^`+m[1]+`\{.*`+l[1]+`="`, metrics, expr)
				if l[2] == "=" && l[3] != "5xx" {
					assert.Regexp(t, `(?m)^`+m[1]+`\{.*`+l[1]+`="`+l[3]+`"`, metrics, "no increase would be seen from nothing to 1: %s", expr)
				}
			}
		}
	}
	assert.Greater(t, seen, 25)
}

func TestAlertsAreRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: promtool")
	}
	out, err := exec.Command(promtool, "check", "rules", "monitoring/alerts.yaml").CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
