package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"unicode/utf8"
)

// chart draws the signed-in table as bars. The scale is linear: nobody has to know what a logarithm
// does to a comparison.
func chart(rows []row) []byte {
	const (
		margin, gap = 14, 12
		letter      = 9 // room for one, whatever font system-ui is
		bars, right = 320, 70
		step, bar   = 34, 20
		top         = 56
	)
	longest, name := 0.0, 0
	for _, r := range rows {
		longest, name = math.Max(longest, r.ns), max(name, utf8.RuneCountInString(r.name))
	}
	left := margin + letter*name + gap
	width := left + bars + right
	var b bytes.Buffer
	height := top + step*len(rows) + 14
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Time of a signed-in request">`+"\n", width, height, width, height)
	b.WriteString(`<style>text{font:14px system-ui,"Noto Sans CJK SC",sans-serif;fill:#1f2933}.t{font-weight:600}.d{fill:#57606a}.p{fill:#fff}.b{fill:#9fb3c8}.w{fill:#1f7a4d}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.d{fill:#9aa5b1}.p{fill:#0d1117}.w{fill:#3fb97f}}</style>` + "\n")
	fmt.Fprintf(&b, `<rect class="p" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="t" x="14" y="28">Signed-in request · 已登录的请求</text><text class="d" x="%d" y="28" text-anchor="end">µs, less is better · 越短越好</text>`+"\n", width-margin)
	for i, r := range rows {
		y := top + step*i
		w := math.Max(2, bars*r.ns/longest)
		class := "b"
		if r.name == "wecom" {
			class = "w"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" rx="3" class="%s"/><text x="%.1f" y="%d">%.2f</text>`+"\n",
			left-gap, y+bar-5, html.EscapeString(r.name), left, y, w, bar, class, float64(left)+w+8, y+bar-5, r.ns/1000)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
