// Package wecomtest is a fake WeCom (企业微信) for tests and demonstrations: the server API, the
// two sign-in pages, the login panel, a demo corp, and a scripted browser that goes through all of
// it in one process, under real https names and without a socket.
//
// # Testing an application
//
// Three lines sign somebody in and look at a page:
//
//	fake := wecomtest.New()
//	app := newApp(fake.Options("https://app.example.com/wecom/callback"))
//	res := fake.Browser("https://app.example.com", app).SignInAs("zhangsan").Get("/reports")
//
// where newApp is the application's own constructor, which takes [wecom.Options]. [New] lists the
// people who can sign in, among them those that an application has to turn away: a disabled member,
// one outside the app's visible range, a member of a linked corp, and people who are not members.
//
// The [Browser] behaves as browsers do where sign-on depends on it. It keeps cookies by the rules
// of SameSite, Secure, Domain, Path and the prefixes __Host- and __Secure-; it sends the headers by
// which an application tells a page from a script's request; it resolves redirects by the WHATWG's
// rules, not by those of net/url. It can be WeCom's own web-view ([Browser.InApp]), block cookies,
// open tabs, come from another site ([Browser.From]), and hold a request back ([Browser.StopAt]) so
// that it can be replayed or given to somebody else's browser.
//
// # Testing a client of the API
//
// [Fake.Transport] and [Fake.Client] answer at WeCom's production host names, so the client under
// test needs no configuration. [Fake.Start] serves the same on a loopback port for programs in any
// language; its root page shows how to configure them, who is signed in where and which calls came
// in, and has buttons for faults and for people who leave. [Server.Options] configures an
// application for a real browser. [Fake.SetContacts] reads departments, members and tags from JSON,
// spelled as WeCom's API answers. [Fake.IssueCode] makes a code without a browser. The program
// cmd/fake-wecom is such a server.
//
// The answers are WeCom's. Application errors have status 200 and an errcode; errmsg contains a
// hint, the caller's address and a link. A code works once, for five minutes and for one app. An
// access token is returned again while it is valid, and can be invalidated early
// ([Fake.KillTokens]). A user_ticket comes only from the in-app page with snsapi_privateinfo and an
// agent id. Untrusted domains, untrusted IPs and members outside the visible range are refused
// where WeCom refuses them and nowhere else: a member outside the visible range can sign in.
//
// Where WeCom's documents contradict each other or are silent, [Settings] and the fields of [App]
// and [Member] choose, and their comments say so.
//
// # Weixin
//
// The same Fake is a Weixin (微信), for package weixin and other clients: a website app
// ([Fake.WeixinWebsite]) with the page connect/qrconnect, an official account
// ([Fake.WeixinAccount]) with connect/oauth2/authorize, the calls below /sns/, and both token
// endpoints with their rules: a token from cgi-bin/token invalidates the previous one, and one from
// cgi-bin/stable_token is the same for every caller. Success has no errcode there.
//
//	app := fake.WeixinWebsite()
//	site, err := weixin.NewWebsite(weixin.Options{AppID: app.AppID, Secret: wecom.NewSecret(app.Secret), Transport: fake.Transport()})
//
// [Fake.Start] serves it under the same address as WeCom's.
//
// # Faults and counts
//
// [Fake.Script] and [Fake.Always] make an endpoint or page misbehave: any errcode, body or status, a
// delay, a connection that dies before or after the request was processed, an endless or a trickling
// answer. Waiting uses only timers and the request's context, so tests in a testing/synctest bubble
// take no time. [Fake.Calls], [Fake.TotalCalls], [Fake.Sent] and [Fake.Codes] report what happened.
//
// # What it is not
//
// It signs in anybody who presses a button, so it listens on loopback only. It does not imitate
// messages, contacts beyond reading them, service providers or third-party apps; [Fake.Handle] adds
// the endpoints that a test needs besides. Without it, a call of an endpoint that the fake does not
// have answers 48002 (Weixin: 40066), and slog's default logger gets its path.
package wecomtest
