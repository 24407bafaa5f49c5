// Package people keeps the people who signed in as rows of the application's own table. It
// stands in this module because SQLite does. [Table.Save] is Options.Authorize, or a part of it:
//
//	Authorize: allow.All(allow.Active(), table.Save)
package people

import (
	"context"
	"database/sql"

	"github.com/wecomauth/wecom"
)

// A Table is the application's people in a database.
type Table struct{ DB *sql.DB }

// Schema makes the table. Its key is [wecom.Identity.Key]: one string per person.
const Schema = `CREATE TABLE IF NOT EXISTS people (
	key     TEXT PRIMARY KEY,
	user_id TEXT NOT NULL,
	name    TEXT NOT NULL,
	blocked INTEGER NOT NULL DEFAULT 0,
	seen_at TIMESTAMP NOT NULL
)`

// The name stays if WeCom did not give one this time.
const upsert = `INSERT INTO people (key, user_id, name, seen_at) VALUES (?, ?, ?, ?)
	ON CONFLICT (key) DO UPDATE SET user_id = excluded.user_id, seen_at = excluded.seen_at,
		name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END
	RETURNING NOT blocked`

// Save writes the person's row and says whether the application lets them in. It is an
// Authorizer, so the sign-in waits for it: nobody has a session before a row, and an error is
// the page "try again later". Options.Recheck asks again later, about the same sign-in: writing
// the same twice does no harm here.
func (t *Table) Save(ctx context.Context, _ *wecom.Client, id wecom.Identity) (welcome bool, err error) {
	err = t.DB.QueryRowContext(ctx, upsert, id.Key(), id.UserID, id.Name, id.AuthenticatedAt).Scan(&welcome)
	return welcome, err
}
