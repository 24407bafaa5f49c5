// Package issuer makes a program with a [wecom.Middleware] the OpenID Connect
// issuer of the company: Grafana, GitLab, Argo CD and everything else that speaks
// OpenID Connect sign their users in with WeCom, through one app and one trusted domain.
//
//	iss, err := issuer.New(issuer.Options{
//		Middleware: auth,
//		URL:        "https://sso.example.com/wecom", // CallbackURL without its last element
//		Key:        wecom.NewSecret(os.Getenv("ISSUER_KEY")),
//		Store:      store, // the middleware's SessionStore
//		Clients:    clients,
//	})
//	…
//	http.ListenAndServe(addr, iss.Handler(auth.Handler(mux)))
//
// It serves the authorization code flow with PKCE and has no users: a code and what
// is given for it stand for a session of the middleware. Nobody is asked for
// consent, since the clients are the company's own. There is no implicit
// and no hybrid flow, and no dynamic registration.
//
// # Neighbours
//
// A proxy in front MUST pass on the whole URL, up to 8 KiB, and MUST NOT log queries
// or the bodies of …/token. Replicas MUST share Store and Key. Store SHOULD
// be a [Taker]. Whoever can write to Store can sign in as anybody, as with the middleware.
//
// # Why not a library for all of it
//
// zitadel/oidc v3.45.0 adds 4.5 MB and 21 modules to a program and asks for a storage of
// 22 methods that knows refresh tokens, JWT profiles and introspection, to which an issuer without
// users has no answer; it reads and deletes a code in two calls. ory/fosite v0.49.0 adds 10.7 MB and 53 modules and
// asks for a storage per kind of token; its maintainers advise against it for OpenID Connect alone (ory/fosite#404).
// Neither sends the iss parameter of RFC 9207 nor makes logout tokens. What is left when users, consent
// and registration are not there is small, and it is what this package is: the rules of one flow. Keys, signatures
// and their formats, where mistakes are made, are go-jose's: 0.2 MB, one module.
package issuer
