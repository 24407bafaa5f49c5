package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Names stand left of the bars, their end fixed: one that needs more room than there is loses its beginning.
func TestChartHasRoomForNames(t *testing.T) {
	const widest = 9 // pixels of a character in DejaVu Sans, the widest of the usual system-ui fonts
	for _, name := range []string{"wecom", strings.Repeat("long name ", 5)} {
		drawn := chart([]row{{peer: peer{name: "x"}, ns: 1}, {peer: peer{name: name}, ns: 2}})
		m := regexp.MustCompile(`<text x="(\d+)" y="\d+" text-anchor="end">` + name).FindSubmatch(drawn)
		if m == nil {
			t.Fatalf("%q is not in the chart", name)
		}
		if end, _ := strconv.Atoi(string(m[1])); end < widest*utf8.RuneCountInString(name) {
			t.Errorf("%q ends at %d", name, end)
		}
	}
}
