// Package envoptions reads [wecom.Options] from variables of the environment, those
// that wecom-gateway has: WECOM_CORP_ID for CorpID and so on, for every option that can be
// a string. docs/options.md lists them.
//
//	variables := envoptions.All()
//	options, mistakes := variables.Read(os.LookupEnv)
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
	// Restricts says that the variable keeps people out. To set it to nothing is a mistake: an
	// empty Secret or ConfigMap would let everybody in.
	Restricts bool

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

// Read returns the options that the variables say. lookup is os.LookupEnv in most programs.
// White space around a value is dropped.
//
// The error lists every value that cannot be read, with its variable's name; the options
// hold the others, and admit nobody if what cannot be read says who may come in. What
// [wecom.New] refuses is left to it: see [Variables.Named].
func (vs Variables) Read(lookup func(name string) (string, bool)) (wecom.Options, error) {
	var r reading
	var errs []error
	for _, v := range vs {
		if v.read == nil {
			continue
		}
		value, err := v.Value(lookup)
		if err != nil {
			errs = append(errs, err)
		} else if value != "" {
			if err = v.read(&r, value); err != nil {
				for _, one := range mistakesIn(err) {
					errs = append(errs, fmt.Errorf("%s: %w", v.Name, one))
				}
			}
		}
		if err != nil && v.Restricts {
			r.members = append(r.members, allow.Any()) // nobody, in case the error is ignored
		}
	}
	r.authorize()
	return r.options, errors.Join(errs...)
}

const maxFile = 64 << 10

// Value returns the value of the variable, or what stands in the file that NAME_FILE names,
// without white space around it; "" if neither is set. Setting both is an error, and so is a
// file that cannot be read, is empty or has more than 64 KiB, and nothing as the value of a
// variable that restricts. The error begins with the variable's name and holds nothing of its value.
func (v Variable) Value(lookup func(name string) (string, bool)) (string, error) {
	value, set := lookup(v.Name)
	path, named := lookup(v.Name + "_FILE")
	value, path = strings.TrimSpace(value), strings.TrimSpace(path)
	switch {
	case v.Restricts && value == "" && path == "" && (set || named):
		return "", fmt.Errorf("%s: it is set, but empty: leave it out to let everybody in", v.Name)
	case path == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s_FILE: %s is set too: leave one of them out", v.Name, v.Name)
	}
	text, err := readFile(path)
	switch {
	case err != nil:
		// Without the path: somebody may have put the secret there.
		var failed *fs.PathError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return "", fmt.Errorf("%s_FILE: the file cannot be read: %w", v.Name, err)
	case len(text) > maxFile:
		return "", fmt.Errorf("%s_FILE: the file has more than %d bytes", v.Name, maxFile)
	}
	if value = strings.TrimSpace(string(text)); value == "" {
		return "", fmt.Errorf("%s_FILE: the file is empty", v.Name)
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
