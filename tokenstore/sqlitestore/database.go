package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/wecomauth/wecom/tokenstore/private"
)

const (
	// settings apply to every connection, the busy time-out first. Transactions take the write lock when they
	// begin: one that reads first and then wants it is refused at once if another wrote meanwhile. A file that is
	// missing is not SQLite's to make. Write-ahead logging, which the file remembers, is switched on by
	// prepare: that may have to wait, and here no context would end it.
	settings = "?mode=rw&_busy_timeout=5000&_synchronous=NORMAL&_txlock=immediate&_defensive=1&_error_rc=1" +
		"&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)"

	maxConns    = 4
	maxSetAside = 10
)

var errNoFile = errors.New("not a plain file")

// A database opens, creates and repairs its file whenever it is used.
type database struct {
	path   string
	writer chan struct{} // holds a value while somebody writes: one of this process suffices to wait for the others

	mu     sync.RWMutex // held for reading while db is in use
	db     *sql.DB      // nil unless it is open
	file   fs.FileInfo  // what db has open, or what could not be opened
	opened int          // how often that was tried
	closed bool
}

// A remedy is for a database that fails. Each is tried when the one before has not helped.
type remedy int

const (
	none     remedy = iota
	reopen          // makes missing tables, too
	remake          // tables of another shape
	setAside        // a file that is damaged
	hopeless
)

func (d *database) init(path string) error {
	if path == "" {
		return errors.New("no file given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // or SQLite puts its other files there, and not beside path
	}
	d.path, d.writer = path, make(chan struct{}, 1)
	return nil
}

// do runs f with the database. It runs f again after a remedy, so f must be one query or one transaction.
func (d *database) do(ctx context.Context, f func(context.Context, querier) error) error {
	return d.retry(ctx, func(db *sql.DB) error { return f(ctx, db) })
}

// write runs f in a transaction.
func (d *database) write(ctx context.Context, f func(context.Context, querier) error) error {
	if d.writer == nil {
		return errClosed
	}
	select {
	case d.writer <- struct{}{}:
		defer func() { <-d.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.retry(ctx, func(db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if err := f(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	})
}

func (d *database) retry(ctx context.Context, f func(*sql.DB) error) error {
	for next := none; ; {
		opened, err := d.try(ctx, f)
		if err == nil {
			return nil
		}
		if done := ctx.Err(); errors.Is(err, done) {
			return err
		} else if done != nil {
			return fmt.Errorf("%w: %w", done, err)
		}
		var failure *sqlite.Error
		if !errors.As(err, &failure) {
			return err
		}
		switch failure.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			continue // it has waited for as long as SQLite does, but ctx lets it wait longer
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			next = max(next+1, setAside)
		case sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
			// What is amiss with tables, and with some headers. Our own tables refuse nothing that we write.
			next++
		case sqlite3.SQLITE_CANTOPEN: // deleted a moment ago
			next = max(next+1, reopen)
			if next > reopen {
				return err
			}
		default:
			return err
		}
		if next == hopeless {
			return err
		}
		if err := d.apply(ctx, next, opened); err != nil && next == setAside {
			return err
		}
	}
}

// try runs f with the database as it is, or opens it if it is not open, no longer what path names,
// or emptied.
func (d *database) try(ctx context.Context, f func(*sql.DB) error) (opened int, err error) {
	d.mu.RLock()
	for {
		if d.closed || d.writer == nil {
			d.mu.RUnlock()
			return d.opened, errClosed
		}
		info, err := os.Lstat(d.path)
		if err == nil && d.db != nil && os.SameFile(info, d.file) && info.Size() > 0 {
			err = private.Check(d.path, info)
			if err == nil {
				break
			}
		}
		opened := d.opened
		d.mu.RUnlock()
		if refused := (*private.Error)(nil); errors.As(err, &refused) {
			return opened, err
		}
		if err := d.apply(ctx, reopen, opened); err != nil {
			return opened + 1, err
		}
		d.mu.RLock()
	}
	defer d.mu.RUnlock()
	return d.opened, f(d.db)
}

// apply applies a remedy, unless another goroutine has applied one since
// the caller's failure.
func (d *database) apply(ctx context.Context, r remedy, failed int) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout) // others wait for it, whose time may be shorter
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	if d.opened != failed {
		return nil
	}
	d.opened++
	if d.db != nil {
		_ = d.db.Close()
		d.db = nil
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return err
	}
	gate := flock.New(d.path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	if _, err := gate.TryLockContext(ctx, lockPoll); err != nil {
		return err
	}
	defer func() { _ = gate.Unlock() }()
	if r == setAside {
		if err := d.setAside(); err != nil {
			return err
		}
	}
	return d.open(ctx, r)
}

// open opens the file, which it makes if there is none. The caller holds the gate, so an empty
// file is nobody's who goes through it: SQLite would wait until those that had it before are gone.
func (d *database) open(ctx context.Context, r remedy) error {
	info, err := os.Lstat(d.path)
	if err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		if err := os.Remove(d.path); err != nil {
			return err
		}
		info, err = os.Lstat(d.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.create(); err != nil {
			return err
		}
		info, err = os.Lstat(d.path)
	}
	if err != nil {
		return err
	}
	d.file = info
	if err := d.check(); err != nil {
		return err
	}
	connector, err := sqlite.NewConnector(uri(d.path) + settings)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	if err := prepare(ctx, db, r); err != nil {
		_ = db.Close()
		return err
	}
	d.db = db
	return nil
}

// create makes an empty file. Of an earlier database that was deleted, what SQLite keeps beside it
// must not be taken for the new one's.
func (d *database) create() error {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Remove(d.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (d *database) check() error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		path := d.path + suffix
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is %w", path, errNoFile)
		}
		if err := private.Check(path, info); err != nil {
			return err
		}
	}
	return nil
}

func prepare(ctx context.Context, db *sql.DB, r remedy) error {
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if r == remake {
		if _, err := tx.ExecContext(ctx, dropTables); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, makeTables); err != nil {
		return err
	}
	return tx.Commit()
}

// setAside renames a damaged file, unless another process has done so since.
func (d *database) setAside() error {
	info, err := os.Lstat(d.path)
	if err != nil || !os.SameFile(info, d.file) {
		return nil // open looks further
	}
	if err := d.check(); err != nil {
		return err
	}
	if n := d.countSetAside(); n >= maxSetAside {
		return fmt.Errorf("damaged, and %d damaged ones lie beside it already; find out why and remove %s.corrupt-*", n, d.path)
	}
	to := d.path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000000Z")
	for _, suffix := range []string{"-journal", "-shm", "-wal", ""} { // the database last: without it, they are nobody's
		if err := os.Rename(d.path+suffix, to+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	slog.Warn("sqlitestore: a damaged database was set aside and a new one begun", "file", d.path, "aside", to)
	return nil
}

func (d *database) countSetAside() (n int) {
	entries, _ := os.ReadDir(filepath.Dir(d.path))
	for _, e := range entries {
		after, ok := strings.CutPrefix(e.Name(), filepath.Base(d.path)+".corrupt-")
		if ok && !strings.Contains(after, "-") {
			n++
		}
	}
	return n
}

func (d *database) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.db == nil {
		return nil
	}
	db := d.db
	d.db = nil
	return db.Close()
}

// uri escapes what means something in SQLite's file names.
func uri(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive's letter
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}
