package wecom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
)

func TestIdentityKey(t *testing.T) {
	for _, tt := range []struct {
		id   wecom.Identity
		want string
	}{
		{wecom.Identity{}, ""},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1", Name: "n", Email: "e", BizMail: "b", UnionID: "u"}, ""},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1000002", UserID: "ZhangSan"}, "wecom:ww1:user:zhangsan"},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", AppID: "1000003", UserID: "zhangsan"}, "wecom:ww1:user:zhangsan"},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", LinkedUserID: "WW2/LiSi"}, "wecom:ww1:linked:ww2/lisi"},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", ExternalUserID: "wmX", OpenID: "oX"}, "wecom:ww1:external:wmX"},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", OpenID: "oX"}, "wecom:ww1:openid:oX"},
		{wecom.Identity{Provider: "weixin-web", AppID: "wx1", OpenID: "oX", UnionID: "u"}, "weixin-web:wx1:openid:oX"},
		{wecom.Identity{Provider: "wecom", CorpID: "ww1", UserID: "a", LinkedUserID: "b/c", ExternalUserID: "d", OpenID: "e"}, "wecom:ww1:user:a"},
	} {
		assert.Equal(t, tt.want, tt.id.Key(), "%+v", tt.id)
	}
}

// T17: different people never share a key, and one person never has two.
func TestT17_IdentityKeysCollideForNobodyElse(t *testing.T) {
	names := []string{
		"zhangsan", "zhangsan1", "zhang san", "zhang.san", "zhang_san", "zhang-san", "zhangsan:", "user:zhangsan", "linked:zhangsan", ":", "::", "a:b", "openid:oX", "o", "O0", "0", "ww1:user:zhangsan",
		"zhang\u017fan", "\u212aevin", "kevin", "z\u0131hang", "zihang", "\uff5ahangsan", "zhangs\u0430n", "zhangsa\u0301n", "zhangs\u00e1n", "ZHANGS\u00c1N", "stra\u00dfe", "strasse", "\u01c6", "\u01c4", "\u01c5", "İ", "i", "ı",
	}
	keys := map[string]string{}
	for _, space := range []struct{ provider, corp, app string }{
		{"wecom", "ww1", "1000002"}, {"wecom", "ww2", "1000002"}, {"wecom", "WW1", "1000002"}, {"fixed", "ww1", "1000002"}, {"weixin", "", "wx1"}, {"weixin", "", "wx2"},
	} {
		for _, name := range names {
			for kind, id := range map[string]wecom.Identity{
				"user": {UserID: name}, "linked": {LinkedUserID: name}, "external": {ExternalUserID: name}, "openid": {OpenID: name},
			} {
				id.Provider, id.CorpID, id.AppID = space.provider, space.corp, space.app
				who := fmt.Sprintf("%v %s %q", space, kind, name)
				fold := kind == "user" || kind == "linked"
				if fold {
					who = fmt.Sprintf("%v %s %q", space, kind, lowerASCII(name))
				}
				if before, ok := keys[id.Key()]; ok {
					assert.Equal(t, before, who, id.Key())
				}
				keys[id.Key()] = who
				upper := id
				upper.UserID, upper.LinkedUserID = upperASCII(id.UserID), upperASCII(id.LinkedUserID)
				assert.Equal(t, id.Key(), upper.Key(), "case is no difference")
			}
		}
	}
	assert.NotEqual(t, wecom.Identity{Provider: "p", AppID: "a", OpenID: "oX"}.Key(), wecom.Identity{Provider: "p", AppID: "a", OpenID: "ox"}.Key(), "openids differ by case")
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func TestIdentityJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := wecom.Identity{
		Provider: "wecom", CorpID: "ww1", AppID: "1000002", UserID: "u", LinkedUserID: "l", OpenID: "o", ExternalUserID: "e", UnionID: "n",
		Name: "张三", BizMail: "b", Email: "m", Mobile: "1", AvatarURL: "a", Departments: []int64{1, 1 << 40}, DepartmentNames: []string{"总部", ""}, DeviceID: "d", AuthenticatedAt: at,
	}
	text, err := json.Marshal(id)
	require.NoError(t, err)
	assert.Equal(t, `{"provider":"wecom","corp_id":"ww1","app_id":"1000002","user_id":"u","linked_user_id":"l","open_id":"o","external_user_id":"e","union_id":"n",`+
		`"name":"张三","biz_mail":"b","email":"m","mobile":"1","avatar_url":"a","departments":[1,1099511627776],"department_names":["总部",""],"device_id":"d","authenticated_at":"2026-01-02T03:04:05Z"}`, string(text))
	var back wecom.Identity
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, id, back)

	for f := range reflect.TypeFor[wecom.Identity]().NumField() {
		field := reflect.TypeFor[wecom.Identity]().Field(f)
		assert.False(t, reflect.ValueOf(id).Field(f).IsZero(), "%s is in this test", field.Name)
	}
	text, err = json.Marshal(wecom.Identity{})
	require.NoError(t, err)
	assert.Equal(t, `{"provider":"","authenticated_at":"0001-01-01T00:00:00Z"}`, string(text))
}

func TestContext(t *testing.T) {
	type key struct{}
	base, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	id, ok := wecom.FromContext(base)
	assert.False(t, ok)
	assert.Zero(t, id)

	want := wecom.Identity{UserID: "zhangsan", Departments: []int64{2}}
	ctx := wecom.NewContext(base, want)
	got, ok := wecom.FromContext(ctx)
	assert.True(t, ok)
	assert.Equal(t, want, got)
	assert.Equal(t, "kept", ctx.Value(key{}))

	inner := wecom.NewContext(context.WithValue(ctx, key{}, "new"), wecom.Identity{UserID: "lisi"})
	got, _ = wecom.FromContext(inner)
	assert.Equal(t, "lisi", got.UserID, "the innermost counts")
	assert.Equal(t, "new", inner.Value(key{}))
	cancel()
	assert.ErrorIs(t, inner.Err(), context.Canceled)
}
