// Package endpoint checks the addresses that configurations name.
package endpoint

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Check returns what is wrong with the address under name in a configuration: it
// must be an absolute URL without user, query and fragment, with https, or http to
// this machine. The error does not show the address, which may hold a secret.
func Check(name, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("%s: want an absolute URL", name)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(address, "#"):
		return fmt.Errorf("%s: want neither user, query nor fragment", name)
	case u.Scheme == "https" || u.Scheme == "http" && IsLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%s: want https (http is accepted for loopback only)", name)
}

// IsLoopback reports whether a host name or address never leaves this machine.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
