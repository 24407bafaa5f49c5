// Package envoptions reads [wecom.Options] from variables of the environment, those
// that wecom-gateway has: WECOM_CORP_ID for CorpID and so on, for every option that can be
// a string. docs/options.md lists them.
//
//	variables := envoptions.All()
//	options, mistakes := variables.Read(os.Getenv)
//	options.SessionStore = rows // what no string can say
//	auth, err := wecom.New(options)
//	if err := errors.Join(mistakes, variables.Unknown(os.Environ()), variables.Named(err)); err != nil {
//		log.Fatal(err) // every mistake, by the variable's name
//	}
//
// Each variable NAME may stand in a file instead, which NAME_FILE names: that is how
// Docker and Kubernetes hand out secrets. A file is read once.
package envoptions

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
)

// A Variable of the environment.
type Variable struct {
	// Name is the variable's name, such as "WECOM_CORP_ID".
	Name string
	// Option is the field that the variable sets, such as "CorpID" or "Limits.Call". A program's
	// own variable may name an option here for [Variables.Named], or leave it empty.
	Option string
	// Default is what the variable means when it is not set; may be empty.
	Default string
	// Usage says in one line what the variable is for.
	Usage string
	// Secret says that the value must not be shown.
	Secret bool

	read func(*reading, string) error // nil: a program's own
}

// Variables are what a program reads from its environment: those that [All] returns, or
// some of them, and its own.
type Variables []Variable

// A reading is the options as far as they are read.
type reading struct {
	options wecom.Options
	members []wecom.Authorizer // each must admit
	listed  []wecom.Authorizer // one of these must admit, if there is any
}

// Read returns the options that the variables say. getenv returns a variable's value, ""
// if it is not set, and is os.Getenv in most programs. White space around a value is dropped.
//
// The error lists every value that cannot be read, with its variable's name; the options
// hold the others, and admit nobody if what cannot be read says who may come in. What
// [wecom.New] refuses is left to it: see [Variables.Named].
func (vs Variables) Read(getenv func(name string) string) (wecom.Options, error) {
	var r reading
	var errs []error
	for _, v := range vs {
		if v.read == nil {
			continue
		}
		value, err := Value(getenv, v.Name)
		if err != nil {
			errs = append(errs, err)
		} else if value != "" {
			if err = v.read(&r, value); err != nil {
				for _, one := range mistakesIn(err) {
					errs = append(errs, fmt.Errorf("%s: %w", v.Name, one))
				}
			}
		}
		if err != nil && v.Option == "Authorize" {
			r.members = append(r.members, allow.Any()) // nobody, in case the error is ignored
		}
	}
	r.authorize()
	return r.options, errors.Join(errs...)
}

const maxFile = 64 << 10

// Value returns the value of a variable, or what stands in the file that NAME_FILE names,
// without white space around it; "" if neither is set. Setting both is an error, and so is a
// file that cannot be read, is empty or has more than 64 KiB. The error begins with the
// variable's name and holds nothing of its value.
func Value(getenv func(name string) string, name string) (string, error) {
	value, path := strings.TrimSpace(getenv(name)), strings.TrimSpace(getenv(name+"_FILE"))
	switch {
	case path == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s_FILE: %s is set too: leave one of them out", name, name)
	}
	text, err := readFile(path)
	switch {
	case err != nil:
		// Without the path: somebody may have put the secret there.
		var failed *fs.PathError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return "", fmt.Errorf("%s_FILE: the file cannot be read: %w", name, err)
	case len(text) > maxFile:
		return "", fmt.Errorf("%s_FILE: the file has more than %d bytes", name, maxFile)
	}
	if value = strings.TrimSpace(string(text)); value == "" {
		return "", fmt.Errorf("%s_FILE: the file is empty", name)
	}
	return value, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}
