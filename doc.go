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
// # How a request is handled
//
// For a browser with a session, the handler runs with the [Identity] in the
// request's context and with the ResponseWriter that the server made; that costs
// one look-up. A browser without a session that opens a page is sent to WeCom, to
// the in-app page (网页授权) or the web-login page (企业微信授权登录) by its User-Agent,
// and comes back to the page that it asked for, byte for byte. All other requests,
// such as those of scripts, are answered with 401 and JSON:
//
//	{"error":"login_required","message":"…","login_url":"/wecom/login"}
//
// A form that is posted, and a page in a frame, get the same 401 as a page with a button.
//
// # Built-in routes
//
// They lie in the folder of Options.CallbackURL and match by their exact path:
//
//	GET    …/callback    where WeCom sends the browser back (the last element is up to you)
//	GET    …/login       starts a sign-in; ?return_to=/path says where it ends
//	POST   …/logout      ends the session on the server, leads to …/signed-out;
//	                     ?everywhere=1: all sessions of the person
//	GET    …/signed-out  a public page
//	POST   …/attempt     for scripts: a state and the addresses of both sign-in pages
//	POST   …/session     for scripts: {"code","state"} for an identity and a session
//	GET    …/session     for scripts: who is signed in, or 401; ?optional=1: or 200 and null
//	DELETE …/session     for scripts: logout; ?everywhere=1 likewise
//
// # Rules for the program around it
//
//   - Every member of the corp can sign in, including those outside the app's
//     visible range (应用可见范围). Programs that are not for everybody MUST say who
//     may come in, in Options.Authorize or with [Middleware.Require].
//   - Public pages MUST be mounted outside [Middleware.Handler], or under
//     [Middleware.Optional]: there is no list of paths to skip.
//   - Programs MUST NOT take the person from a header, nor from a context value of
//     their own that a client could set: [FromContext] is the only source.
//   - Handlers that change something MUST be protected against requests from other
//     sites, for example by [http.CrossOriginProtection]: the session's cookie is
//     SameSite=Lax, which does not cover every case. The built-in routes are protected.
//   - Middlewares that buffer or compress SHOULD wrap Handler. An scs session given
//     as Options.Sessions MAY be loaded outside; if it is not, Handler loads it.
//   - Proxies in front MUST NOT cache what Handler answers, and SHOULD NOT log the
//     callback's query: it holds a code, which is useless soon but not at once.
//   - Two Middlewares in one program MUST have different callback folders.
package wecom
