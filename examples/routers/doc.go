// Package routers shows the sign-in under routers that need no adapter, and in
// front of two that cannot take it: a page for everybody, a group that is protected, a page
// for some people only, the built-in routes. The programs are the examples in the tests.
//
// Middleware of the form func(http.Handler) http.Handler fits chi, go-zero, Kratos,
// GoFrame and beego. Fiber and Hertz have requests of their own, so net/http stands in front
// of them, in the same process.
package routers
