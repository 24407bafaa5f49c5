// Package events receives the events that WeCom posts to an app (接收消息与事件)
// and ends the sessions of people who left, were disabled, or are no longer in
// the app's visible range (可见范围).
//
//	receiver, err := events.New(events.Options{
//		Token:          wecom.NewSecret(os.Getenv("WECOM_EVENT_TOKEN")),
//		EncodingAESKey: wecom.NewSecret(os.Getenv("WECOM_EVENT_AES_KEY")),
//		Middlewares:    []*wecom.Middleware{auth},
//	})
//	…
//	mux.Handle("/wecom/events", receiver) // beside auth.Handler, not behind it
//	mux.Handle("/", auth.Handler(pages))
//
// Token, EncodingAESKey and the receiver's URL are entered in the admin console
// under 应用管理 → the app → 接收消息 → 设置API接收. Saving that page makes WeCom
// verify the URL at once, so the program must already run with both values.
//
// # What an event does
//
//	unsubscribe                  ends the member's sessions in the app that the event names
//	delete_user                  ends the member's sessions in all apps of the corp
//	update_user with NewUserID   ends the sessions of the old user id, likewise
//	update_user                  looks the member up, and ends their sessions if they are
//	                             disabled, gone or not visible to the app
//	create_, update_, delete_party, update_tag
//	                             makes the authorizers of package allow fetch departments
//	                             and tags anew
//
// Sessions end at the time when the event arrives, by [wecom.Middleware.Revoke]:
// at once in this process, and within a second in others that share the session
// store. If the store cannot take the revocation, the receiver answers 500, and
// WeCom repeats the event.
//
// # What not to rely on
//
// WeCom does not promise to deliver every event, and tells an app only about
// members in its visible range. Keep Options.Recheck on. WeCom also signs in
// members outside the visible range, so that somebody who was taken out of it can
// sign in again, unless Options.Authorize asks for visibility: use [allow.Active]
// or [allow.Visible].
//
// The protocol is described at https://developer.work.weixin.qq.com/document/path/90238
// and, for the encryption, path/90968.
//
// [allow.Active]: https://pkg.go.dev/github.com/wecomauth/wecom/allow#Active
// [allow.Visible]: https://pkg.go.dev/github.com/wecomauth/wecom/allow#Visible
package events
