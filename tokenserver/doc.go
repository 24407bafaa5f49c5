// Package tokenserver lets one process fetch the access tokens of an organisation and hand
// them to services that never see an app's secret.
//
// The server is an [http.Handler] in the process that has the secret:
//
//	srv, err := tokenserver.New(tokenserver.Config{
//		Apps:    map[string]wecom.TokenSource{"portal": client}, // a *wecom.Client is one
//		Clients: []tokenserver.Client{{Name: "billing", KeySHA256: "9f86d0…", Apps: []string{"portal"}}},
//	})
//	mux.Handle("/token", srv)
//
// A service asks it through a [Source], which caches the token in memory until shortly before it
// expires:
//
//	src, err := tokenserver.NewSource(tokenserver.SourceConfig{URL: "https://tokens.internal/token", App: "portal", Key: key})
//	client, err := wecom.NewClient(wecom.Options{CorpID: corpID, TokenSource: src})
//
// [GenerateKey] makes a client's key and its hash, which the server keeps.
//
// Only the services SHOULD be able to reach the server, and they MUST use https unless both are
// on one machine: a token lets its holder act as the app. Like every [http.Server], it should
// have read timeouts.
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
// and gets {"access_token": "…", "expires_in": 7012}. The token must not be used after that many
// seconds. If WeCom refuses it earlier (errcode 40014 or 42001), the client asks again and adds
// "rejected_sha256", the SHA-256 of the refused token in lower-case hex. An error is
// {"error": "<code>", "message": "…"}:
//
//	400  query_not_allowed       a key or token in a URL ends up in logs
//	400  bad_request             the body is not such an object
//	401  unauthorized            no key, or an unknown one
//	403  app_not_allowed         there is no such app, or not for this client
//	405  method_not_allowed
//	413  too_large               the body has more than 4096 bytes
//	415  unsupported_media_type
//	503  unavailable             there is no token at the moment; see Retry-After
package tokenserver
