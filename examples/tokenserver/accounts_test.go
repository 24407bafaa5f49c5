package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenserver"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
	"github.com/wecomauth/wecom/wecomtest"
)

// A world is a token server, its folder, and the WeCom behind it.
type world struct {
	*testing.T
	fake *wecomtest.Fake
	api  string
	dir  string
	key  wecom.Secret
	sum  string
	*keeper
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, fake: demoWeCom(), dir: filepath.Join(t.TempDir(), "data")}
	server, err := w.fake.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	w.api = server.URL()
	w.key, w.sum = tokenserver.GenerateKey()
	w.start()
	return w
}

// start makes the server anew, as a restart does.
func (w *world) start() {
	store, err := sqlitestore.Open(filepath.Join(w.dir, "tokens.db"))
	require.NoError(w, err)
	w.Cleanup(func() { _ = store.Close() })
	own := demoOwn
	w.keeper = &keeper{
		accounts: &accounts{path: filepath.Join(w.dir, "accounts.db"), own: &own},
		tokens:   store, api: w.api, log: slog.New(slog.DiscardHandler),
		clients: []tokenserver.Client{{Name: "test", KeySHA256: w.sum}},
	}
}

// operator runs a command as another process would.
func (w *world) operator(args ...string) string {
	w.Helper()
	var out bytes.Buffer
	require.NoError(w, accountsIn(w.dir).command(w.Context(), &out, args))
	return out.String()
}

// ask asks the server for an app's token.
func (w *world) ask(app string) (token string, life time.Duration, status int) {
	body, _ := json.Marshal(map[string]string{"app": app})
	r := httptest.NewRequest(http.MethodPost, "/token", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.key.Reveal())
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	var answer struct {
		Token string `json:"access_token"`
		Life  int64  `json:"expires_in"`
	}
	require.NoError(w, json.Unmarshal(rec.Body.Bytes(), &answer))
	return answer.Token, time.Duration(answer.Life) * time.Second, rec.Code
}

func (w *world) token(app string) string {
	w.Helper()
	token, _, status := w.ask(app)
	require.Equal(w, http.StatusOK, status)
	return token
}

// S1: several corps in one table, one of them current, all of it changed while the server runs.
func TestAccountsChangeWhileTheServerRuns(t *testing.T) {
	w := newWorld(t)
	own := w.token("portal")
	assert.Equal(t, own, w.token("current"), "the first account is the current one")
	_, life, _ := w.ask("portal")
	assert.Greater(t, life, time.Hour)
	_, life, _ = w.ask("current")
	assert.LessOrEqual(t, life, 2*time.Minute, "services ask again soon")
	_, _, status := w.ask("branch")
	assert.Equal(t, http.StatusForbidden, status)

	t.Setenv("WECOM_SECRET", demoBranch.Secret)
	w.operator("set", "branch", demoBranch.CorpID, demoBranch.AgentID)
	branch := w.token("branch")
	assert.NotEqual(t, own, branch)
	assert.Equal(t, own, w.token("current"))
	w.operator("use", "branch")
	assert.Equal(t, branch, w.token("current"))
	assert.Equal(t, own, w.token("portal"), "by its name it is still there")
	assert.Equal(t, "* branch ww1111111111111111 1000005\n  portal ww0123456789abcdef 1000002\n", w.operator())
	assert.Equal(t, 2, w.fake.Calls("gettoken"), "one fetch each")

	w.start()
	assert.Equal(t, branch, w.token("current"), "a restart forgets nothing")
	assert.Equal(t, own, w.token("portal"))
	assert.Equal(t, 2, w.fake.Calls("gettoken"), "and fetches nothing")

	// A new secret is a new client.
	w.fake.AddApp(wecomtest.App{CorpID: demoBranch.CorpID, AgentID: demoBranch.AgentID, Secret: "the-next-secret-of-the-branch-00000000000000"})
	t.Setenv("WECOM_SECRET", "the-next-secret-of-the-branch-00000000000000")
	w.operator("set", "branch", demoBranch.CorpID, demoBranch.AgentID)
	assert.Equal(t, branch, w.token("current"), "WeCom repeats the app's token")
	assert.Equal(t, 3, w.fake.Calls("gettoken"))

	w.operator("remove", "branch")
	for _, gone := range []string{"branch", "current"} {
		_, _, status = w.ask(gone)
		assert.Equal(t, http.StatusForbidden, status, gone)
	}
	w.operator("use", "portal")
	assert.Equal(t, own, w.token("current"))
}

// Rows, table, file and folder are made again.
func TestWhatIsDeletedIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	own := w.token("portal")
	for name, harm := range map[string]func(){
		"row":    func() { w.operator("remove", "portal") },
		"file":   func() { require.NoError(t, os.Remove(filepath.Join(w.dir, "accounts.db"))) },
		"folder": func() { require.NoError(t, os.RemoveAll(w.dir)) },
		"table": func() {
			db, err := accountsIn(w.dir).open(t.Context())
			require.NoError(t, err)
			_, err = db.Exec("DROP TABLE account")
			require.NoError(t, err)
			require.NoError(t, db.Close())
		},
	} {
		harm()
		assert.Equal(t, own, w.token("portal"), name)
		assert.Equal(t, own, w.token("current"), name)
	}
	assert.Equal(t, 1, w.fake.Calls("gettoken"))
	info, err := os.Stat(filepath.Join(w.dir, "accounts.db"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "there are secrets in it")

	// While it cannot be read, the accounts stay as they were; without any, there is nothing to hand out.
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "accounts.db"), []byte(strings.Repeat("no database ", 100)), 0o600))
	assert.Equal(t, own, w.token("portal"))
	w.start()
	_, _, status := w.ask("portal")
	assert.Equal(t, http.StatusServiceUnavailable, status)
}

func TestCommandsRefuse(t *testing.T) {
	w := newWorld(t)
	t.Setenv("WECOM_SECRET", demoBranch.Secret)
	for _, args := range [][]string{
		{"use", "nobody"}, {"remove", "nobody"}, {"use"}, {"set", "x"}, {"set", "current", demoBranch.CorpID}, {"set", "", demoBranch.CorpID}, {"set", "x", ""}, {"delete", "portal"},
	} {
		assert.Error(t, accountsIn(w.dir).command(t.Context(), &bytes.Buffer{}, args), args)
	}
	assert.Empty(t, w.operator())
}
