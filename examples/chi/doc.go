// Package chi shows the sign-in under chi, which needs no adapter: groups,
// sub-routers, pages for everybody and guards for single routes. The code is
// Example in chi_test.go.
package chi
