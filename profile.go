package wecom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/wecomauth/wecom/internal/errcode"
)

// fillProfile adds to a member's identity what WeCom tells of them. An error is
// a reason to end the sign-in.
func (p *corpApp) fillProfile(ctx context.Context, id *Identity, ticket Secret) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		// Authorize and the session's row come after it.
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-p.o.Limits.SignIn*3/10))
		defer cancel()
	}
	record, err := p.client.User(ctx, id.UserID)
	if err == nil {
		fillEmpty(id, record)
		p.nameDepartments(ctx, id)
	}
	if ticket.Reveal() != "" {
		detail, detailErr := p.client.UserDetail(ctx, ticket)
		if detailErr == nil && foldCase(detail.UserID) != foldCase(id.UserID) {
			detailErr = unreadable("auth/getuserdetail", errors.New("it is about another member"))
		}
		if detailErr == nil {
			fillEmpty(id, detail)
		}
		err = errors.Join(err, detailErr)
	}
	switch {
	case err == nil:
		p.logMissing(ctx, *id, ticket)
	case p.o.ProfileRequired:
		if errcode.ClassOf(err) == errcode.Code { // the ticket is at fault: a fresh code brings a fresh one
			return fmt.Errorf("%w: %w", ErrStartOver, err)
		}
		return err
	default:
		p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "wecom: a member signs in without their profile, or a part of it",
			slog.Int("errcode", errCode(err)), slog.String("cause", err.Error()))
	}
	return nil
}

const (
	namesWait  = 2 * time.Second // of one sign-in, which goes on without the names
	maxNames   = 1024            // bytes of one person's, which stand in the session's row
	maxOneName = 192
)

// namesCount is how long the departments' names count: they seldom change, WeCom calls
// department/list slow, and some apps may not call it.
func namesCount(_ map[int64]string, err error) time.Duration {
	if err != nil {
		return time.Minute
	}
	return time.Hour
}

// nameDepartments adds the names of the person's departments, from one look-up for all
// people. Without the names, the ids stand alone.
func (p *corpApp) nameDepartments(ctx context.Context, id *Identity) {
	if len(id.Departments) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, namesWait)
	defer cancel()
	all, err := p.departments.Get(ctx, struct{}{}, time.Time{}, func(ctx context.Context) (map[int64]string, error) {
		list, err := p.client.Departments(ctx, 0)
		names := make(map[int64]string, len(list))
		for _, d := range list {
			if len(d.Name) <= maxOneName {
				names[d.ID] = d.Name
			}
		}
		return names, err
	})
	if err != nil {
		p.o.Logger.LogAttrs(ctx, slog.LevelDebug, "wecom: a member signs in without the names of their departments",
			slog.Int("errcode", errCode(err)), slog.String("cause", err.Error()))
		return
	}
	names, room := make([]string, len(id.Departments)), maxNames
	for i, d := range id.Departments {
		if name := all[d]; name != "" && len(name) <= room {
			names[i], id.DepartmentNames = name, names
			room -= len(name)
		}
	}
}

// fillEmpty copies what id does not have yet: the member's record comes first,
// since getuserdetail answers with a stock picture where the avatar was not granted.
func fillEmpty(id *Identity, m Member) {
	id.Name = cmp.Or(id.Name, m.Name)
	id.BizMail = cmp.Or(id.BizMail, m.BizMail)
	id.Email = cmp.Or(id.Email, m.Email)
	id.Mobile = cmp.Or(id.Mobile, m.Mobile)
	id.AvatarURL = cmp.Or(id.AvatarURL, m.AvatarURL)
	if len(id.Departments) == 0 {
		id.Departments = m.Departments
	}
}

// logMissing names the fields that were not given, and nobody.
func (p *corpApp) logMissing(ctx context.Context, id Identity, ticket Secret) {
	var missing []string
	for name, empty := range map[string]bool{
		"name": id.Name == "", "departments": len(id.Departments) == 0, "biz_mail": id.BizMail == "",
		"email": id.Email == "", "mobile": id.Mobile == "", "avatar_url": id.AvatarURL == "",
	} {
		if empty {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		p.o.Logger.LogAttrs(ctx, slog.LevelDebug, "wecom: WeCom did not give the whole profile",
			slog.Any("missing", missing), slog.Bool("consent_page", ticket.Reveal() != ""))
	}
}
