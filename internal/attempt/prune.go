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
// browser, incoming included, stay under 1800 bytes. have is what the browser sent; cookies in it that
// are no attempts neither count nor are dropped. First go those that verify under none
// of the keys, that carry another attempt's name, or whose name came twice, then the
// spent ones, then the rest, the oldest first. incoming replaces a cookie of its name.
// Each name is returned once.
func (k *Keys) Prune(prefix string, have []Cookie, incoming Cookie) (drop []string) {
	total := incoming.size()
	times := map[string]int{}
	var held []heldCookie
	for _, c := range have {
		if IsName(prefix, c.Name) && c.Name != incoming.Name {
			total += c.size()
			times[c.Name]++
			held = append(held, heldCookie{Cookie: c})
		}
	}
	if total < maxTotal {
		return nil
	}
	for i, h := range held {
		a, ok := k.ParseCookie(h.Value)
		switch {
		case !ok || a.Name(prefix) != h.Name || times[h.Name] > 1:
		case a.Spent:
			held[i].rank, held[i].started = rankSpent, a.Started.Unix()
		default:
			held[i].rank, held[i].started = rankPending, a.Started.Unix()
		}
	}
	slices.SortStableFunc(held, func(a, b heldCookie) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.started, b.started))
	})
	for _, h := range held {
		if total < maxTotal {
			break
		}
		total -= h.size()
		if !slices.Contains(drop, h.Name) {
			drop = append(drop, h.Name)
		}
	}
	return drop
}

// A heldCookie is an attempt that the browser holds. The lower its rank, the sooner it goes.
type heldCookie struct {
	Cookie
	rank    int
	started int64
}

const (
	_ = iota // invalid
	rankSpent
	rankPending
)
