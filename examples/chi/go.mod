module github.com/wecomauth/wecom/examples/chi

go 1.25.0

replace github.com/wecomauth/wecom => ../..

require (
	github.com/go-chi/chi/v5 v5.5.0
	github.com/wecomauth/wecom v0.0.0
)

require github.com/alexedwards/scs/v2 v2.9.0 // indirect
