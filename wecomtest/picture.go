package wecomtest

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// The pictures of the demo corp's members: a circle with a letter. A Server has them at
// its own address, so that they can be seen without a network.
const (
	pictureHost = "wework.qpic.cn"
	picturePath = "/wwpic/fake_"
)

func isPicture(path string) bool { return strings.HasPrefix(path, picturePath) }

func (f *Fake) picture(r *http.Request) *answer {
	who, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, picturePath), "/")
	m, ok := f.Member(who)
	if !ok {
		return textAnswer(http.StatusNotFound, "404")
	}
	letters := []rune(m.Name + m.UserID)
	hue := 0
	for _, c := range m.UserID {
		hue = (hue*31 + int(c)) % 360
	}
	a := newAnswer(http.StatusOK, "image/svg+xml", fmt.Appendf(nil,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="hsl(%d 45%% 38%%)"/>`+
			`<text x="32" y="42" font-size="28" text-anchor="middle" fill="#fff" font-family="sans-serif">%s</text></svg>`,
		hue, html.EscapeString(string(letters[0]))))
	a.header.Set("X-Content-Type-Options", "nosniff")
	a.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	return a
}
