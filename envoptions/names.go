package envoptions

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// serviceLink matches what Kubernetes puts into a container's environment for a
// Service named wecom or wecom-….
var serviceLink = regexp.MustCompile(`^WECOM_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// Unknown returns an error that lists the variables WECOM_… in environ, in the form of
// [os.Environ], that are set and not among vs, nil if there are none: a restriction that is
// misspelt would let everybody in. Those that Kubernetes sets for a Service do not count.
func (vs Variables) Unknown(environ []string) error {
	var errs []error
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, "WECOM_") || strings.TrimSpace(value) == "" || serviceLink.MatchString(name) || vs.have(name) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: there is no such variable; did you mean %s?", name, vs.nearest(name)))
	}
	return errors.Join(errs...)
}

func (vs Variables) have(name string) bool {
	return slices.ContainsFunc(vs, func(v Variable) bool { return name == v.Name || name == v.Name+"_FILE" })
}

// nearest returns the variable whose name takes the fewest edits to make of name.
func (vs Variables) nearest(name string) string {
	best, least := "", math.MaxInt
	for _, v := range vs {
		if n := edits(name, v.Name); n < least {
			best, least = v.Name, n
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Named returns err, an error of [wecom.New], [wecom.NewClient] or a check, with the
// variables' names in place of the options' in its text, a mistake a line; nil for nil.
// [errors.Is] and [errors.As] find in it what they find in err.
func (vs Variables) Named(err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for _, one := range mistakesIn(err) {
		errs = append(errs, &namedError{vs.rename(one.Error()), one})
	}
	return errors.Join(errs...)
}

// mistakesIn takes apart what errors.Join joined, and New put its heading in front of.
func mistakesIn(err error) []error {
	for _, e := range []error{err, errors.Unwrap(err)} {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			errs := joined.Unwrap()
			if errors.Join(errs...).Error() == e.Error() {
				return errs
			}
		}
	}
	return []error{err}
}

type namedError struct {
	text string
	err  error
}

func (e *namedError) Error() string { return e.text }
func (e *namedError) Unwrap() error { return e.err }

var (
	notHere    = regexp.MustCompile(` \(or set TokenSource[^)]*\)`)
	fieldFirst = regexp.MustCompile(`^[A-Z][A-Za-z.]*[A-Za-z]`)
	// In the midst of a sentence Secret may be a word; CallbackURL is none.
	fieldLater = regexp.MustCompile(`Options\.[A-Z][A-Za-z]*|\b[A-Z][a-z]+[A-Z][A-Za-z]*`)
)

// rename says text in the words of the environment.
func (vs Variables) rename(text string) string {
	text = notHere.ReplaceAllString(strings.TrimPrefix(text, "wecom: "), "")
	field := fieldFirst.FindString(text)
	first := vs.named(field)
	return first + fieldLater.ReplaceAllStringFunc(text[len(field):], vs.named)
}

// named returns the name of the variable for an option, or option itself.
func (vs Variables) named(option string) string {
	for _, v := range vs {
		if v.Option != "" && v.Option == strings.TrimPrefix(option, "Options.") {
			return v.Name
		}
	}
	return option
}
