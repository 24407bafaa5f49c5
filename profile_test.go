package wecom_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/wecomtest"
)

func withProfile(o *wecom.Options) { o.Profile, o.Scope = true, "snsapi_privateinfo" }

func requiredProfile(o *wecom.Options) { withProfile(o); o.ProfileRequired = true }

// identity is what the session says about who is signed in.
func identity(t *testing.T, b *wecomtest.Browser) wecom.Identity {
	t.Helper()
	var id wecom.Identity
	res := b.Fetch("GET", "/wecom/session", "")
	require.Equal(t, 200, res.Status, res.Body)
	require.NoError(t, res.JSON(&id))
	return id
}

// bubble runs a test on a clock of its own, so that pauses cost no time.
func bubble(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// What is granted when: page and scope, age of the app, the administrator's choice, visible range.
func TestProfileSaysWhatWasGranted(t *testing.T) {
	record := wecom.Identity{Name: "张三", Departments: []int64{2}, DepartmentNames: []string{"研发部"}}
	whole := wecom.Identity{Name: "张三", Departments: []int64{2}, DepartmentNames: []string{"研发部"},
		BizMail: "zhangsan@corp.example.com", Email: "zhangsan@mail.example.net", Mobile: "13800000001",
		AvatarURL: "https://wework.qpic.cn/wwpic/fake_zhangsan/0"}
	mailOnly := record
	mailOnly.BizMail = whole.BizMail
	mailOnly.AvatarURL = "https://wework.qpic.cn/wwpic/default/0" // WeCom's stock picture

	for name, tt := range map[string]struct {
		who    string
		inApp  bool
		option func(*wecom.Options)
		app    func(*wecomtest.App)
		want   wecom.Identity
	}{
		"off":                               {"zhangsan", true, func(o *wecom.Options) { o.Scope = "snsapi_privateinfo" }, nil, wecom.Identity{}},
		"in WeCom, with consent":            {"zhangsan", true, withProfile, nil, whole},
		"in WeCom, silent":                  {"zhangsan", true, func(o *wecom.Options) { o.Profile = true }, nil, record},
		"web login, whatever the scope":     {"zhangsan", false, withProfile, nil, record},
		"an app from before June 2022":      {"zhangsan", false, func(o *wecom.Options) { o.Profile = true }, func(a *wecomtest.App) { a.LegacyFields = true }, whole},
		"one field ticked":                  {"zhangsan", true, withProfile, func(a *wecomtest.App) { a.SensitiveFields = []string{"biz_mail"} }, mailOnly},
		"no right to ask for fields: 92001": {"zhangsan", true, withProfile, func(a *wecomtest.App) { a.SensitiveFields = []string{} }, record},
		"outside the visible range":         {"sunqi", false, withProfile, nil, wecom.Identity{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.option)
			app := w.fake.App()
			if tt.app != nil {
				tt.app(&app)
			}
			w.fake.AddApp(app)
			b := w.browser().SignInAs(tt.who)
			if tt.inApp {
				b.InApp()
			}
			require.Equal(t, 200, b.Get("/").Status)
			id := identity(t, b)
			assert.Equal(t, tt.who, id.UserID)
			tt.want.Provider, tt.want.CorpID, tt.want.AppID = id.Provider, id.CorpID, id.AppID
			tt.want.UserID, tt.want.AuthenticatedAt = tt.who, id.AuthenticatedAt
			assert.Equal(t, tt.want, id)
			switch logs := w.logs.String(); {
			case id.Name == "", strings.Contains(logs, "level=WARN"):
			case id.Mobile != "":
				assert.NotContains(t, logs, "missing=")
			case id.BizMail == "":
				assert.Regexp(t, `level=DEBUG .* missing="\[avatar_url biz_mail email mobile\]" consent_page=false`, logs)
			}
		})
	}
}

func TestProfileIsOfMembersOnly(t *testing.T) {
	w := newWorld(t, requiredProfile, func(o *wecom.Options) { o.AllowOutsiders, o.AllowLinkedCorps = true, true })
	for _, somebody := range []string{"oFakeOutsider0000000000000001", "wwfedcba9876543210/zhouba"} {
		b := w.browser().SignInAs(somebody).InApp()
		require.Equal(t, 200, b.Get("/").Status)
		assert.Empty(t, identity(t, b).Name)
	}
	assert.Zero(t, w.fake.Calls("user/get")+w.fake.Calls("auth/getuserdetail"))
}

// Somebody else's details never come into an identity.
func TestT17_ProfileOfSomebodyElse(t *testing.T) {
	for _, op := range []string{"user/get", "auth/getuserdetail"} {
		w := newWorld(t, withProfile)
		w.fake.Always(op, wecomtest.Fault{Body: []byte(`{"errcode":0,"userid":"lisi","name":"李四","department":[3],"biz_mail":"lisi@corp.example.com"}`)})
		b := w.browser().InApp()
		require.Equal(t, 200, b.Get("/").Status)
		id := identity(t, b)
		assert.Equal(t, "zhangsan", id.UserID)
		assert.NotContains(t, fmt.Sprint(id), "lisi", op)
		assert.NotContains(t, fmt.Sprint(id), "李四", op)
	}
}

// A failure of the details ends the sign-in only if that was asked for.
func TestProfileFails(t *testing.T) {
	for name, tt := range map[string]struct {
		op       string
		fault    wecomtest.Fault
		required int // the answer if the profile is required
		code     string
	}{
		"record: not visible":       {"user/get", wecomtest.Fault{ErrCode: 60011}, 403, "not_allowed"},
		"record: no right":          {"user/get", wecomtest.Fault{ErrCode: 48002}, 500, "setup_fault"},
		"record: address untrusted": {"user/get", wecomtest.Fault{ErrCode: 60020}, 500, "setup_fault"},
		"record: too many calls":    {"user/get", wecomtest.Fault{ErrCode: 45009}, 503, "busy"},
		"record: busy":              {"user/get", wecomtest.Fault{ErrCode: -1}, 503, "wecom_unavailable"},
		"record: lost":              {"user/get", wecomtest.Fault{Drop: wecomtest.DropAfter}, 503, "wecom_unavailable"},
		"record: no JSON":           {"user/get", wecomtest.Fault{Body: []byte("<html>")}, 503, "wecom_unavailable"},
		"record: HTTP 502":          {"user/get", wecomtest.Fault{Status: 502}, 503, "wecom_unavailable"},
		"detail: no right":          {"auth/getuserdetail", wecomtest.Fault{ErrCode: 92001}, 500, "setup_fault"},
		"detail: lost":              {"auth/getuserdetail", wecomtest.Fault{Drop: wecomtest.DropBefore}, 503, "wecom_unavailable"},
		"detail: ticket expired":    {"auth/getuserdetail", wecomtest.Fault{ErrCode: 84014}, 403, "code_rejected"},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			w := newWorld(t, withProfile)
			w.fake.Always(tt.op, tt.fault)
			b := w.browser().InApp()
			res := b.Get("/")
			require.Equal(t, 200, res.Status, "the sign-in goes on: %s", res.Body)
			assert.Equal(t, "zhangsan", who(b))
			assert.Contains(t, w.logs.String(), "without their profile")

			w = newWorld(t, requiredProfile)
			w.fake.Always(tt.op, tt.fault)
			b = w.browser().InApp()
			res = b.Get("/")
			assert.Equal(t, tt.required, res.Status)
			assert.Empty(t, who(b))
			assert.Contains(t, w.logs.String(), "code="+tt.code)
		}))
	}
}

// The profile leaves room for the rest of a sign-in, however slow WeCom is.
func TestProfileTakesABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withProfile)
		never := make(chan struct{})
		w.fake.Always("user/get", wecomtest.Fault{Until: never})
		w.fake.Always("auth/getuserdetail", wecomtest.Fault{Until: never})
		w.fake.Always("auth/getuserinfo", wecomtest.Fault{Delay: 4 * time.Second})
		began := time.Now()
		b := w.browser().InApp()
		res := b.Get("/")
		assert.Equal(t, 200, res.Status, res.Body)
		assert.Equal(t, "zhangsan", who(b))
		assert.LessOrEqual(t, time.Since(began), 7*time.Second)
	})
}

func TestProfileOptions(t *testing.T) {
	o := sound()
	o.ProfileRequired = true
	_, err := wecom.New(o)
	assert.ErrorContains(t, err, "ProfileRequired")
}

// One look-up of all departments serves everybody for an hour; without it there are the ids alone.
func TestDepartmentNames(t *testing.T) {
	names := func(t *testing.T, w *world, who string) []string {
		t.Helper()
		b := w.browser().SignInAs(who)
		require.Equal(t, 200, b.Get("/").Status)
		id := identity(t, b)
		require.NotEmpty(t, id.Departments)
		return id.DepartmentNames
	}
	t.Run("one look-up an hour", bubble(func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Profile = true })
		assert.Equal(t, []string{"研发部"}, names(t, w, "zhangsan"))
		assert.Equal(t, []string{"销售部"}, names(t, w, "lisi"))
		assert.Equal(t, 1, w.fake.Calls("department/list"))
		time.Sleep(61 * time.Minute)
		assert.Equal(t, []string{"研发部"}, names(t, w, "zhangsan"))
		assert.Equal(t, 2, w.fake.Calls("department/list"))
	}))
	t.Run("all at once", func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Profile = true })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { assert.Equal(t, []string{"研发部"}, names(t, w, "zhangsan")) })
		}
		all.Wait()
		assert.Equal(t, 1, w.fake.Calls("department/list"))
	})
	t.Run("it fails", bubble(func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Profile, o.ProfileRequired = true, true })
		w.fake.Always("department/list", wecomtest.Fault{ErrCode: 60011})
		assert.Nil(t, names(t, w, "zhangsan"))
		assert.Nil(t, names(t, w, "lisi"))
		assert.Equal(t, 1, w.fake.Calls("department/list"), "not asked again at once")
		w.fake.ClearFaults()
		time.Sleep(61 * time.Second)
		assert.Equal(t, []string{"研发部"}, names(t, w, "zhangsan"))
	}))
	t.Run("it hangs", bubble(func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Profile = true })
		w.fake.Always("department/list", wecomtest.Fault{Delay: 4 * time.Second})
		began := time.Now()
		assert.Nil(t, names(t, w, "zhangsan"))
		assert.Equal(t, 2*time.Second, time.Since(began))
		time.Sleep(3 * time.Second)
		assert.Equal(t, []string{"研发部"}, names(t, w, "zhangsan"), "the answer that came later")
	}))
	t.Run("bounded", func(t *testing.T) {
		w := newWorld(t, func(o *wecom.Options) { o.Profile = true })
		m, _ := w.fake.Member("zhangsan")
		m.Departments = nil
		for i := range int64(9) {
			w.fake.AddDepartment(wecomtest.Department{ID: 100 + i, ParentID: 2, Name: strings.Repeat("部", 60) + "abcdefghi"[i:i+1]})
			m.Departments = append(m.Departments, 100+i)
		}
		w.fake.AddDepartment(wecomtest.Department{ID: 99, ParentID: 2, Name: strings.Repeat("部", 65)})
		m.Departments = append([]int64{99}, m.Departments...)
		w.fake.AddMember(m)
		got := names(t, w, "zhangsan")
		require.Len(t, got, 10)
		assert.Empty(t, got[0], "too long")
		assert.Len(t, strings.Join(got, ""), 5*181)
	})
}
