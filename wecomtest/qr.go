package wecomtest

import (
	"crypto/sha256"
	"fmt"
	"html/template"
	"strings"
)

// fakeQR draws something that looks like a QR code and is none: finder patterns
// around noise made from seed, so that no scanner finds a meaning in it.
func fakeQR(seed string) template.HTML {
	const n = 29
	inFinder := func(x, y int) (inside, dark bool) {
		for _, c := range [][2]int{{0, 0}, {n - 7, 0}, {0, n - 7}} {
			i, j := x-c[0], y-c[1]
			if i < -1 || j < -1 || i > 7 || j > 7 {
				continue
			}
			ring := i == 0 || j == 0 || i == 6 || j == 6
			frame := i >= 0 && j >= 0 && i <= 6 && j <= 6
			core := i >= 2 && j >= 2 && i <= 4 && j <= 4
			return true, frame && ring || core
		}
		return false, false
	}
	var path strings.Builder
	noise := sha256.Sum256([]byte(seed))
	for y := range n {
		if y%8 == 0 && y > 0 {
			noise = sha256.Sum256(noise[:])
		}
		for x := range n {
			inside, dark := inFinder(x, y)
			if !inside {
				bit := (y%8)*n + x
				dark = noise[bit/8]>>(bit%8)&1 == 1
			}
			// The middle is left free for the word that says what this is.
			if !inside && x >= 6 && x <= 22 && y >= 12 && y <= 16 {
				dark = false
			}
			if dark {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	return template.HTML(fmt.Sprintf( // nothing in it comes from the request but noise
		`<svg class="qr" viewBox="-2 -2 %d %d" role="img" aria-label="模拟二维码 / not a real QR code" shape-rendering="crispEdges">`+
			`<rect x="-2" y="-2" width="%[1]d" height="%[2]d" fill="#fff"/><path d="%[3]s" fill="#1f2329"/>`+
			`<text x="14.5" y="15.6" font-size="3" text-anchor="middle" fill="#c2410c" font-weight="700" font-family="sans-serif">模拟 FAKE</text></svg>`,
		n+4, n+4, path.String()))
}
