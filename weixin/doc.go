// Package weixin signs people in with Weixin (微信) instead of WeCom: customers
// and the public instead of staff. It has two providers for
// [github.com/wecomauth/wecom.Options]:
//
//   - [Website], for websites registered at open.weixin.qq.com (网站应用微信登录):
//     the browser shows a QR code, and the person scans it.
//   - [OfficialAccount], for pages that are opened inside Weixin (公众号网页授权).
//
// A sign-in takes four lines:
//
//	site, err := weixin.NewWebsite(weixin.Options{AppID: "wx…", Secret: secret})
//	customers, err := wecom.New(wecom.Options{
//		Provider: site, Secret: secret, CallbackURL: "https://shop.example.com/weixin/callback",
//	})
//	http.Handle("/", customers.Handler(shop))
//
// Everything else works as with WeCom: attempts and state, sessions, failures, authorizers. A
// person has an openid, which identifies them in this one app, and perhaps a unionid, which
// identifies them in all apps of one Open Platform account; there is never a user id. Match people
// across a website and an official account by UnionID.
//
// # Staff and customers on one site
//
// One middleware has one provider, so a customer never gets past
// staff.Handler, whatever their openid. Pages for both are behind wecom.AnyOf:
//
//	http.Handle("/admin/", staff.Handler(admin))
//	http.Handle("/", wecom.AnyOf(staff, customers)(shop))
//
// # Tokens
//
// There are two kinds. A person's own tokens ([UserToken]) come from a sign-in and never leave the
// server; Options.OnToken passes them to the program. An official account's token is like a WeCom
// app's: [OfficialAccount.Client] keeps it and calls any API with it.
package weixin
