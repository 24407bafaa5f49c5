// Package wecom signs people in with WeCom (企业微信, Enterprise WeChat) in front
// of any [http.Handler]: every page behind it knows which member of the company
// is looking at it.
//
//	auth, err := wecom.New(wecom.Options{
//		CorpID:      "ww0123456789abcdef",
//		AgentID:     "1000002",
//		Secret:      wecom.NewSecret(os.Getenv("WECOM_SECRET")),
//		CallbackURL: "https://app.example.com/wecom/callback",
//	})
//	…
//	http.ListenAndServe(addr, auth.Handler(mux))
//	…
//	id, ok := wecom.FromContext(r.Context())
//
// # The way of a request
//
// A browser with a session costs one look-up; the handler runs with the
// [Identity] in the request's context and with the ResponseWriter that the
// server made. A browser without one that opens a page is sent to WeCom, to the
// in-app page (网页授权) or the web-login page (企业微信授权登录) by its User-Agent, and
// comes back to the page that it asked for, byte for byte. Everything else, a
// script's request above all, is answered with 401 and JSON:
//
//	{"error":"login_required","message":"…","login_url":"/wecom/login"}
//
// # Own routes
//
// They lie in the folder of Options.CallbackURL and match by their exact path:
//
//	GET    …/callback    where WeCom sends the browser back (named as you like)
//	GET    …/login       starts a sign-in; ?return_to=/path says where it ends
//	POST   …/logout      ends the session on the server, leads to …/signed-out
//	GET    …/signed-out  a public page
//	POST   …/attempt     for scripts: a state and the addresses of both sign-in pages
//	POST   …/session     for scripts: {"code","state"} for an identity and a session
//	GET    …/session     for scripts: who is signed in, or 401
//	DELETE …/session     for scripts: logout
//
// # Rules for what stands around it
//
//   - Whoever WeCom calls a member comes in, also one who is outside the app's
//     visible range (应用可见范围). Programs MUST say in Options.Authorize, or with
//     [Middleware.Require], who may do what, if not everybody may.
//   - Public pages MUST be mounted outside [Middleware.Handler], or under
//     [Middleware.Optional]: there is no list of paths to skip.
//   - Programs MUST NOT take the person from a header, nor from a context value of
//     their own that a client could set: [FromContext] is the only source.
//   - Handlers that change something MUST be protected against requests from
//     other sites, for example by [http.CrossOriginProtection]: the session's cookie is
//     SameSite=Lax, which does not cover every case. The own routes protect themselves.
//   - Middlewares that buffer or compress SHOULD stand outside Handler. An scs
//     session given as Options.Sessions MAY be loaded outside; if it is not, Handler loads it.
//   - Proxies in front MUST NOT cache what Handler answers, and SHOULD NOT log the
//     query of the callback's path: it holds a code, which is worthless soon but not at once.
//   - Two Middlewares in one program MUST have different callback folders.
package wecom
