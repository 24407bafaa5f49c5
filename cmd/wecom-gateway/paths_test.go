package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/freeaddr"
)

// tricks returns request targets, each followed by the lines of its own headers, by
// which somebody may try to read /admin/secret.txt.
func tricks() []string {
	all := strings.Fields(`
		/admin/secret.txt /ADMIN/secret.txt /Admin/Secret.txt /aDmin/SECRET.TXT /admin/secret.TXT
		/%61dmin/secret.txt /%41dmin/secret.txt /admin/%73ecret.txt /%61%64%6d%69%6e/%73%65%63%72%65%74%2e%74%78%74 /admin/secret%2etxt
		/admin%2fsecret.txt /admin%2Fsecret.txt /%2fadmin/secret.txt /%2fadmin%2fsecret.txt /%2f%2fadmin/secret.txt /x%2f..%2fadmin/secret.txt
		//admin/secret.txt ///admin/secret.txt ////admin////secret.txt /admin//secret.txt /admin///secret.txt //admin%2fsecret.txt
		/./admin/secret.txt /.//admin/secret.txt /%2e/admin/secret.txt /admin/./secret.txt /admin/%2e/secret.txt /admin/.%2fsecret.txt /./././admin/./././secret.txt
		/admin/x/../secret.txt /admin/help/../secret.txt /admin/help/%2e%2e/secret.txt /admin/help/..%2fsecret.txt /admin/help%2f..%2fsecret.txt /admin/help/..;/secret.txt
		/admin/help/..\secret.txt /admin/help/..%5csecret.txt /admin/help/%252e%252e/secret.txt /admin/help/..%252fsecret.txt /admin/help//../secret.txt
		/admin/help/x/../../secret.txt /admin/help;/../secret.txt /admin/help%00/../secret.txt /admin/HELP/../secret.txt
		/admin;/secret.txt /admin;x/secret.txt /admin;x=y/secret.txt /admin/;/secret.txt /admin/;x=y/secret.txt /;/admin/secret.txt /;x=y/admin/secret.txt /admin/secret.txt;x
		/admin/secret.txt;jsessionid=1 /admin%3b/secret.txt /admin%3bx=y/secret.txt /%3b/admin/secret.txt /admin%253b/secret.txt /ADMIN;x/secret.txt /admin/;/;/secret.txt
		/admin\secret.txt /\admin\secret.txt /\admin/secret.txt /admin%5csecret.txt /admin%5Csecret.txt /%5cadmin%5csecret.txt /%5cadmin/secret.txt /ADMIN\secret.txt
		\admin\secret.txt admin/secret.txt %2fadmin/secret.txt ./admin/secret.txt ../admin/secret.txt ?/admin/secret.txt #/admin/secret.txt *
		/admin%252fsecret.txt /%252fadmin/secret.txt /%2561dmin/secret.txt /%25%36%31dmin/secret.txt /%25%36%31%25%36%34min/secret.txt /admin/%2573ecret.txt /%252561dmin/secret.txt /%25252fadmin/secret.txt
		/admin%252Fsecret.txt /admin%255csecret.txt /%252e/admin/secret.txt /x/%252e%252e/admin/secret.txt /x%252f..%252fadmin/secret.txt /x%252f%2e%2e%252fadmin/secret.txt
		/admin%00/secret.txt /admin/secret.txt%00 /admin/secret.txt%00.html /admin/secret.txt%00/../../public/a.txt /%00/admin/secret.txt /admin%00secret.txt /admin/%00secret.txt
		/admin%20/secret.txt /admin./secret.txt /admin.%20./secret.txt /admin/secret.txt. /admin/secret.txt%20 /admin/secret.txt%20. /admin/secret.txt... /%20admin/secret.txt
		/admin%09/secret.txt /admin%0a/secret.txt /admin%0d/secret.txt /admin%0d%0a/secret.txt /%09admin/secret.txt /admin%7f/secret.txt /admin/secret.txt%0a /%0aadmin/secret.txt /admin%0b/secret.txt
		/admin%3f/secret.txt /admin/secret.txt%3f /admin/secret.txt%3fx=y /admin/secret.txt%23 /admin/secret.txt%23x /admin/secret.txt%253f /admin%23/../admin/secret.txt
		/admin/secret.txt?x /admin/secret.txt?/public /admin/secret.txt?../../public/a.txt /admin/secret.txt#/../../public/a.txt /admin/secret.txt#
		/public?/../admin/secret.txt /public/a.txt?/../../admin/secret.txt /public#/../admin/secret.txt /public/a.txt#/../../admin/secret.txt /public%3f/../admin/secret.txt /public%23/../admin/secret.txt
		/public../admin/secret.txt /public..%2fadmin/secret.txt /public..\admin/secret.txt /public..;/admin/secret.txt /public%2e%2e/admin/secret.txt /PUBLIC../admin/secret.txt
		/admin/secret.txt/ /admin/secret.txt/. /admin/secret.txt/x/.. /admin/secret.txt/x /admin/secret.txt// /admin/secret.txt/%2e /index.php/admin/secret.txt/../../../admin/secret.txt
		/%ef%bd%81dmin/secret.txt /admin%ef%bc%8fsecret.txt /%ef%bc%8fadmin/secret.txt /admin/%ef%bd%93ecret.txt /admin/%c5%bfecret.txt /x/%ef%bc%8e%ef%bc%8e/admin/secret.txt /admin/secret%e2%80%a4txt
		/%c1%a1dmin/secret.txt /admin%c0%afsecret.txt /%c0%afadmin/secret.txt /admin%e0%80%afsecret.txt /x/%c0%ae%c0%ae/admin/secret.txt /x/%e0%80%ae%e0%80%ae/admin/secret.txt /admin%c1%9csecret.txt
		/admin%u002fsecret.txt /%u0061dmin/secret.txt /admin%2/secret.txt /admin%/secret.txt /admin%zz/secret.txt
		http://%HOST%/admin/secret.txt http://evil.example/admin/secret.txt HTTP://%HOST%/ADMIN/secret.txt https://%HOST%/admin/secret.txt http://%HOST%//admin/secret.txt http:///admin/secret.txt
		http:/admin/secret.txt http:admin/secret.txt http://public/../admin/secret.txt http://%HOST%/public/../admin/secret.txt http://%HOST%/public/%2e%2e/admin/secret.txt http://%HOST%\admin\secret.txt
		http://%HOST%/%61dmin/secret.txt http://%HOST%/admin%2fsecret.txt http://%HOST%/admin;x/secret.txt http://x@%HOST%/admin/secret.txt http://%HOST%?/admin/secret.txt file:///admin/secret.txt x:///admin/secret.txt
		//public/../admin/secret.txt //evil.example/admin/secret.txt //evil.example/../admin/secret.txt ///public/../admin/secret.txt /\public/../admin/secret.txt //public%2f..%2fadmin/secret.txt
	`)
	for _, from := range []string{"/public", "/x"} {
		for _, up := range []string{"..", "%2e%2e", ".%2e", "%2E.", "..;", "..;x=y", "%252e%252e", "..%00", "..%20", "...", "..%09"} {
			for _, slash := range []string{"/", "//", "%2f", "%5c", `\`, "%252f", "/./", "/;/", "%c0%af"} {
				all = append(all, from+slash+up+slash+"admin/secret.txt", from+"/"+up+slash+"admin/secret.txt")
			}
		}
	}
	for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X_Original_Url", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Original-Path", "Location"} {
		all = append(all, "/public/a.txt\n"+name+": /admin/secret.txt", "/x\n"+name+": /admin/secret.txt")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const secretText = "SECRET-CANARY"

// A site is a program that serves a folder by its own idea of paths.
type site struct {
	name   string
	start  func(t *testing.T, dir, addr string) *exec.Cmd
	styles int
}

var sites = []site{
	{"nginx", func(t *testing.T, dir, addr string) *exec.Cmd {
		conf := filepath.Join(t.TempDir(), "nginx.conf")
		require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `daemon off; worker_processes 1; pid %[1]s.pid; error_log %[1]s.log;
			events { worker_connections 512; }
			http { access_log off; client_body_temp_path %[1]s.b; proxy_temp_path %[1]s.p; fastcgi_temp_path %[1]s.f; uwsgi_temp_path %[1]s.u; scgi_temp_path %[1]s.s;
			server { listen %[2]s; root %[3]s; location /public { alias %[3]s/public/; } } }`, conf, addr, dir), 0o600))
		cmd := exec.Command(program(t, "nginx"), "-c", conf, "-e", conf+".log")
		if os.Geteuid() == 0 {
			cmd.Args = append(cmd.Args, "-g", "user root;")
		}
		return cmd
	}, 1},
	{"caddy", func(t *testing.T, dir, addr string) *exec.Cmd {
		conf := filepath.Join(t.TempDir(), "Caddyfile")
		require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "{\n admin off\n auto_https off\n}\nhttp://:%[1]s {\n bind 127.0.0.1\n root * %[2]s\n handle /admin/secret* {\n respond %[3]s\n }\n file_server\n}\n",
			addr[strings.LastIndexByte(addr, ':')+1:], dir, secretText), 0o600))
		cmd := exec.Command(program(t, "caddy"), "run", "--config", conf, "--adapter", "caddyfile")
		cmd.Env = []string{"HOME=" + filepath.Dir(conf), "PATH=" + os.Getenv("PATH")}
		return cmd
	}, 1},
	{"node", func(t *testing.T, dir, addr string) *exec.Cmd {
		return exec.Command(program(t, "node"), "testdata/readings.js", addr[strings.LastIndexByte(addr, ':')+1:])
	}, 18},
	{"php", func(t *testing.T, dir, addr string) *exec.Cmd {
		return exec.Command(program(t, "php"), "-S", addr, "-t", dir)
	}, 1},
	{"python3", func(t *testing.T, dir, addr string) *exec.Cmd {
		return exec.Command(program(t, "python3"), "-m", "http.server", "-b", "127.0.0.1", "-d", dir, addr[strings.LastIndexByte(addr, ':')+1:])
	}, 1},
}

func program(t *testing.T, name string) string {
	t.Helper()
	for _, at := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(at); err == nil {
			return found
		}
	}
	t.Skip("SKIPPED SERVICE TEST: " + name)
	return ""
}

// folder holds what the sites serve.
func folder(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"admin/secret.txt": secretText, "admin/help/a.txt": "help", "public/a.txt": "public", "index.php": string(must(os.ReadFile("testdata/index.php"))),
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// ask sends a trick as it is and returns the answer's bytes.
func ask(addr, trick, cookie string, style int) string {
	target, headers, _ := strings.Cut(trick, "\n")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nX-Style: %d\r\nCookie: %s\r\nConnection: close\r\n%s\r\n",
		strings.ReplaceAll(target, "%HOST%", addr), addr, style, cookie, strings.TrimPrefix(headers+"\r\n", "\r\n"))
	text, _ := io.ReadAll(bufio.NewReader(conn))
	return string(text)
}

const testRules = `
rules:
  - path: /public
    public: true
  - path: /admin/help
    members: all
  - path: /admin
    users: [lisi]
`

// T15: whatever the program behind makes of a path, a rule holds.
func TestT15_RulesAndRealServers(t *testing.T) {
	all := tricks()
	require.Greater(t, len(all), 200)
	for _, site := range sites {
		t.Run(site.name, func(t *testing.T) {
			addr := freeaddr.Get(t)
			cmd := site.start(t, folder(t), addr)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
			})
			eventually(t, site.name+" answers", func() bool { return strings.Contains(ask(addr, "/admin/secret.txt", "", 0), secretText) })
			w := newWorld(t)
			// A trusted proxy passes on what browsers send.
			g := w.start("WECOM_UPSTREAM=http://"+addr, "WECOM_RULES="+rulesFile(t, testRules), "WECOM_TRUSTED_PROXIES=127.0.0.1")
			host := strings.TrimPrefix(g.url, "http://")
			lisi, zhangsan := w.signIn(g, "lisi").cookie(), w.signIn(g, "zhangsan").cookie()
			require.Contains(t, ask(host, "/admin/secret.txt", lisi, 0), secretText)

			var mu sync.Mutex
			works, passed := map[string]bool{}, []string{}
			forEach(all, func(trick string) {
				for style := range site.styles {
					direct := strings.Contains(ask(addr, trick, "", style), secretText)
					if !direct && style > 0 {
						continue
					}
					for who, cookie := range map[string]string{"anonymous": "", "zhangsan": zhangsan} {
						through := strings.Contains(ask(host, trick, cookie, style), secretText)
						mu.Lock()
						works[trick] = works[trick] || direct
						if through {
							passed = append(passed, fmt.Sprintf("%s: %q, style %d", who, trick, style))
						}
						mu.Unlock()
					}
				}
			})
			effective := 0
			for _, ok := range works {
				if ok {
					effective++
				}
			}
			assert.Empty(t, passed)
			assert.Greater(t, effective, 10, "the site falls for none of them: it proves nothing")
			t.Logf("%d tricks in %d styles, of which %d work without the gateway; %d passed", len(all), site.styles, effective, len(passed))
		})
	}
}

// forEach calls f for all, eight at a time.
func forEach(all []string, f func(string)) {
	todo := make(chan string)
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for one := range todo {
				f(one)
			}
		})
	}
	for _, one := range all {
		todo <- one
	}
	close(todo)
	done.Wait()
}
