// Package wecomtest is a fake WeCom (企业微信) for tests and demonstrations: the
// server API, the two sign-in pages, the login panel, a demo corp, and a scripted browser that
// walks through all of it in one process, under real https names and without a
// socket.
//
// # Testing an application
//
// Three lines sign somebody in and look at a page:
//
//	fake := wecomtest.New()
//	app := newApp(fake.Options("https://app.example.com/wecom/callback"))
//	res := fake.Browser("https://app.example.com", app).SignInAs("zhangsan").Get("/reports")
//
// where newApp is the application's own constructor, which takes
// [wecom.Options]. [New] lists who may sign in, among them those that an
// application has to turn away: a disabled member, one outside the app's visible
// range, a member of a linked corp, and people who are no members at all.
//
// The [Browser] behaves as browsers do where sign-on depends on it. It keeps cookies by the
// rules of SameSite, Secure, Domain, Path and the prefixes __Host- and
// __Secure-; it sends the headers by which an application tells a page from a script's
// request; it resolves redirects by the WHATWG's rules and not by those of net/url. It can be WeCom's
// own web-view ([Browser.InApp]), block cookies, open tabs, come from a
// stranger's site ([Browser.From]), and hold a request back ([Browser.StopAt]) so that it can be
// replayed or given to somebody else's browser.
//
// # Testing a client of the API
//
// [Fake.Transport] and [Fake.Client] answer at WeCom's production host names, so
// that nothing about the client under test has to be configured.
// [Fake.Start] serves the same on a loopback port for programs
// of any language; its root page shows what to point them at, and
// [Server.Options] is what an application takes that is tried in a real browser.
// [Fake.IssueCode] makes a code without a browser.
//
// The answers are WeCom's: application errors come with status 200 and an errcode; errmsg
// has a hint, the caller's address and a link in it; codes work once, for
// five minutes and for one app; access tokens are repeated while they live and can be killed
// early ([Fake.KillTokens]); a user_ticket comes from the in-app page with
// snsapi_privateinfo and an agent id and from nowhere else; untrusted domains, untrusted IPs and
// members outside the visible range are refused where WeCom refuses them, and
// only there: who is outside the visible range does sign in.
//
// Where WeCom's documents contradict each other or are silent, [Settings] and the fields of
// [App] and [Member] choose, and their comments say so.
//
// # Weixin
//
// The same Fake is a Weixin (微信), for package weixin and other clients: a website app
// ([Fake.WeixinWebsite]) with the page connect/qrconnect, an official account ([Fake.WeixinAccount])
// with connect/oauth2/authorize, the calls below /sns/, and both token endpoints
// with their rules: a token from cgi-bin/token kills the one before, one from
// cgi-bin/stable_token is the same for everybody. Success has no errcode there.
//
//	app := fake.WeixinWebsite()
//	site, err := weixin.NewWebsite(weixin.Options{AppID: app.AppID, Secret: wecom.NewSecret(app.Secret), Transport: fake.Transport()})
//
// [Fake.Start] serves it under the same address as WeCom's.
//
// # Faults and counts
//
// [Fake.Script] and [Fake.Always] make an endpoint or page misbehave: any errcode, any body or
// status, a delay, a connection that dies before or after the request was
// processed, an endless or a trickling answer. Waiting uses timers
// and the request's context alone, so that tests in a testing/synctest bubble take no time.
// [Fake.Calls], [Fake.TotalCalls], [Fake.Sent] and [Fake.Codes] tell what happened.
//
// # What it is not
//
// It lets everybody in who presses a button, and so it listens on loopback only. It does not
// imitate messages, contacts beyond reading them, service providers or third-party apps;
// [Fake.Handle] adds endpoints that a test needs besides. Without it, a call of one that the fake
// does not have answers 48002 (Weixin: 40066), and slog's default logger gets its path.
package wecomtest
