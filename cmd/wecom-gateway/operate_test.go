package main_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The image holds the program, the authorities' certificates and an empty folder:
// in such a root, read-only and as the image's user, people can sign in.
func TestImageWithoutAnEngine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change its root")
	}
	image := string(must(os.ReadFile("Dockerfile")))
	final := image[strings.LastIndex(image, "\nFROM "):]
	require.Contains(t, final, "\nFROM scratch\n")
	user := regexp.MustCompile(`\nUSER ([0-9:]+)\n`).FindStringSubmatch(final)
	require.NotNil(t, user)

	root := t.TempDir()
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(root, "wecom-gateway"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Chmod(root, 0o755))

	w := newWorld(t)
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec chroot --userspec=`+user[1]+` "$0" /wecom-gateway`, root)
	cmd.Env = append(w.env(), "TZ=Asia/Shanghai", "PATH="+os.Getenv("PATH"))
	g := w.run(cmd)
	assert.Equal(t, "zhangsan", g.signedIn().script("/").seen(t).Header.Get("X-Forwarded-User"))
	assert.Regexp(t, `\+08:00$`, g.wait("the gateway listens")["time"], "the time zones are inside")
	g.stop()
	left := must(os.ReadDir(root))
	assert.Len(t, left, 1, "nothing was written")
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"version"}} {
		status, stdout, stderr := runOnce(t, nil, args...)
		assert.Equal(t, 0, status)
		assert.Regexp(t, `^wecom-gateway \S+.* go1\.\d+`, stdout)
		assert.Empty(t, stderr)
	}
}

func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED SERVICE TEST: systemd-analyze")
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=15", must(filepath.Abs("wecom-gateway.service"))).CombinedOutput()
	assert.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "Overall exposure level")
	// What it says of a setting that does not exist is a warning.
	unit := bytes.ReplaceAll(must(os.ReadFile("wecom-gateway.service")), []byte("/usr/local/bin/wecom-gateway"), []byte("/bin/true"))
	copied := filepath.Join(t.TempDir(), "wecom-gateway.service")
	require.NoError(t, os.WriteFile(copied, unit, 0o600))
	out, _ = exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput()
	assert.NotContains(t, string(out), "wecom-gateway.service:")
}

// The manifest names routes, settings and a user that there are.
func TestManifest(t *testing.T) {
	type object struct {
		Kind string
		Data map[string]string
		Spec struct {
			Template struct {
				Spec struct {
					SecurityContext struct {
						RunAsUser int `yaml:"runAsUser"`
					} `yaml:"securityContext"`
					Containers []struct {
						Env []struct{ Name string }
					}
				}
			}
		}
	}
	w := newWorld(t)
	g := w.start()
	_, settings, _ := runOnce(t, nil, "-print-config")
	settings = strings.ReplaceAll(settings, "# ", "")
	seen := map[string]int{}
	for decoder := yaml.NewDecoder(bytes.NewReader(must(os.ReadFile("kubernetes.yaml")))); ; {
		var o object
		err := decoder.Decode(&o)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		seen[o.Kind]++
		for name := range o.Data {
			assert.Contains(t, "\n"+settings, "\n"+name+"=")
		}
		for _, c := range o.Spec.Template.Spec.Containers {
			assert.Equal(t, 65532, o.Spec.Template.Spec.SecurityContext.RunAsUser)
			for _, v := range c.Env {
				assert.Contains(t, "\n"+settings, "\n"+v.Name+"=")
			}
		}
	}
	assert.Equal(t, 1, seen["Deployment"])
	for _, probe := range regexp.MustCompile(`path: (/\S+),`).FindAllStringSubmatch(string(must(os.ReadFile("kubernetes.yaml"))), -1) {
		assert.Equal(t, 200, g.client().script(probe[1]).StatusCode, probe[1])
	}
}
