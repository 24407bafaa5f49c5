package people_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/allow"
	"github.com/wecomauth/wecom/examples/tokenserver/people"
	"github.com/wecomauth/wecom/wecomtest"
)

func Example() {
	db, err := sql.Open("sqlite", ":memory:") // in a program: a file
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection has a :memory: of its own
	if _, err := db.Exec(people.Schema); err != nil {
		panic(err)
	}
	table := people.Table{DB: db}

	fake := wecomtest.New() // in a program: the options of a real app
	o := fake.Options("https://app.example.com/wecom/callback")
	o.Profile = true
	o.Authorize = allow.All(allow.Active(), table.Save)
	auth, err := wecom.New(o)
	if err != nil {
		panic(err)
	}
	page := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := wecom.FromContext(r.Context())
		var name string
		err := db.QueryRowContext(r.Context(), `SELECT name FROM people WHERE key = ?`, id.Key()).Scan(&name)
		fmt.Fprint(w, name, err)
	}))

	fmt.Println(fake.Browser("https://app.example.com", page).SignInAs("zhangsan").Get("/").Body)
	if _, err := db.Exec(`UPDATE people SET blocked = 1 WHERE user_id = 'zhangsan'`); err != nil {
		panic(err)
	}
	fmt.Println(fake.Browser("https://app.example.com", page).SignInAs("zhangsan").Get("/").Status)
	// Output:
	// 张三<nil>
	// 403
}

// Without the row there is no session: 503, with the reference that leads to the cause in the log.
func TestDatabaseDown(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	table := people.Table{DB: db} // nobody made the table

	var log bytes.Buffer
	fake := wecomtest.New()
	o := fake.Options("https://app.example.com/wecom/callback")
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Authorize = table.Save
	auth, err := wecom.New(o)
	require.NoError(t, err)
	browser := fake.Browser("https://app.example.com", auth.Handler(http.NotFoundHandler())).SignInAs("zhangsan").SetLanguage("en")
	res := browser.Get("/")
	assert.Equal(t, http.StatusServiceUnavailable, res.Status)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	assert.Contains(t, res.Body, "Temporarily unavailable")
	assert.NotContains(t, res.Body, "WeCom is not answering")
	assert.NotContains(t, res.Body, "people")
	reference := regexp.MustCompile(`<code>(\w+)</code>`).FindStringSubmatch(res.Body)
	require.NotNil(t, reference)
	assert.Regexp(t, "reference="+reference[1]+".*no such table: people", log.String())
	assert.Equal(t, http.StatusUnauthorized, browser.Fetch("GET", "/api", "").Status, "no session")

	_, err = db.Exec(people.Schema)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, browser.Get("/").Status, "the page itself: signed in")
}
