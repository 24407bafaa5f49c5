module github.com/wecomauth/wecom/tokenstore/filestore

go 1.25.0

replace github.com/wecomauth/wecom => ../..

require (
	github.com/gofrs/flock v0.13.1
	github.com/stretchr/testify v1.12.1
	github.com/wecomauth/wecom v0.0.0-00010101000000-000000000000
)

require (
	github.com/alexedwards/scs/v2 v2.9.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
