package attempt

import (
	"cmp"
	"slices"
)

// maxTotal bounds what the attempts of one browser add to its Cookie header, in bytes.
// Four middlewares on one host must fit into 8 KiB, which is what nginx takes.
const maxTotal = 1800

// A Cookie is a name and a value as they stand in a Cookie header.
type Cookie struct{ Name, Value string }

func (c Cookie) size() int { return len(c.Name) + len("=") + len(c.Value) + len("; ") }

// Prune returns the names of the cookies to delete so that the attempts of a
// browser, incoming included, stay under 1800 bytes. have is what the browser sent, cookies that
// are no attempts among it; they neither count nor are they dropped. First go those
// that verify under none of the keys, that carry another attempt's name, or
// whose name came twice, then the spent ones, then the rest, the oldest first. incoming replaces a
// cookie of its name. Each name is returned once.
func (k *Keys) Prune(prefix string, have []Cookie, incoming Cookie) (drop []string) {
	total := incoming.size()
	for _, c := range have {
		if IsName(prefix, c.Name) && c.Name != incoming.Name {
			total += c.size()
		}
	}
	if total < maxTotal {
		return nil
	}

	held := k.heldBy(prefix, have, incoming.Name)
	slices.SortFunc(held, heldAttempt.compare)
	for _, h := range held {
		if total < maxTotal {
			break
		}
		total -= h.size
		drop = append(drop, h.name)
	}
	return drop
}

// A heldAttempt is what a browser holds under one name.
type heldAttempt struct {
	name    string
	size    int // of all cookies with this name
	rank    int // the lower, the sooner it goes
	started int64
}

const (
	rankInvalid = iota
	rankSpent
	rankPending
)

func (h heldAttempt) compare(other heldAttempt) int {
	return cmp.Or(cmp.Compare(h.rank, other.rank), cmp.Compare(h.started, other.started))
}

// heldBy lists the attempts in have but for the one named except.
func (k *Keys) heldBy(prefix string, have []Cookie, except string) []heldAttempt {
	var held []heldAttempt
	at := make(map[string]int)
	for _, c := range have {
		if !IsName(prefix, c.Name) || c.Name == except {
			continue
		}
		if i, twice := at[c.Name]; twice {
			held[i].size += c.size()
			held[i].rank, held[i].started = rankInvalid, 0
			continue
		}
		h := heldAttempt{name: c.Name, size: c.size()}
		if a, ok := k.ParseCookie(c.Value); ok && a.Name(prefix) == c.Name {
			h.rank, h.started = rankPending, a.Started.Unix()
			if a.Spent {
				h.rank = rankSpent
			}
		}
		at[c.Name] = len(held)
		held = append(held, h)
	}
	return held
}
