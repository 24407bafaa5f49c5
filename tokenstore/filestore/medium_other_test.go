//go:build !unix

package filestore_test

import (
	"bufio"

	"github.com/wecomauth/wecom"
)

var roles map[string]func(wecom.TokenStore, *bufio.Reader) error
