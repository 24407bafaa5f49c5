package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/wecomauth/wecom/tokenstore/private"
)

// A sqliteSessions keeps sessions in a file. The file and its table may be deleted while
// the gateway runs: they are made anew.
type sqliteSessions struct {
	path string

	mu sync.RWMutex // held for reading while db is in use
	db *sqliteDB    // nil: not open
}

// A sqliteDB is an open file.
type sqliteDB struct {
	*sql.DB
	rows *sqlite3store.SQLite3Store
	file fs.FileInfo
}

func openSQLite(path string) (*sqliteSessions, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	_, err = makePrivate(path)
	return &sqliteSessions{path: path}, err
}

func (s *sqliteSessions) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	err = s.do(ctx, func(db *sqliteDB) error {
		data, found, err = db.rows.Find(token)
		return err
	})
	return data, found, err
}

func (s *sqliteSessions) TakeCtx(ctx context.Context, token string) ([]byte, bool, error) {
	return s.row(ctx, `DELETE FROM sessions WHERE token = $1 AND julianday('now') < expiry RETURNING data`, token)
}

func (s *sqliteSessions) AddCtx(ctx context.Context, token string, data []byte, expiry time.Time) (bool, error) {
	_, added, err := s.row(ctx, `INSERT INTO sessions (token, data, expiry) VALUES ($1, $2, julianday($3))
		ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry
		WHERE sessions.expiry < julianday('now') RETURNING data`, token, data, expiry.UTC().Format("2006-01-02T15:04:05.999"))
	return added, err
}

func (s *sqliteSessions) row(ctx context.Context, statement string, args ...any) (data []byte, found bool, err error) {
	err = s.do(ctx, func(db *sqliteDB) error { return db.QueryRowContext(ctx, statement, args...).Scan(&data) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, err
}

func (s *sqliteSessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.do(ctx, func(db *sqliteDB) error { return db.rows.Commit(token, data, expiry) })
}

func (s *sqliteSessions) DeleteCtx(ctx context.Context, token string) error {
	return s.do(ctx, func(db *sqliteDB) error { return db.rows.Delete(token) })
}

func (s *sqliteSessions) deleteExpired(ctx context.Context) error {
	return s.do(ctx, func(db *sqliteDB) error {
		_, err := db.ExecContext(ctx, `DELETE FROM sessions WHERE expiry < julianday('now')`)
		return err
	})
}

// do runs f, and again with the file opened anew if something is missing: twice, since
// another gateway may be making the file at the same time.
func (s *sqliteSessions) do(ctx context.Context, f func(*sqliteDB) error) error {
	var failed *sqliteDB
	for attempt := 1; ; attempt++ {
		err := s.open(ctx, failed)
		if err == nil {
			s.mu.RLock()
			failed, err = s.db, sql.ErrConnDone
			if s.db != nil {
				err = f(s.db)
			}
			s.mu.RUnlock()
		}
		if attempt == 3 || !missing(err) || ctx.Err() != nil {
			return err
		}
	}
}

// missing says whether an error may come from a file or a table that was deleted, or is being made.
func missing(err error) bool {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return errors.Is(err, sql.ErrConnDone)
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY:
		return true
	}
	return false
}

// open opens the file unless it is open, and not as failed, and still what path names.
func (s *sqliteSessions) open(ctx context.Context, failed *sqliteDB) error {
	s.mu.RLock()
	current := s.current(failed)
	s.mu.RUnlock()
	if current {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current(failed) {
		return nil
	}
	s.closeLocked()
	// Another gateway may be about to do the same, and take our new files for those of
	// the deleted one.
	gate := flock.New(s.path+".lock", flock.SetPermissions(0o600))
	if _, err := gate.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	defer func() { _ = gate.Unlock() }()
	file, err := makePrivate(s.path)
	if err != nil {
		return err
	}
	// busy_timeout comes first: the switch to WAL waits for others too. SQLite must not
	// make the file itself: everybody could read it.
	dsn := (&url.URL{Scheme: "file", Path: s.path}).String() +
		"?mode=rw&_pragma=busy_timeout(1500)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions(expiry);`); err != nil {
		_ = db.Close()
		return err
	}
	s.db = &sqliteDB{db, sqlite3store.NewWithCleanupInterval(db, 0), file}
	return nil
}

func (s *sqliteSessions) current(failed *sqliteDB) bool {
	if s.db == nil || s.db == failed {
		return false
	}
	info, err := os.Lstat(s.path)
	return err == nil && os.SameFile(info, s.db.file)
}

func (s *sqliteSessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
}

func (s *sqliteSessions) closeLocked() {
	if s.db != nil {
		_ = s.db.Close()
		s.db = nil
	}
}

// makePrivate makes the file, and the folder if it is missing, for this user alone.
// SQLite gives its other files the same mode.
func makePrivate(path string) (fs.FileInfo, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		// SQLite would take what a deleted database left for the new one's.
		for _, suffix := range []string{"-wal", "-shm", "-journal"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	return info, private.Check(path, info)
}
