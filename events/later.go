package events

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/wecomauth/wecom"
)

const (
	lookUpPause = 50 * time.Millisecond // between two: a reorganisation updates thousands
	lookUpTime  = 10 * time.Second
	spread      = time.Second // between two announcements that the directory changed
)

// A member is one whose record changed.
type member struct{ corpID, agentID, userID string }

// follow does what an event leads to after it was answered.
func (e *Receiver) follow(ev Event) {
	switch ev.Kind {
	case MemberUpdated:
		if ev.UserID != "" && ev.NewUserID == "" {
			e.members.add(member{ev.CorpID, ev.AgentID, ev.UserID})
		}
	case DepartmentCreated, DepartmentUpdated, DepartmentDeleted, TagUpdated:
		e.directory.add(struct{}{})
	}
	if e.onEvent != nil {
		e.hooks.add(&ev)
	}
}

func (e *Receiver) callHook(ev *Event) {
	defer survive(e.log, "OnEvent", slog.String("event", ev.Name))
	e.onEvent(context.Background(), *ev)
}

// announce tells the middlewares that departments or tags changed.
func (e *Receiver) announce(struct{}) {
	defer time.Sleep(spread)
	defer survive(e.log, "a session store")
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	for _, m := range e.middlewares {
		if err := m.DirectoryChanged(ctx); err != nil {
			e.log.LogAttrs(ctx, slog.LevelWarn, "events: other processes do not learn that departments or tags changed", slog.String("cause", err.Error()))
		}
	}
}

// lookUp ends the sessions of a member who turns out to be disabled, gone or no
// longer visible. A look-up that fails ends none.
func (e *Receiver) lookUp(changed member) {
	defer time.Sleep(lookUpPause)
	defer survive(e.log, "a look-up")
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	ev := Event{Name: "change_contact", CorpID: changed.corpID, AgentID: changed.agentID, UserID: changed.userID}
	for _, m := range e.concerned(ev) {
		if m.Client() == nil {
			continue
		}
		record, err := m.Client().User(ctx, ev.UserID)
		var refused *wecom.APIError
		gone := errors.As(err, &refused) && refused.Denied()
		const disabled, left = 2, 5
		if gone || err == nil && (record.Status == disabled || record.Status == left) {
			err = e.revoke(ctx, m, ev)
		}
		if err != nil {
			e.log.LogAttrs(ctx, slog.LevelWarn, "events: a member who changed could not be looked up, or their sessions not ended", slog.String("cause", err.Error()))
		}
	}
}
