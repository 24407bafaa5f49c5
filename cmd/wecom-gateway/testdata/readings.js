// A program that serves /admin/secret.txt, reading paths as X-Style says: as programs do that are about.
const http = require('http'), path = require('path'), url = require('url')

const bare = u => u.replace(/^[a-z]+:\/\/[^/]*/i, '').split('?')[0]
const decoded = u => decodeURIComponent(bare(u))
const lenient = u => bare(u).replace(/%([0-9a-f]{2})/gi, (_, h) => String.fromCharCode(parseInt(h, 16)))
const styles = [
	u => new URL(u, 'http://x').pathname, // WHATWG: dots, %2e and backslashes
	u => decodeURIComponent(new URL(u, 'http://x').pathname),
	u => url.parse(u).pathname,
	u => decoded(u),
	u => decodeURIComponent(decoded(u)),
	u => decodeURIComponent(decodeURIComponent(decoded(u))),
	u => decodeURIComponent(bare(u).replace(/;[^/]*/g, '')), // Tomcat
	u => decoded(u).replace(/;[^/]*/g, ''),
	u => decoded(u).replaceAll('\\', '/').replace(/;[^/]*/g, ''),
	u => decoded(u).replaceAll('\\', '/').toLowerCase().replace(/[. ]+(?=\/|$)/g, ''), // Windows
	u => path.win32.normalize(decoded(u)).replaceAll('\\', '/').toLowerCase(),
	u => decoded(u).normalize('NFKC').toLowerCase(),
	u => decoded(u).split('\0')[0],
	u => decoded(u).replace(/[\0-\x20\x7f]/g, ''),
	u => decoded(u).split(/[?#]/)[0],
	u => decodeURIComponent(decoded(u)).split(/[?#]/)[0],
	u => lenient(u).replace(/[\xc0\xc1]([\x80-\xbf])/g, (s, c) => String.fromCharCode((s.charCodeAt(0) & 3) << 6 | c.charCodeAt(0) & 63)) // overlong UTF-8
		.replace(/\xe0\x80([\x80-\xbf])/g, (_, c) => String.fromCharCode(c.charCodeAt(0) & 63)),
	(u, h) => h['x-original-url'] || h['x-rewrite-url'] || h['x-original-uri'] || h['x_original_url'] || bare(u),
]

http.createServer((req, res) => {
	let p = ''
	try {
		p = path.posix.normalize(styles[req.headers['x-style'] || 0](req.url, req.headers)).replace(/\/+/g, '/')
	} catch { }
	res.end(p.startsWith('/admin/secret.txt') ? 'SECRET' + '-CANARY' : 'nothing')
}).listen(process.argv[2], '127.0.0.1', () => console.log(styles.length))
