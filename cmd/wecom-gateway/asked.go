package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/wecomauth/wecom"
)

// Another proxy asks with a query such as departments=3&tags=7 who may pass: it is
// the proxy's configuration, one for each of its routes.

// conditions keeps the authorizers of queries, and what these remember of people.
type conditions struct {
	mu      sync.Mutex
	byQuery map[string]wecom.Authorizer
}

// maxQueries is more than operators write. Whoever is signed in may ask with others.
const maxQueries = 256

// authorizer returns nil if everybody who is signed in may pass.
func (cs *conditions) authorizer(query string) (wecom.Authorizer, error) {
	if query == "" {
		return nil, nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if may, ok := cs.byQuery[query]; ok {
		return may, nil
	}
	c, err := readQuery(query)
	if err != nil {
		return nil, err
	}
	may, err := c.authorizer()
	if err != nil {
		return nil, err
	}
	if len(cs.byQuery) == maxQueries || cs.byQuery == nil {
		cs.byQuery = map[string]wecom.Authorizer{}
	}
	cs.byQuery[query] = may
	return may, nil
}

// maxName is how many bytes of a parameter's name are logged. It may be a browser's.
const maxName = 30

var parts = []string{"users", "departments", "tags", "members"}

// readQuery takes each part once and nothing else: what is misspelt would let
// everybody in, and what comes twice may come from a browser.
func readQuery(query string) (c condition, err error) {
	values, err := url.ParseQuery(query)
	if err != nil || len(query) > 1000 {
		return c, errors.New("it cannot be read")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch given := values[name]; {
		case !slices.Contains(parts, name):
			// Also if a page has the same query: a browser may have copied the misspelt one.
			return c, fmt.Errorf("%q: there is no such parameter; want %s; if it is the page's, end the uri in the proxy's configuration with a question mark",
				name[:min(len(name), maxName)], strings.Join(parts, ", "))
		case len(given) > 1 || strings.TrimSpace(given[0]) == "":
			return c, fmt.Errorf("want %s once, with a value", name)
		}
	}
	if len(values) == 0 {
		return c, errors.New("want one of " + strings.Join(parts, ", "))
	}
	// What is between commas is told apart where the variables' values are.
	return condition{values.Get("members"), values["users"], values["departments"], values["tags"], ("?" + query)[:min(len(query)+1, maxDenial)]}, nil
}
