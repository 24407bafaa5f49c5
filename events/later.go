package events

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/wecomauth/wecom"
)

const (
	laterMax    = 10_000                // members who wait for a look-up
	lookUpPause = 50 * time.Millisecond // between two: a reorganisation updates thousands
	lookUpTime  = 10 * time.Second
	spread      = time.Second // between two announcements that the directory changed
)

// later does what WeCom need not wait for, one thing at a time: it looks up
// members whose record changed, and tells the middlewares that departments or
// tags did. Nothing depends on it alone, so what does not fit is dropped.
type later struct {
	receiver *Receiver

	mu        sync.Mutex
	running   bool
	members   []Event // oldest first
	waiting   map[string]bool
	directory bool
	announced time.Time
	dropped   counter
}

func (l *later) add(ev Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch ev.Kind {
	case MemberUpdated:
		member := ev.CorpID + "/" + ev.AgentID + "/" + ev.UserID
		if ev.NewUserID != "" || ev.UserID == "" || l.waiting[member] {
			return
		}
		if len(l.members) >= laterMax {
			if n, ok := l.dropped.count(time.Now()); ok {
				l.receiver.log.Warn("events: too many members changed at once; some were not looked up", slog.Int("since_last_line", n))
			}
			return
		}
		if l.waiting == nil {
			l.waiting = map[string]bool{}
		}
		l.waiting[member] = true
		l.members = append(l.members, ev)
	case DepartmentCreated, DepartmentUpdated, DepartmentDeleted, TagUpdated:
		l.directory = true
	default:
		return
	}
	if !l.running {
		l.running = true
		go l.run()
	}
}

// run ends when there is nothing left to do.
func (l *later) run() {
	for {
		directory, ev, member, ok := l.next()
		if !ok {
			return
		}
		if directory {
			l.work(l.receiver.announce)
		}
		if member {
			l.work(func(ctx context.Context) { l.receiver.lookUp(ctx, ev) })
		}
		time.Sleep(lookUpPause)
	}
}

func (l *later) work(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	defer l.receiver.survive()
	f(ctx)
}

func (l *later) next() (directory bool, ev Event, member, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.directory && now.Sub(l.announced) >= spread {
		l.directory, l.announced, directory = false, now, true
	}
	if member = len(l.members) > 0; member {
		ev, l.members = l.members[0], l.members[1:]
		delete(l.waiting, ev.CorpID+"/"+ev.AgentID+"/"+ev.UserID)
	}
	l.running = directory || member || l.directory
	return directory, ev, member, l.running
}

func (e *Receiver) announce(ctx context.Context) {
	for _, m := range e.middlewares {
		if err := m.DirectoryChanged(ctx); err != nil {
			e.log.LogAttrs(ctx, slog.LevelWarn, "events: other processes do not learn that departments or tags changed", slog.String("cause", err.Error()))
		}
	}
}

// lookUp ends the sessions of a member who turns out to be disabled, gone or no
// longer visible. A look-up that fails ends none.
func (e *Receiver) lookUp(ctx context.Context, ev Event) {
	for _, m := range e.concerned(ev) {
		if m.Client() == nil {
			continue
		}
		member, err := m.Client().User(ctx, ev.UserID)
		var refused *wecom.APIError
		gone := errors.As(err, &refused) && refused.Denied()
		const disabled, left = 2, 5
		if gone || err == nil && (member.Status == disabled || member.Status == left) {
			err = e.revoke(ctx, m, ev)
		}
		if err != nil && !gone {
			e.log.LogAttrs(ctx, slog.LevelWarn, "events: a member who changed could not be looked up, or their sessions not ended", slog.String("cause", err.Error()))
		}
	}
}
