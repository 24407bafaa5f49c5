module github.com/wecomauth/wecom/issuer

go 1.25.0

require (
	github.com/alexedwards/scs/v2 v2.9.0
	github.com/coreos/go-oidc/v3 v3.17.0
	github.com/go-jose/go-jose/v4 v4.1.8
	github.com/stretchr/testify v1.12.1
	github.com/wecomauth/wecom v0.0.0
	golang.org/x/oauth2 v0.33.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/wecomauth/wecom => ..
