// Package vectors holds what the tests of redirects have in common: hostile and ordinary return
// targets. Only tests import it.
package vectors

import "strings"

const evil = "evil.example"

// Redirects returns more than 2,000 different strings that lead, or might lead, away from the
// origin when a program that was not careful takes them for a path of its own. Every control
// character of ASCII occurs. The order is always the same.
func Redirects() []string {
	var all collection
	all.words()
	all.dotSegments()
	all.authorities()
	all.schemes()
	all.controls()
	all.injections()
	return all.list
}

type collection struct {
	list []string
	seen map[string]bool
}

func (c *collection) add(s string) {
	if c.seen == nil {
		c.seen = make(map[string]bool)
	}
	if !c.seen[s] {
		c.seen[s] = true
		c.list = append(c.list, s)
	}
}

// words puts every short word made of what may pass for a slash, of what browsers strip and of what
// servers clean in front of a host.
func (c *collection) words() {
	syllables := []string{
		"/", `\`, ".", "..", "%2f", "%5C", "%2e", "%09", "%0a", "%00", "%252f", "\t", "\n", "\r", " ", "\x00",
		"\u2044", // fraction slash
		"\u2215", // division slash
		"\uff0f", // fullwidth slash
		"\uff3c", // fullwidth backslash
		"\u3002", // ideographic full stop
		"\u200b", // zero width space
		";", "@", "?", "#",
	}
	for _, a := range syllables {
		for _, b := range syllables {
			c.add(a + b + evil)
			c.add("/" + a + b + evil)
		}
	}
	few := []string{"/", `\`, ".", "..", "%2f", "%5c", "\t", "\n"}
	for _, a := range few {
		for _, b := range few {
			for _, d := range few {
				c.add("/" + a + b + d + evil)
				c.add(a + b + d + "/" + evil + "/x?y=z")
			}
		}
	}
}

// dotSegments hides an empty segment behind segments that go away.
func (c *collection) dotSegments() {
	for _, dot := range []string{".", "..", "%2e", "%2E.", ".%2e", "%2e%2e", "...", ".;", "..;", "%252e%252e"} {
		for _, before := range []string{"/", "/a/", "/a/b/../", "/a%2f", "//", `/a\`} {
			for _, after := range []string{"//", `/\`, "/%2f", "/%5c", "%2f/", "%2f%2f", `\/`, "///", "/./", "/../", "/%2e//"} {
				c.add(before + dot + after + evil)
			}
		}
	}
}

// authorities are hosts in odd dress.
func (c *collection) authorities() {
	leads := []string{"//", `/\`, `\/`, `\\`, "///", "////", "/\t/", "\t//", "/\n/", " //", "/.//", "/%2f", "//%2f", "https://", "https:", "https:/", `https:\\`, "HTTPS://", "//\u00a0"}
	hosts := []string{
		evil, evil + ":443", evil + ":0", evil + ":99999", "user@" + evil, "user:pass@" + evil, "@" + evil, ":@" + evil,
		"app.example.com@" + evil, "app.example.com:443@" + evil, `app.example.com\@` + evil, "app.example.com%40" + evil, "app.example.com@@" + evil,
		"app.example.com." + evil, "app.example.com#@" + evil, "app.example.com?@" + evil, "app.example.com;@" + evil, "app.example.com%00." + evil,
		"[::1]", "[::ffff:7f00:1]:80", "[::1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1",
		"evil\u3002example", "evil\uff0eexample", "evil%E3%80%82example", "\uff45vil.example", "evil\u00ad.example", "xn--vil-fma.example",
		"evil%2eexample", evil + "%2f..", evil + "%23", evil + ".", ".", "..", "", "%", "%zz", "a b", "<>", "|", "^",
	}
	for _, lead := range leads {
		for _, host := range hosts {
			c.add(lead + host)
		}
		c.add(lead + evil + "/path?query#fragment")
		c.add(lead + evil + "?return_to=/")
	}
}

// schemes are absolute URLs and what passes for one.
func (c *collection) schemes() {
	names := []string{"http", "https", "ftp", "ws", "wss", "file", "javascript", "data", "vbscript", "blob", "mailto", "weixin", "wxwork", "intent", "view-source", "x"}
	for _, name := range names {
		for _, colon := range []string{":", "://", ":/", `:\\`, `:/\`, ":///", "%3a//", ":\t//", "\t://"} {
			c.add(name + colon + evil)
			c.add("/" + name + colon + evil)
		}
		c.add(strings.ToUpper(name) + "://" + evil)
		c.add(name[:1] + "\n" + name[1:] + "://" + evil)
	}
	for _, s := range []string{
		"javascript:alert(1)", "java\tscript:alert(1)", " javascript:alert(1)", "\x01javascript:alert(1)", "javascript://%0aalert(1)",
		"data:text/html,<script>alert(1)</script>", "data:text/html;base64,PHNjcmlwdD4=", "/javascript:alert(1)", "//javascript:alert(1)",
		"", ".", "..", "*", "?", "#", "?//" + evil, "#//" + evil, "x", "x/y", "./", "../", evil, evil + "/", "@" + evil, ":80", "::", "https", "https:",
	} {
		c.add(s)
	}
}

// controls puts each control byte, space and DEL where a browser or a server might strip it.
func (c *collection) controls() {
	bytes := []string{"\x7f", "\xff", "\xc0\xaf", "\xc0\x2f", "\xe0\x80\xaf", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff", "\u200e", "\u202e"}
	for b := range byte(' ' + 1) {
		bytes = append(bytes, string(rune(b)))
	}
	for _, b := range bytes {
		c.add(b + "//" + evil)
		c.add("/" + b + "/" + evil)
		c.add("/" + b + `\` + evil)
		c.add("//" + b + evil)
		c.add("/" + evil + b)
		c.add("/a?b=" + b + "//" + evil)
		c.add("/." + b + "//" + evil)
	}
	for b := range 256 {
		const digits = "0123456789abcdef"
		c.add("/%" + string(digits[b>>4]) + string(digits[b&15]) + "/" + evil)
	}
}

// injections try to end the header or the page that the target stands in.
func (c *collection) injections() {
	for _, end := range []string{"\r\n", "\n", "\r", "%0d%0a", "%0a", "%0d", "\r\n\t", "\r\n ", "\u560d\u560a", "%e5%98%8d%e5%98%8a", "\u2028", "\x00\r\n", "%25%30%61", "%%0a0a", "\\r\\n"} {
		c.add("/" + end + "Location: https://" + evil)
		c.add("/x" + end + "Location:%20https://" + evil)
		c.add("/x?y=z" + end + "Set-Cookie: session=" + evil)
		c.add("/x" + end + end + "<script>alert(1)</script>")
		c.add("//" + evil + end + "/x")
	}
	for _, s := range []string{`"><script>alert(1)</script>`, "'onmouseover='alert(1)", "<base href=//" + evil + ">", "{{7*7}}", "${jndi:ldap://" + evil + "}", "`" + evil + "`"} {
		c.add("/" + s)
		c.add("//" + s)
		c.add("/?q=" + s)
	}
	c.add("/" + strings.Repeat("../", 500) + "/" + evil)
	c.add(strings.Repeat("/", 4000) + evil)
	c.add("/" + strings.Repeat("%2f", 1500) + evil)
	c.add("/" + strings.Repeat("a/../", 300) + "/" + evil)
}

// DeepLinks returns ordinary targets of which each must survive a sign-in byte for byte.
func DeepLinks() []string {
	return []string{
		"/",
		"/?",
		"/#",
		"/?#",
		"/a",
		"/a/",
		"/a?",
		"/a#",
		"/a/b/c.html",
		"/a//b",
		"/a///b//",
		"/a/%2F/b",
		"/a%2Fb",
		"/a%2fb/c",
		"/a%5Cb",
		"/files/C:%5CUsers%5Cx",
		"/a/./b",
		"/a/../b",
		"/.well-known/x",
		"/...",
		"/..x",
		"/-/~user/_x",
		"/a;jsessionid=1?b",
		"/a;v=1/b;v=2",
		"/@zhangsan",
		"/users/zhangsan@corp.example",
		"/a:b",
		"/12:30",
		"/a=b&c",
		"/a+b",
		"/a%20b",
		"/100%25",
		"/a%2520b",
		"/it's(fine)!*$,",
		"/[x]",
		"/{id}|x^y`z",
		`/"quoted"`,
		"/<b>",
		"/报表/二〇二六年",
		"/%E6%8A%A5%E8%A1%A8",
		"/%e6%8a%a5%e8%a1%a8?名=值",
		"/%B1%A8%B1%ED",
		"/日本語/한국어/ไทย/русский/العربية",
		"/🙂",
		"/reports?next=https://x.example/y//z",
		"/reports?next=//x.example/y",
		"/reports?next=%2F%2Fx.example",
		"/q?x=a%20b+c&y=",
		"/q?x=1&x=2&x=1",
		"/q?&&a&=b&",
		"/q?a=b?c=d?",
		"/q?a;b;c",
		"/q?a=100%",
		"/q?a=%zz&b=%",
		`/q?path=C:\Users\x`,
		`/q?x=\\server\share`,
		"/q?x={\"a\":[1,2]}",
		"/q?x='1'|2|`3`",
		"/q?x=<tag>",
		"/q?text=a%0D%0Ab%00",
		"/q?x=%5C%5C&y=%2F%2F",
		"/q?user@host:80",
		"/q?redirect=javascript:void(0)",
		"/q?x=../../y",
		"/q?x=报表&y=%E6%8A%A5",
		"/q?a[]=1&a[]=2",
		"/q?x=1#",
		"/q?x=1#a",
		"/q?x=1#/route//deep?x=y",
		`/q#\\x`,
		"/#/hash/route?x=1",
		"/#!/old",
		"/a#b#c",
		"/a?b#c?d#e",
		"/a#名",
		"/a#%zz",
		"/app?code=1&state=2",
		"/login?return_to=/login?return_to=/",
	}
}
