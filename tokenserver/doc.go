// Package tokenserver lets one process fetch the access tokens of an
// organisation and hand them to services that never see an app's secret.
//
// The server is an [http.Handler] in the process that has the secret:
//
//	srv, err := tokenserver.New(tokenserver.Config{
//		Apps:    map[string]wecom.TokenSource{"portal": client}, // a *wecom.Client is one
//		Clients: []tokenserver.Client{{Name: "billing", KeySHA256: "9f86d0…", Apps: []string{"portal"}}},
//	})
//	mux.Handle("/token", srv)
//
// A service asks it by a [Source], which keeps the token in memory until
// shortly before its end:
//
//	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: "https://tokens.internal/token", App: "portal", Key: key})
//	client, err := wecom.NewClient(wecom.Options{CorpID: corpID, TokenSource: src})
//
// [GenerateKey] makes a client's key, and the hash of it that the server keeps.
//
// The server SHOULD be reachable for the services only, and MUST be reached by https unless
// both are on one machine: whoever has a token acts as the app. It should have
// read time-outs, as every [http.Server].
//
// # Protocol
//
// A client in another language sends
//
//	POST /token
//	Authorization: Bearer <key>
//	Content-Type: application/json
//
//	{"app": "portal"}
//
// and gets {"access_token": "…", "expires_in": 7012}, in seconds from now, not
// to be kept longer than that. If WeCom then refuses the token (errcode 40014 or 42001), the
// client asks again and adds "rejected_sha256", the SHA-256 of the refused token in lower-case
// hex. An error is {"error": "<code>", "message": "…"}:
//
//	400  query_not_allowed       a key or token in a URL ends up in logs
//	400  bad_request             the body is no such object
//	401  unauthorized            no key, or an unknown one
//	403  app_not_allowed         there is no such app, or not for this client
//	405  method_not_allowed
//	413  too_large               the body has more than 4096 bytes
//	415  unsupported_media_type
//	503  unavailable             there is no token at the moment; see Retry-After
package tokenserver
