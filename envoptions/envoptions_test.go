package envoptions_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/envoptions"
)

// lookup is os.LookupEnv for an environment of its own.
func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, set := env[name]; return value, set }
}

// Every option that can be a string has its variable, which sets it and nothing else.
func TestEveryOption(t *testing.T) {
	values := map[string]string{ // others take this text as it is
		"bool": "true", "int64": "70000", "time.Duration": "90s", "wecom.Page": "in-app", "[]netip.Prefix": "10.0.0.7, 192.168.1.9/24",
	}
	byOption := map[string]string{}
	for _, v := range envoptions.All() {
		byOption[v.Option] = v.Name
	}
	seen := 0
	var walk func(of reflect.Type, prefix string)
	walk = func(of reflect.Type, prefix string) {
		for i := range of.NumField() {
			f := of.Field(i)
			option := prefix + f.Name
			switch f.Type {
			case reflect.TypeFor[wecom.Endpoints](), reflect.TypeFor[wecom.Limits]():
				walk(f.Type, option+".")
				continue
			case reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[int64](), reflect.TypeFor[time.Duration](), reflect.TypeFor[wecom.Page](),
				reflect.TypeFor[wecom.Secret](), reflect.TypeFor[[]string](), reflect.TypeFor[[]wecom.Secret](), reflect.TypeFor[[]netip.Prefix]():
			default:
				continue
			}
			value := "some text"
			if special := values[f.Type.String()]; special != "" {
				value = special
			}
			name := byOption[option]
			if !assert.NotEmpty(t, name, "a variable for %s", option) {
				continue
			}
			seen++
			o, err := envoptions.All().Read(lookup(map[string]string{name: " " + value + "\n"}))
			require.NoError(t, err, name)
			got := reflect.ValueOf(&o).Elem()
			for part := range strings.SplitSeq(option, ".") {
				got = got.FieldByName(part)
			}
			assert.False(t, got.IsZero(), "%s sets %s", name, option)
			if s, ok := got.Interface().(string); ok {
				assert.Equal(t, value, s)
			}
			got.SetZero()
			assert.True(t, reflect.ValueOf(o).IsZero(), "%s sets nothing else", name)
		}
	}
	walk(reflect.TypeFor[wecom.Options](), "")
	assert.Greater(t, seen, 20)

	o, err := envoptions.All().Read(lookup(map[string]string{
		"WECOM_EARLIER_STATE_KEYS": "one,two", "WECOM_TRUSTED_PROXIES": "10.0.0.7,192.168.1.9/24", "WECOM_PAGE": "auto", "WECOM_MEMBERS": "all",
	}))
	require.NoError(t, err)
	assert.Equal(t, "two", o.EarlierStateKeys[1].Reveal())
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("192.168.1.0/24")}, o.TrustedProxies)
	assert.Equal(t, wecom.PageAuto, o.Page)
	assert.Nil(t, o.Authorize, "everybody")
}

func TestWhoMayComeIn(t *testing.T) {
	for _, tt := range []struct {
		env            map[string]string
		zhangsan, lisi bool
	}{
		{map[string]string{"WECOM_ALLOW_USERS": "ZhangSan, wangwu"}, true, false},
		{map[string]string{"WECOM_ALLOW_USERS": "zhangsan", "WECOM_ALLOW_DEPARTMENTS": "7"}, true, true},
		{map[string]string{"WECOM_ALLOW_DEPARTMENTS": "7"}, false, true},
		// What cannot be read admits nobody, even if the error is ignored.
		{map[string]string{"WECOM_ALLOW_USERS": "zhangsan", "WECOM_ALLOW_DEPARTMENTS": "sales"}, false, false},
		{map[string]string{"WECOM_ALLOW_USERS_FILE": "/nowhere"}, false, false},
		{map[string]string{"WECOM_MEMBERS": "some"}, false, false},
		{map[string]string{"WECOM_ALLOW_USERS": ""}, false, false},
	} {
		o, _ := envoptions.All().Read(lookup(tt.env))
		require.NotNil(t, o.Authorize)
		for user, want := range map[string]bool{"zhangsan": tt.zhangsan, "lisi": tt.lisi} {
			id := wecom.Identity{UserID: user, Departments: []int64{3}, AuthenticatedAt: time.Now()}
			if user == "lisi" {
				id.Departments = []int64{7}
			}
			ok, _ := o.Authorize(context.Background(), nil, id)
			assert.Equal(t, want, ok, "%v %s", tt.env, user)
		}
	}
}

func TestMistakes(t *testing.T) {
	env := map[string]string{
		"WECOM_PROFILE": "perhaps", "WECOM_RECHECK": "12", "WECOM_IDLE_TIMEOUT": "-1s", "WECOM_SESSION_LIFETIME": "0", "WECOM_LIMIT_CALL": "0s",
		"WECOM_LIMIT_ANSWER_BYTES": "1MiB", "WECOM_PAGE": "qr", "WECOM_ALLOW_USERS": "corp/lisi", "WECOM_ALLOW_TAGS": ",", "WECOM_TRUSTED_PROXIES": "localhost,::ffff:10.0.0.7",
		"WECOM_SECRET": "CANARY", "WECOM_SECRET_FILE": "CANARY", "WECOM_STATE_KEY_FILE": "CANARY", "WECOM_CORP_ID": "ww1",
	}
	o, err := envoptions.All().Read(lookup(env))
	lines := strings.Split(err.Error(), "\n")
	assert.Len(t, lines, 13)
	for name := range env {
		if name != "WECOM_CORP_ID" && name != "WECOM_SECRET" {
			assert.True(t, slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+": ") }), name)
		}
	}
	assert.NotContains(t, err.Error(), "CANARY")
	assert.Equal(t, "ww1", o.CorpID, "what can be read is there")

	o, err = envoptions.All().Read(lookup(map[string]string{"WECOM_RECHECK": "0", "WECOM_IDLE_TIMEOUT": "0s"}))
	require.NoError(t, err, "0 is none")
	assert.Zero(t, o.Recheck)
}

// What restricts is not to be lifted by an empty Secret or ConfigMap.
func TestEmpty(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	restricting := 0
	for _, v := range envoptions.All() {
		for name, value := range map[string]string{v.Name: "", v.Name + "_FILE": " "} {
			o, err := envoptions.All().Read(lookup(map[string]string{name: value}))
			if v.Restricts {
				restricting++
				assert.ErrorContains(t, err, v.Name+": it is set, but empty")
				assert.NotNil(t, o.Authorize)
			} else {
				assert.NoError(t, err, name)
				assert.Nil(t, o.Authorize)
			}
		}
		_, err := envoptions.All().Read(lookup(map[string]string{v.Name + "_FILE": empty}))
		assert.ErrorContains(t, err, v.Name+"_FILE: the file is empty")
	}
	assert.Equal(t, 8, restricting, "members, users, departments and tags, each with a file")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "")
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		return f.Name()
	}
	for _, tt := range []struct{ value, path, want, wrong string }{
		{"", "", "", ""},
		{" a ", "", "a", ""},
		{"", file("a secret \r\n"), "a secret", ""},
		{" ", " " + file("b") + " ", "b", ""},
		{"", file(strings.Repeat("x", 64<<10)), strings.Repeat("x", 64<<10), ""},
		{"", file(strings.Repeat("x", 64<<10+1)), "", "X_FILE: the file has more than 65536 bytes"},
		{"", file("\n"), "", "X_FILE: the file is empty"},
		{"", dir, "", "X_FILE: the file cannot be read: "},
		{"", filepath.Join(dir, "CANARY"), "", "X_FILE: the file cannot be read: "},
		{"CANARY", file("CANARY"), "", "X_FILE: X is set too"},
	} {
		got, err := envoptions.Variable{Name: "X"}.Value(lookup(map[string]string{"X": tt.value, "X_FILE": tt.path}))
		assert.Equal(t, tt.want, got)
		if tt.wrong == "" {
			assert.NoError(t, err)
		} else if assert.ErrorContains(t, err, tt.wrong) {
			assert.NotContains(t, err.Error(), "CANARY")
		}
	}
	o, err := envoptions.All().Read(lookup(map[string]string{"WECOM_SECRET_FILE": file("from a file\n")}))
	require.NoError(t, err)
	assert.Equal(t, "from a file", o.Secret.Reveal())
}

func TestUnknown(t *testing.T) {
	vs := append(envoptions.All(), envoptions.Variable{Name: "WECOM_MY_OWN"})
	assert.NoError(t, vs.Unknown([]string{
		"PATH=/bin", "WECOM_SECRET=s", "WECOM_SECRET_FILE=f", "WECOM_MY_OWN=x", "WECOM_MY_OWN_FILE=x", "WECOM_EMPTY=", "WECOM_BLANK= ",
		"WECOM_SERVICE_HOST=10.0.0.1", "WECOM_GATEWAY_SERVICE_PORT_HTTP=80", "WECOM_PORT=tcp://10.0.0.1:80", "WECOM_PORT_80_TCP_ADDR=10.0.0.1",
	}))
	err := vs.Unknown([]string{"WECOM_ALLOW_USER=CANARY", "WECOM_=CANARY", "WECOM_PORT_=CANARY"})
	assert.Equal(t, 2, strings.Count(err.Error(), "\n"))
	assert.Contains(t, err.Error(), "WECOM_ALLOW_USER: there is no such variable; did you mean WECOM_ALLOW_USERS?\n")
	assert.NotContains(t, err.Error(), "CANARY")
}

func TestNamed(t *testing.T) {
	vs := envoptions.All()
	assert.NoError(t, vs.Named(nil))
	o, err := vs.Read(lookup(map[string]string{
		"WECOM_CORP_ID": "ww/1", "WECOM_CALLBACK_URL": "http://app.example.com/wecom/callback", "WECOM_MOUNT_PATH": "/x", "WECOM_PROFILE_REQUIRED": "true",
		"WECOM_EARLIER_STATE_KEYS": "short", "WECOM_API_URL": "ftp://x", "WECOM_LIMIT_CALL": "2m", "WECOM_SCOPE": "all",
	}))
	require.NoError(t, err)
	_, err = wecom.New(o)
	err = vs.Named(err)
	for _, line := range []string{
		`WECOM_CORP_ID "ww/1": want`,
		"WECOM_AGENT_ID is missing",
		"WECOM_SECRET is missing: it stands on the app's page in the admin console\n",
		"WECOM_CALLBACK_URL: plain http gives the session to everybody on the network: use https (or WECOM_DANGEROUSLY_ALLOW_HTTP)",
		`WECOM_MOUNT_PATH "/x" is no prefix of WECOM_CALLBACK_URL's path`,
		"WECOM_PROFILE_REQUIRED does nothing without",
		"WECOM_EARLIER_STATE_KEYS[0] has 5 bytes",
		"WECOM_API_URL",
		"WECOM_LIMIT_CALL 2m0s: want",
		`WECOM_SCOPE "all": want`,
	} {
		assert.Contains(t, "\n"+err.Error(), "\n"+line)
	}
	assert.NotContains(t, err.Error(), "these options")

	cause := errors.New("SecretKey and Options.Secret, says CallbackURL")
	named := vs.Named(errors.Join(cause, errors.New("CorpID")))
	assert.ErrorIs(t, named, cause)
	assert.Equal(t, "SecretKey and WECOM_SECRET, says WECOM_CALLBACK_URL\nWECOM_CORP_ID", named.Error())
}

// The documents name every variable, in both languages.
func TestDocuments(t *testing.T) {
	for _, name := range []string{"options.md", "options.zh-CN.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", name))
		require.NoError(t, err)
		for _, v := range envoptions.All() {
			assert.True(t, strings.Contains(string(text), "`"+v.Name+"`"), "%s: %s", name, v.Name)
		}
	}
}
