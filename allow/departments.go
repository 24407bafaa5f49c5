package allow

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/lookup"
)

// Departments admits members of these departments and of all departments below
// them. Only departments in the app's visible range (可见范围) count: WeCom does not show the others, neither
// in the tree nor on the member.
//
// The tree is fetched by department/simplelist, once for all who ask within
// five minutes, so that a department that was moved counts in its new place after that long. It has
// room for some twenty thousand departments.
func Departments(ids ...int64) wecom.Authorizer {
	ids = slices.Clone(ids)
	var trees lookup.Memory[*wecom.Client, tree]
	return remembered(func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		return within(ctx, api, id, ids, &trees)
	})
}

// Tags admits members who have one of these tags (标签), themselves or through
// one of their departments or a department above. Only members and departments
// in the app's visible range count. A tag is fetched by tag/get, once for
// all who ask within five minutes.
func Tags(ids ...int64) wecom.Authorizer {
	ids = slices.Clone(ids)
	type of struct {
		api *wecom.Client
		tag int64
	}
	var tags lookup.Memory[of, tag]
	var trees lookup.Memory[*wecom.Client, tree]
	return remembered(func(ctx context.Context, api *wecom.Client, id wecom.Identity) (bool, error) {
		var departments []int64
		var errs []error // a yes beats them, as in Any
		for _, n := range ids {
			t, err := tags.Get(ctx, of{api, n}, time.Time{}, func(ctx context.Context) (tag, error) { return fetchTag(ctx, api, n) })
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if t.users[fold(id.UserID)] {
				return true, nil
			}
			departments = append(departments, t.departments...)
		}
		ok, err := within(ctx, api, id, departments, &trees)
		if ok {
			return true, nil
		}
		return false, errors.Join(append(errs, err)...)
	})
}

type tag struct {
	users       map[string]bool
	departments []int64
}

func fetchTag(ctx context.Context, api *wecom.Client, id int64) (tag, error) {
	if api == nil {
		return tag{}, errClient
	}
	var list struct {
		Users []struct {
			UserID string `json:"userid"`
		} `json:"userlist"`
		Departments []int64 `json:"partylist"`
	}
	query := url.Values{"tagid": {strconv.FormatInt(id, 10)}}
	if err := api.Call(ctx, http.MethodGet, "tag/get", query, nil, &list); err != nil {
		return tag{}, err
	}
	if list.Users == nil && list.Departments == nil {
		return tag{}, errors.New("allow: the answer of tag/get holds neither members nor departments")
	}
	t := tag{map[string]bool{}, list.Departments}
	for _, u := range list.Users {
		t.users[fold(u.UserID)] = true
	}
	return t, nil
}

// A tree holds the parent of each department that the app may see. The answer may hold
// anything: parents that are not in it, and circles.
type tree map[int64]int64

// within says whether the member stands in one of the departments or below.
func within(ctx context.Context, api *wecom.Client, id wecom.Identity, wanted []int64, trees *lookup.Memory[*wecom.Client, tree]) (bool, error) {
	if len(wanted) == 0 {
		return false, nil
	}
	mine, err := departmentsOf(ctx, api, id)
	if err != nil || len(mine) == 0 {
		return false, err
	}
	if slices.ContainsFunc(mine, func(d int64) bool { return among(d, wanted) }) {
		return true, nil
	}
	t, err := trees.Get(ctx, api, time.Time{}, func(ctx context.Context) (tree, error) { return fetchTree(ctx, api) })
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(mine, func(d int64) bool { return t.below(d, wanted) }), nil
}

// below walks up from a department. Whoever walks further than there are
// departments walks in a circle.
func (t tree) below(d int64, wanted []int64) bool {
	for range len(t) + 1 {
		if among(d, wanted) {
			return true
		}
		parent, known := t[d]
		if !known {
			return false
		}
		d = parent
	}
	return false
}

// among takes no 0 for a department: it stands above the root, and in a
// configuration that nobody filled in.
func among(d int64, wanted []int64) bool { return d > 0 && slices.Contains(wanted, d) }

func fetchTree(ctx context.Context, api *wecom.Client) (tree, error) {
	if api == nil {
		return nil, errClient
	}
	list, err := api.DepartmentIDs(ctx, 0)
	if err != nil {
		return nil, err
	}
	t := make(tree, len(list))
	for _, d := range list {
		t[d.ID] = d.ParentID
	}
	return t, nil
}

// profileCounts covers the rest of a sign-in.
const profileCounts = 10 * time.Second

// departmentsOf returns the member's departments: at a sign-in those of the
// profile, later, when they may have changed, from the member's record.
func departmentsOf(ctx context.Context, api *wecom.Client, id wecom.Identity) ([]int64, error) {
	age := time.Since(id.AuthenticatedAt) // less than 0 by another clock
	if len(id.Departments) > 0 && 0 <= age && age < profileCounts {
		return id.Departments, nil
	}
	member, _, err := lookUp(ctx, api, id.UserID)
	return member.Departments, err
}
