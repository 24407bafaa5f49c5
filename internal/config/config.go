// Package config collects what is wrong with a configuration.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Mistakes are what is wrong with a configuration, each a sentence that begins with the
// name of an option.
type Mistakes []error

// Add adds a mistake.
func (m *Mistakes) Add(format string, args ...any) { *m = append(*m, fmt.Errorf(format, args...)) }

// Address adds what is wrong with the address under name, unless that is empty: it
// must be an absolute URL without user, query and fragment, with https, or http to this
// machine. The mistake does not show the address, which may hold a secret.
func (m *Mistakes) Address(name, address string) {
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		m.Add("%s: want an absolute URL", name)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(address, "#"):
		m.Add("%s: want neither user, query nor fragment", name)
	case u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())):
		m.Add("%s: want https (http is accepted for loopback only)", name)
	}
}

// Err returns an error that lists every mistake in what, nil if there is none.
func (m Mistakes) Err(what string) error {
	if len(m) == 0 {
		return nil
	}
	return fmt.Errorf("%s cannot work:\n%w", what, errors.Join(m...))
}

// IsLoopback reports whether a host name or address never leaves this machine.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
