// Package chi shows the sign-in under chi, which needs no adapter: groups,
// sub-routers, pages for everybody and guards for single routes.
package chi
