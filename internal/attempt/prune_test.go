package attempt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wecomauth/wecom/internal/attempt"
)

const prefix = "__Host-wecom-0a1b2c3d"

// limit is what the attempts of a browser stay under.
const limit = 1800

// total is what the attempts among cookies add to a Cookie header.
func total(cookies []attempt.Cookie) (n int) {
	for _, c := range cookies {
		if attempt.IsName(prefix, c.Name) {
			n += len(c.Name) + 1 + len(c.Value) + 2
		}
	}
	return n
}

// A jar holds cookies as a browser does: one per name.
type jar []attempt.Cookie

func (j *jar) delete(name string) {
	*j = slices.DeleteFunc(*j, func(c attempt.Cookie) bool { return c.Name == name })
}

func (j *jar) set(c attempt.Cookie) {
	j.delete(c.Name)
	*j = append(*j, c)
}

func cookieOf(k *attempt.Keys, a attempt.Attempt) attempt.Cookie {
	return attempt.Cookie{Name: a.Name(prefix), Value: k.Cookie(a)}
}

func TestT7_UnfinishedAttemptsStaySmall(t *testing.T) {
	k := newKeys(t, info, "secret")
	for _, length := range []int{0, 20, 300, attempt.MaxReturnTo - 1, 5000} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			browser := jar{{Name: "theme", Value: "dark"}}
			for i := range 200 {
				a := attempt.New(0, now.Add(time.Duration(i)*time.Second), "/"+strings.Repeat("x", length))
				c := cookieOf(k, a)
				for _, name := range k.Prune(prefix, browser, c) {
					browser.delete(name)
				}
				browser.set(c)
				if len(c.Name)+len(c.Value) >= 4096 {
					t.Fatalf("a cookie of %d bytes", len(c.Name)+len(c.Value))
				}
				if n := total(browser); n >= limit {
					t.Fatalf("%d bytes of attempts", n)
				}
				if browser[len(browser)-1] != c || browser[0].Name != "theme" {
					t.Fatalf("the jar lost what must stay: %v", browser)
				}
			}
			t.Logf("%d attempts kept, %d bytes", len(browser)-1, total(browser))
		})
	}
}

func TestT7_TenTabsFit(t *testing.T) {
	k := newKeys(t, info, "secret")
	var browser jar
	for i := range 10 {
		c := cookieOf(k, attempt.New(0, now, fmt.Sprintf("/reports/%d?%s", i, strings.Repeat("x", 50))))
		if drop := k.Prune(prefix, browser, c); drop != nil {
			t.Fatalf("tab %d drops %v", i, drop)
		}
		browser.set(c)
	}
}

func TestPrune_Order(t *testing.T) {
	k := newKeys(t, info, "secret")
	at := func(second int, spent bool, id byte) attempt.Attempt {
		a := attempt.New(0, now.Add(time.Duration(second)*time.Second), strings.Repeat("x", 310))
		a.ID[0], a.Spent = id, spent
		return a
	}
	c := func(a attempt.Attempt) attempt.Cookie { return cookieOf(k, a) }
	name := func(a attempt.Attempt) string { return a.Name(prefix) }

	oldest, older, newer := at(0, false, 1), at(1, false, 2), at(2, false, 3)
	oldSpent, newSpent := at(1, true, 4), at(9, true, 5)
	incoming := at(10, false, 6)
	foreign := attempt.Cookie{Name: prefix + "-ffffffff", Value: newKeys(t, info, "other").Cookie(newer)}
	garbage := attempt.Cookie{Name: prefix + "-eeeeeeee", Value: strings.Repeat("x", 420)}
	moved := attempt.Cookie{Name: prefix + "-dddddddd", Value: k.Cookie(newer)}
	big := attempt.New(0, now, strings.Repeat("x", 800))
	stranger := attempt.Cookie{Name: prefix, Value: strings.Repeat("x", 5000)}
	near := attempt.Cookie{Name: prefix + "-EEEEEEEE", Value: strings.Repeat("x", 5000)}

	tests := []struct {
		name     string
		have     []attempt.Cookie
		incoming attempt.Attempt
		want     []string
	}{
		{"nothing", nil, incoming, nil},
		{"room for all", []attempt.Cookie{garbage, c(newSpent)}, incoming, nil},
		{"the oldest", []attempt.Cookie{c(newer), c(oldest), c(older)}, incoming, []string{name(oldest)}},
		{"spent before older", []attempt.Cookie{c(oldest), c(newSpent), c(older)}, incoming, []string{name(newSpent)}},
		{"the older of the spent", []attempt.Cookie{c(newSpent), c(oldest), c(oldSpent)}, incoming, []string{name(oldSpent)}},
		{"garbage before spent", []attempt.Cookie{c(oldSpent), garbage, c(older)}, incoming, []string{garbage.Name}},
		{"another key", []attempt.Cookie{c(oldest), c(older), foreign}, incoming, []string{foreign.Name}},
		{"another attempt's name", []attempt.Cookie{c(oldest), c(older), moved}, incoming, []string{moved.Name}},
		{"as many as it takes", []attempt.Cookie{c(oldest), c(older), c(newSpent), garbage}, big, []string{garbage.Name, name(newSpent), name(oldest)}},
		{"a name that came twice", []attempt.Cookie{c(newer), c(oldSpent), c(newer)}, incoming, []string{name(newer)}},
		{"a name that came three times", []attempt.Cookie{c(newer), c(newer), c(older), c(newer)}, incoming, []string{name(newer)}},
		{"itself", []attempt.Cookie{c(incoming), c(older), c(oldest)}, incoming, nil},
		{"itself, many times", []attempt.Cookie{c(incoming), c(incoming), c(incoming), c(incoming), c(older)}, incoming, nil},
		{"itself, broken, among too many", []attempt.Cookie{{Name: name(incoming), Value: "x"}, c(older), c(oldest), c(newer)}, incoming, []string{name(oldest)}},
		{"cookies that are no attempts", []attempt.Cookie{stranger, near, {Name: "", Value: ""}, {Name: "x-01234567", Value: strings.Repeat("x", 5000)}, c(older)}, incoming, nil},
		{"an empty value", []attempt.Cookie{{Name: prefix + "-00000000"}, c(older), c(oldest), c(newer)}, incoming, []string{prefix + "-00000000", name(oldest)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			have := slices.Clone(test.have)
			got := k.Prune(prefix, have, c(test.incoming))
			if !slices.Equal(got, test.want) {
				t.Errorf("drops %v, want %v", got, test.want)
			}
			if !slices.Equal(have, test.have) {
				t.Error("have was changed")
			}
			rest := jar(slices.Clone(test.have))
			for _, name := range append(got, test.incoming.Name(prefix)) {
				rest.delete(name)
			}
			if n := total(append(rest, c(test.incoming))); n >= limit {
				t.Errorf("%d bytes stay", n)
			}
		})
	}
}
