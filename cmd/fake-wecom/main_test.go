package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/internal/logtest"
	"github.com/wecomauth/wecom/internal/msgcrypt"
)

// start runs the program until the test ends, or stop is called, and returns what it says to export.
func start(t *testing.T, args ...string) (variables map[string]string, stop func()) {
	t.Helper()
	out, in := io.Pipe()
	signals, done := make(chan os.Signal, 1), make(chan error, 1)
	go func() {
		err := run(append([]string{"-addr", "127.0.0.1:0"}, args...), in, signals)
		_ = in.CloseWithError(err)
		done <- err
	}()
	variables = map[string]string{}
	for lines := bufio.NewScanner(out); len(variables) < 6 && lines.Scan(); {
		if name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); ok && strings.HasPrefix(lines.Text(), "export ") {
			variables[name] = value
		}
	}
	if len(variables) < 6 {
		require.NoError(t, <-done)
		require.Len(t, variables, 6)
	}
	stop = func() {
		if signals != nil {
			signals <- os.Interrupt
			assert.NoError(t, <-done)
			signals = nil
		}
	}
	t.Cleanup(stop)
	return variables, stop
}

func get(t *testing.T, address string) string {
	t.Helper()
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(address)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}

// press presses a button of the fake's page.
func press(t *testing.T, v map[string]string, form url.Values) int {
	t.Helper()
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).PostForm(v["WECOM_API_URL"]+"/", form)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func TestItIsAWeCom(t *testing.T) {
	v, _ := start(t)
	body := get(t, v["WECOM_API_URL"]+"/cgi-bin/gettoken?"+url.Values{"corpid": {v["WECOM_CORP_ID"]}, "corpsecret": {v["WECOM_SECRET"]}}.Encode())
	assert.Contains(t, body, `"errcode":0`)
	page := get(t, v["WECOM_WEB_LOGIN_URL"]+"?"+url.Values{
		"login_type": {"CorpApp"}, "appid": {v["WECOM_CORP_ID"]}, "agentid": {v["WECOM_AGENT_ID"]}, "state": {"s"},
		"redirect_uri": {"http://127.0.0.1:8080/callback"},
	}.Encode())
	assert.Contains(t, page, "张三")
	assert.Contains(t, get(t, v["WECOM_API_URL"]+"/"), "gettoken")
}

// With -keep, who left is gone after a restart.
func TestKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.json")
	v, stop := start(t, "-directory", file, "-keep")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(data), "zhangsan@corp.example.com")
	assert.Equal(t, 200, press(t, v, url.Values{"leaves": {"zhangsan"}}))
	stop()

	data, err = os.ReadFile(file)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "zhangsan@corp.example.com")
	entries, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing else is left there")
	v, _ = start(t, "-directory", file)
	assert.NotContains(t, get(t, v["WECOM_WEB_LOGIN_URL"]+"?"+url.Values{
		"login_type": {"CorpApp"}, "appid": {v["WECOM_CORP_ID"]}, "agentid": {v["WECOM_AGENT_ID"]}, "redirect_uri": {"http://127.0.0.1:8080/"},
	}.Encode()), "张三")
}

// With -keep, the receiver of events stays after a restart, though its program is down meanwhile.
func TestKeepTheReceiver(t *testing.T) {
	const token, encodingKey = "TokenOfTheTest", "keyOfTheTest0123456789abcdefghijklmnopqrstu"
	key, err := msgcrypt.ParseKey(encodingKey)
	require.NoError(t, err)
	var down atomic.Bool
	var told atomic.Int32
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			http.Error(w, "503", http.StatusServiceUnavailable)
		case r.Method == http.MethodGet:
			echo, _, err := key.Open(r.URL.Query().Get("echostr"))
			assert.NoError(t, err)
			_, _ = w.Write(echo)
		default:
			told.Add(1)
		}
	}))
	defer program.Close()
	file := filepath.Join(t.TempDir(), "people.json")
	v, stop := start(t, "-directory", file, "-keep")
	assert.Equal(t, 200, press(t, v, url.Values{"receiver": {program.URL}, "token": {token}, "key": {encodingKey}}))
	stop()

	down.Store(true)
	v, stop = start(t, "-directory", file, "-keep")
	down.Store(false)
	assert.Contains(t, get(t, v["WECOM_API_URL"]+"/"), program.URL)
	assert.Equal(t, 200, press(t, v, url.Values{"leaves": {"zhangsan"}}))
	assert.Equal(t, int32(1), told.Load())
	stop()

	v, _ = start(t, "-directory", file)
	assert.Contains(t, get(t, v["WECOM_API_URL"]+"/"), program.URL, "what was written next has it too")
}

// A program in a container gets there by another address.
func TestAlso(t *testing.T) {
	said := new(logtest.Buffer)
	log.SetOutput(said)
	defer log.SetOutput(os.Stderr)
	v, stop := start(t, "-also", "127.0.0.1:0")
	also := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(said.String())
	assert.Contains(t, said.String(), "sign in as anybody")
	assert.NotContains(t, v["WECOM_API_URL"], also)
	assert.Contains(t, get(t, "http://"+also+"/cgi-bin/gettoken?"+url.Values{"corpid": {v["WECOM_CORP_ID"]}, "corpsecret": {v["WECOM_SECRET"]}}.Encode()), `"errcode":0`)
	stop()
	_, err := net.Dial("tcp", also)
	assert.Error(t, err)
}

func TestMistakes(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	require.NoError(t, os.WriteFile(wrong, []byte(`{"department": []}`), 0o600))
	receiver := filepath.Join(t.TempDir(), "receiver.json")
	require.NoError(t, os.WriteFile(receiver, []byte(`{"department": [{"id": 1, "name": "x"}], "receiver": [{"url": "http://127.0.0.1/"}]}`), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-addr", "0.0.0.0:0"}, "loopback"},
		{[]string{"-keep"}, "-directory"},
		{[]string{"-directory", filepath.Join(t.TempDir(), "missing.json")}, "missing.json"},
		{[]string{"-directory", wrong}, "wrong.json: wecomtest: contacts: department 1"},
		{[]string{"-directory", receiver}, "receiver.json: receiver: wecomtest: want a Token"},
		{[]string{"people.json"}, "no arguments"},
		{[]string{"-trust", "a.example.com,b.example.com"}, "want one host"},
		{[]string{"-trust", "https://a.example.com"}, "want one host"},
	} {
		assert.ErrorContains(t, run(c.args, io.Discard, nil), c.want)
	}
}
