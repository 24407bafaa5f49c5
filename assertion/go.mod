module github.com/wecomauth/wecom/assertion

go 1.25.0

require (
	github.com/go-jose/go-jose/v4 v4.1.8
	github.com/stretchr/testify v1.12.1
	github.com/wecomauth/wecom v0.0.0
	github.com/wecomauth/wecom/issuer v0.0.0
)

require (
	github.com/alexedwards/scs/v2 v2.9.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace (
	github.com/wecomauth/wecom => ..
	github.com/wecomauth/wecom/issuer => ../issuer
)
