package pages

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
)

// A Panel is the sign-in page with WeCom's login panel in it. Its own script asks for an
// attempt, loads WeCom's script, and hands in the code that the panel yields; where any of that
// is blocked there is a link.
type Panel struct {
	// Lang is the language of the page: "en", or anything else for Chinese.
	Lang string
	// Attempt and Session are the paths of the routes for scripts.
	Attempt, Session string
	// Script is the URL of WeCom's script, which makes ww.createWWLoginPanel.
	Script string
	// ReturnTo is where the sign-in shall end. May be empty.
	ReturnTo string
	// Direct is the path that starts a sign-in on WeCom's own page.
	Direct string
	// Link is for a phone, which cannot scan its own screen: the page, an absolute
	// URL, is to be opened in WeCom, and there is no panel. Empty elsewhere.
	Link string
}

var (
	//go:embed panel.html
	panelHTML string
	//go:embed panel.css
	panelCSS string
	//go:embed panel.js
	panelJS string

	panelStyle = compact(pageCSS + panelCSS)
	panel      = template.Must(template.New("panel").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(panelStyle) },
		"script": func() template.JS { return template.JS(panelJS) },
	}).Parse(compact(panelHTML)))
)

type panelWording struct {
	HTMLLang, ReferenceLabel                                         string
	Title, Message, Loading, Blocked, Busy, Failed, NoScript, Button string
	Frame                                                            string // its title
	Open, How, Copy, Copied, Select, Scan                            string // on a phone
}

var panelTexts = map[bool]panelWording{
	false: {
		HTMLLang: "zh-CN", ReferenceLabel: "参考编号",
		Title:    "登录",
		Message:  "请用手机上的企业微信扫码，或在电脑上的企业微信中确认登录。",
		Loading:  "正在加载登录面板……",
		Blocked:  "如果没有看到登录面板，请点击下方按钮登录。",
		Busy:     "正在登录……",
		Failed:   "登录没有成功，请点击下方按钮重新登录。",
		NoScript: "浏览器没有启用 JavaScript，请点击下方按钮登录。",
		Button:   "前往企业微信登录页面",
		Frame:    "企业微信扫码登录",
		Open:     "请在企业微信中打开这个链接，即可直接登录。",
		How:      "复制链接，在企业微信里发给自己或“文件传输助手”，再点开它。",
		Copy:     "复制链接",
		Copied:   "链接已复制",
		Select:   "没能自动复制，请长按链接手动复制。",
		Scan:     "用另一台设备扫码登录",
	},
	true: {
		HTMLLang: "en", ReferenceLabel: "Reference",
		Title:    "Sign in",
		Message:  "Scan the code with WeCom on your phone, or confirm in WeCom on this computer.",
		Loading:  "Loading the sign-in panel…",
		Blocked:  "If you do not see the sign-in panel, please use the button below.",
		Busy:     "Signing you in…",
		Failed:   "Sign-in did not succeed. Please use the button below to sign in again.",
		NoScript: "JavaScript is turned off in this browser. Please use the button below to sign in.",
		Button:   "Sign in on WeCom's page",
		Frame:    "Sign in with WeCom",
		Open:     "Open this link in WeCom and you are signed in.",
		How:      "Copy the link, send it to yourself in WeCom, and open it there.",
		Copy:     "Copy the link",
		Copied:   "The link is copied",
		Select:   "The link could not be copied. Please press and hold it to copy it.",
		Scan:     "Scan a code from another device",
	},
}

// Render returns the page as a complete HTML document in UTF-8. Every field is
// text, never markup.
func (p Panel) Render() []byte {
	shown := struct {
		Panel
		panelWording
	}{p, panelTexts[p.Lang == "en"]}
	shown.ReturnTo, shown.Link = printable(p.ReturnTo), printable(p.Link)
	var b bytes.Buffer
	if err := panel.Execute(&b, shown); err != nil {
		// Only a mistake in panel.html gets here: the data are strings and the
		// writer is memory.
		panic("pages: " + err.Error())
	}
	return b.Bytes()
}

// PanelCSP returns the Content-Security-Policy for every document of [Panel.Render]: the style and
// the script that are in it, WeCom's script (an absolute URL without query), frames from WeCom's
// origin, and requests to the own origin; nothing else, and nobody may frame the page itself.
func PanelCSP(script, frames string) string {
	return "default-src 'none'; style-src " + hashOf(panelStyle) + "; script-src " + hashOf(panelJS) + " " + script +
		"; connect-src 'self'; frame-src " + frames + "; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
}

func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
