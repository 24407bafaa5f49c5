package pages_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/pages"
)

var languages = []struct{ header, want string }{
	{"", "zh"},
	{"zh", "zh"},
	{"en", "en"},
	{"zh-CN,zh;q=0.9,en;q=0.8", "zh"},
	{"en-US,en;q=0.9,zh-CN;q=0.8", "en"},
	{"zh-Hant-TW", "zh"},
	{"EN-gb", "en"},
	{"en;q=0.5,zh;q=0.7", "zh"},
	{"zh;q=0.5,en;q=0.7", "en"},
	{"zh;q=0.123,en;q=0.124", "en"},
	{"zh;q=0.1,en;q=0.09", "zh"},
	{"en,zh", "en"},
	{"zh,en", "zh"},
	{"en;q=1.000, zh;q=1", "en"},
	{"zh-TW;q=0.2,en;q=0.5,zh;q=0.9", "zh"},
	{"fr-FR,fr;q=0.9,en;q=0.8", "en"},
	{"fr-FR,de;q=0.9", "zh"},
	{"*", "zh"},
	{"en;q=0.5,*;q=0.8", "zh"},
	{"en;q=0.9,*;q=0.5", "en"},
	{"en;q=0", "zh"},
	{"en;q=0,zh;q=0", "zh"},
	{" \ten ; q=0.9 ,\tzh;q=0.8", "en"},
	{",,en,,", "en"},
	{"en;Q=0.9,zh;q=0.8", "en"},
	{"english", "zh"},
	{"zhx,en;q=0.1", "en"},
	// What is no quality counts as not wanted.
	{"en;q=2,zh;q=0.1", "zh"},
	{"en;q=1.001,zh;q=0.1", "zh"},
	{"en;q=0.9999,zh;q=0.1", "zh"},
	{"en;q=-1", "zh"},
	{"en;q=.9", "zh"},
	{"en;q=1e3", "zh"},
	{"en;q=", "zh"},
	{"en;q", "zh"},
	{"en;x=1", "zh"},
	{"en;q=0.９", "zh"},
	{"en;q=0.5;q=1", "zh"},
	{"en\x00", "zh"},
	{"\xff\xfe", "zh"},
	{"ｅｎ", "zh"},
	// Long ones are read as far as the last whole range.
	{"en," + strings.Repeat("x,", 1<<20), "en"},
	{strings.Repeat("x,", 1<<20) + "en", "zh"},
	{strings.Repeat("x,", 509) + "zh;q=0.2,en;q=0.1", "zh"},
	{"zh;q=0.5," + strings.Repeat("x", 1012) + ",en;q=0.1", "zh"}, // the bound is right after "en"
	{strings.Repeat("e", 1<<20), "zh"},
	{"en;q=0." + strings.Repeat("9", 1<<20), "zh"},
}

func TestLanguage(t *testing.T) {
	for _, tc := range languages {
		assert.Equal(t, tc.want, pages.Language(tc.header), "%.80q", tc.header)
	}
}

func FuzzLanguage(f *testing.F) {
	for _, tc := range languages {
		if len(tc.header) < 2048 {
			f.Add(tc.header)
		}
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := pages.Language(header)
		if got != "zh" && got != "en" {
			t.Fatalf("%q", got)
		}
		upper := []byte(header)
		for i, c := range upper {
			if 'a' <= c && c <= 'z' {
				upper[i] = c - 'a' + 'A'
			}
		}
		if pages.Language(string(upper)) != got {
			t.Error("case matters")
		}
		if len(header) < 1000 && pages.Language("de, "+header) != got {
			t.Error("a language that is not ours matters")
		}
		if len(header) > 1024 && pages.Language(header[:1024]+",en,zh") != got {
			t.Error("what is beyond the bound matters")
		}
	})
}

func BenchmarkLanguage(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		pages.Language("zh-CN,zh;q=0.9,en-US;q=0.8,en;q=0.7")
	}
}
