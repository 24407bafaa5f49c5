package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	_ "modernc.org/sqlite"

	"github.com/wecomauth/wecom"
)

// The name under which services ask for the token of whichever account is the current one.
const currentName = "current"

// An account is an app of a corp, as a row of the table. The secret stands there in the clear: whoever
// can read the file can act as the app, so the file is its owner's alone.
type account struct {
	Name, CorpID, AgentID, Secret string
	Current                       bool
}

// options are what a client of the account's app needs.
func (a account) options() wecom.Options {
	return wecom.Options{CorpID: a.CorpID, AgentID: a.AgentID, Secret: wecom.NewSecret(a.Secret)}
}

// accounts is the table of accounts in a SQLite database. It is opened anew for each use and makes what is
// missing, so that commands may change it, and people delete it, while the server runs.
type accounts struct {
	path string
	// own is the account that the environment names; it is made again if its row is missing. May be nil.
	own *account
}

const schema = `CREATE TABLE IF NOT EXISTS account (
	name     TEXT PRIMARY KEY,
	corp_id  TEXT NOT NULL,
	agent_id TEXT NOT NULL,
	secret   TEXT NOT NULL,
	current  INTEGER NOT NULL DEFAULT 0
)`

// The first account becomes the current one.
const upsert = `INSERT INTO account (name, corp_id, agent_id, secret, current)
	VALUES (?, ?, ?, ?, NOT EXISTS (SELECT 1 FROM account WHERE current))
	ON CONFLICT (name) DO UPDATE SET corp_id = excluded.corp_id, agent_id = excluded.agent_id, secret = excluded.secret`

func (a *accounts) open(ctx context.Context) (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(a.path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would let others read it
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(a.path)
	if err != nil {
		return nil, err
	}
	uri := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// list returns the accounts by name.
func (a *accounts) list(ctx context.Context) ([]account, error) {
	db, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	list, err := query(ctx, db)
	if err != nil || a.own == nil || slices.ContainsFunc(list, func(row account) bool { return row.Name == a.own.Name }) {
		return list, err
	}
	if err := put(ctx, db, *a.own); err != nil {
		return nil, err
	}
	return query(ctx, db)
}

func query(ctx context.Context, db *sql.DB) (list []account, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name, corp_id, agent_id, secret, current FROM account ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row account
		if err := rows.Scan(&row.Name, &row.CorpID, &row.AgentID, &row.Secret, &row.Current); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

func put(ctx context.Context, db *sql.DB, row account) error {
	_, err := db.ExecContext(ctx, upsert, row.Name, row.CorpID, row.AgentID, row.Secret)
	return err
}

// set adds the account, or changes the one of that name.
func (a *accounts) set(ctx context.Context, row account) error {
	if row.Name == "" || row.Name == currentName {
		return fmt.Errorf("an account cannot be called %q", row.Name)
	}
	if _, err := wecom.NewClient(row.options()); err != nil {
		return err
	}
	db, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	return put(ctx, db, row)
}

// use makes the account the current one.
func (a *accounts) use(ctx context.Context, name string) error {
	return a.change(ctx, name, `UPDATE account SET current = (name = ?1) WHERE EXISTS (SELECT 1 FROM account WHERE name = ?1)`)
}

// remove deletes the account. If it was the current one, none is.
func (a *accounts) remove(ctx context.Context, name string) error {
	return a.change(ctx, name, `DELETE FROM account WHERE name = ?1`)
}

func (a *accounts) change(ctx context.Context, name, statement string) error {
	db, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	result, err := db.ExecContext(ctx, statement, name)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fmt.Errorf("there is no account %q", name))
	}
	return nil
}

const usage = `usage:
  tokenserver account                               lists the accounts; * is the current one
  tokenserver account set NAME CORP_ID [AGENT_ID]   adds or changes one; its secret is in WECOM_SECRET
  tokenserver account use NAME                      makes it the current one
  tokenserver account remove NAME`

// command is what an operator types while the server runs.
func (a *accounts) command(ctx context.Context, out io.Writer, args []string) error {
	switch {
	case len(args) == 0:
		list, err := a.list(ctx)
		for _, row := range list {
			mark := " "
			if row.Current {
				mark = "*"
			}
			fmt.Fprintln(out, mark, row.Name, row.CorpID, row.AgentID)
		}
		return err
	case args[0] == "set" && (len(args) == 3 || len(args) == 4):
		row := account{Name: args[1], CorpID: args[2], Secret: os.Getenv("WECOM_SECRET")}
		if len(args) == 4 {
			row.AgentID = args[3]
		}
		return a.set(ctx, row)
	case args[0] == "use" && len(args) == 2:
		return a.use(ctx, args[1])
	case args[0] == "remove" && len(args) == 2:
		return a.remove(ctx, args[1])
	}
	return errors.New(usage)
}
