package sqlitestore_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/storetest"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

const key = "wecom:ww0123456789abcdef:1000002:0123456789abcdef"

func open(path string) (wecom.TokenStore, error) { return sqlitestore.Open(path) }

func TestMain(m *testing.M) { storetest.Main(m, open, roles) }

func TestConformance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	conformance.TokenStore(t, func(t *testing.T) wecom.TokenStore { return newStore(t, path) })
}

func TestF18_OneFetchForAFleet(t *testing.T) {
	storetest.Fleet(t, filepath.Join(t.TempDir(), "tokens.db"), false)
}

func TestF18_OneFetchWhereTheHolderWasKilled(t *testing.T) {
	if os.Getenv("WECOM_SLOW") == "" {
		t.Skip("SKIPPED: waits for 14 seconds; set WECOM_SLOW")
	}
	path := filepath.Join(t.TempDir(), "tokens.db")
	storetest.KillHolder(t, path, storetest.FleetKey)
	storetest.Fleet(t, path, true)
}

func TestF15_KilledWritersDoNoHarm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	// Each has a key of its own, or it would wait for the lease of the one before.
	storetest.KillWriters(t, open, path, storetest.Kills(8), func(n int) string { return "key " + strconv.Itoa(n) }, nil)
	checkIntegrity(t, path)
	assert.Empty(t, setAside(t, path))
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{path, path + ".lock"}, files, "after the last has closed it")
}

// Four processes, 25 goroutines each, on the same ten keys.
func TestF17_Contention(t *testing.T) {
	const processes = 4
	path := filepath.Join(t.TempDir(), "tokens.db")
	total := 800
	if n, err := strconv.Atoi(os.Getenv("WECOM_OPS")); err == nil {
		total = n
	}
	start := time.Now()
	all := make([]*storetest.Process, processes)
	for i := range all {
		all[i] = storetest.Start(t, "crowd", path, "WECOM_OPS="+strconv.Itoa(total/processes))
	}
	for _, p := range all {
		assert.Equal(t, "no error", p.Hear())
	}
	t.Logf("%d operations in %v", total, time.Since(start).Round(time.Millisecond))
	checkIntegrity(t, path)

	s, sum := newStore(t, path), 0
	for k := range crowdKeys {
		n, err := strconv.Atoi(load(t, s, crowdKey(k)))
		require.NoError(t, err)
		sum += n
	}
	assert.Equal(t, total/2, sum, "no Update was lost")
}

// The retries of a Store would hide that a setting is missing.
func TestF17_EveryConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	db := newStore(t, path).DB()
	for range 4 {
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }() // all at once, or they would be one
		var timeout int
		require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&timeout))
		assert.GreaterOrEqual(t, timeout, 5000)
		var journal string
		require.NoError(t, conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&journal))
		assert.Equal(t, "wal", journal)

		tx, err := conn.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = raw(t, path).Exec("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE")
		assert.ErrorContains(t, err, "locked", "a transaction takes the write lock when it begins")
		require.NoError(t, tx.Rollback())
	}
}

const crowdKeys, crowdSize = 10, 25

func crowdKey(n int) string { return "crowd " + strconv.Itoa(n) }

var roles = map[string]func(wecom.TokenStore, *bufio.Reader) error{
	"straggler": func(store wecom.TokenStore, stdin *bufio.Reader) error {
		db := store.(*sqlitestore.Store).DB() // which does not look whether the file is still there
		_, err := db.Exec("CREATE TABLE theirs (text)")
		fmt.Println("ready")
		for err == nil {
			_, err = stdin.ReadString('\n')
			_, dbErr := db.Exec("INSERT INTO theirs VALUES (?)", strings.Repeat("theirs", 1000))
			fmt.Println("wrote", dbErr)
		}
		return err
	},
	"crowd": func(store wecom.TokenStore, _ *bufio.Reader) error {
		ops, err := strconv.Atoi(os.Getenv("WECOM_OPS"))
		if err != nil {
			return err
		}
		var (
			group sync.WaitGroup
			errs  = make(chan error, ops)
		)
		for range crowdSize {
			group.Go(func() {
				for n := range ops / crowdSize {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					k := crowdKey(rand.N(crowdKeys))
					var err error
					if n%2 == 0 {
						_, err = store.Load(ctx, k)
					} else {
						_, err = store.Update(ctx, k, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
							n, _ := strconv.Atoi(current.Value.Reveal())
							return token(strconv.Itoa(n + 1)), nil
						})
					}
					cancel()
					if err != nil {
						errs <- err
					}
				}
			})
		}
		group.Wait()
		select {
		case err := <-errs:
			fmt.Printf("%d errors, one is: %v\n", len(errs)+1, err)
		default:
			fmt.Println("no error")
		}
		return nil
	},
}

// The wait is shortened by changing the row; with WECOM_SLOW it is waited out.
func TestF19_KilledHolderFreesTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := newStore(t, path)
	put(t, s, key, "still valid")
	storetest.KillHolder(t, path, key)
	start := time.Now()

	assert.Equal(t, "still valid", load(t, s, key), "meanwhile")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Update(ctx, key, uncalled(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	if os.Getenv("WECOM_SLOW") == "" {
		db := raw(t, path)
		var until int64
		require.NoError(t, db.QueryRow("SELECT until FROM wecom_locks_1").Scan(&until))
		assert.Less(t, time.Until(time.UnixMilli(until)), 15*time.Second)
		_, err = db.Exec("UPDATE wecom_locks_1 SET until = ?", time.Now().UnixMilli())
		require.NoError(t, err)
		start = time.Now()
	}
	put(t, s, key, "next")
	took := time.Since(start)
	t.Logf("the lock was free after %v", took)
	assert.Less(t, took, 15*time.Second)
}

func TestF19_LostLockStoresNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s, other := newStore(t, path), newStore(t, path)
	got, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
		_, err := raw(t, path).Exec("UPDATE wecom_locks_1 SET until = 1")
		require.NoError(t, err)
		_, err = other.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
			_, err := s.Load(t.Context(), key)
			require.NoError(t, err)
			return token("newer"), nil
		})
		require.NoError(t, err)
		_, err = raw(t, path).Exec("INSERT INTO wecom_locks_1 VALUES (?, 'a third', ?)", key, time.Now().Add(10*time.Second).UnixMilli())
		require.NoError(t, err)
		return token("older"), nil
	})
	assert.ErrorContains(t, err, "the lock was lost")
	assert.Equal(t, "older", got.Value.Reveal())
	assert.Equal(t, "newer", load(t, s, key))
	var owner string
	require.NoError(t, raw(t, path).QueryRow("SELECT owner FROM wecom_locks_1").Scan(&owner))
	assert.Equal(t, "a third", owner, "who lost the lock must not free it")
}

// A lock from before the clock was set back must not hold for hours.
func TestF20_ClockSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := newStore(t, path)
	for _, ahead := range []time.Duration{5 * time.Minute, time.Hour, 1000000 * time.Hour} {
		_, err := raw(t, path).Exec("INSERT OR REPLACE INTO wecom_locks_1 VALUES (?, 'x', ?)", key, time.Now().Add(ahead+14*time.Second).UnixMilli())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err = s.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) { return token("x"), nil })
		cancel()
		assert.NoError(t, err, "%v ahead", ahead)
	}
}

func TestWhatWasFetchedIsStoredThoughTheCallerLeft(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "tokens.db"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) {
		cancel()
		return token("fetched"), nil
	})
	require.NoError(t, err)
	assert.Equal(t, "fetched", load(t, s, key))
}

func TestFnMayNotOutstayItsLock(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "tokens.db"))
	_, err := s.Update(t.Context(), key, func(ctx context.Context, _ wecom.Token) (wecom.Token, error) {
		deadline, ok := ctx.Deadline()
		assert.True(t, ok)
		assert.Less(t, time.Until(deadline), 14*time.Second)
		return token("x"), nil
	})
	require.NoError(t, err)
}

func TestNothingIsTooBrokenToMend(t *testing.T) {
	exec := func(query string) func(*testing.T, string) error {
		return func(t *testing.T, path string) error {
			_, err := raw(t, path).Exec(query)
			return err
		}
	}
	for name, c := range map[string]struct {
		wreck func(t *testing.T, path string) error
		aside int
	}{
		"row deleted":          {exec("DELETE FROM wecom_tokens_1"), 0},
		"table missing":        {exec("DROP TABLE wecom_tokens_1"), 0},
		"both tables missing":  {exec("DROP TABLE wecom_tokens_1; DROP TABLE wecom_locks_1"), 0},
		"another table's name": {exec("DROP TABLE wecom_tokens_1; CREATE TABLE wecom_tokens_1 (id INTEGER)"), 0},
		"no unique key":        {exec("DROP TABLE wecom_locks_1; CREATE TABLE wecom_locks_1 (key, until)"), 0},
		"a column too many":    {exec("DROP TABLE wecom_tokens_1; CREATE TABLE wecom_tokens_1 (key TEXT NOT NULL PRIMARY KEY, token BLOB NOT NULL, expires INTEGER NOT NULL, sum BLOB NOT NULL, more TEXT NOT NULL)"), 0},
		"a trigger":            {exec("CREATE TRIGGER t BEFORE INSERT ON wecom_locks_1 BEGIN SELECT RAISE(ABORT, 'no'); END"), 0},
		"stricter types":       {exec("DROP TABLE wecom_tokens_1; CREATE TABLE wecom_tokens_1 (key INTEGER NOT NULL PRIMARY KEY, token BLOB NOT NULL, expires INTEGER NOT NULL, sum BLOB NOT NULL)"), 0},
		"copies of the tables": {exec("CREATE TABLE c AS SELECT * FROM wecom_tokens_1; DROP TABLE wecom_tokens_1; ALTER TABLE c RENAME TO wecom_tokens_1"), 0},
		"a view":               {exec("ALTER TABLE wecom_tokens_1 RENAME TO t; CREATE VIEW wecom_tokens_1 AS SELECT * FROM t"), -1},
		"odd types":            {exec("UPDATE wecom_tokens_1 SET token = 17, expires = 'soon', sum = 1.5"), 0},
		"file deleted":         {func(_ *testing.T, path string) error { return os.Remove(path) }, 0},
		"files deleted": {func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
		}, 0},
		"folder deleted": {func(_ *testing.T, path string) error { return os.RemoveAll(filepath.Dir(path)) }, 0},
		"file replaced": {func(t *testing.T, path string) error {
			other := filepath.Join(t.TempDir(), "other.db")
			s := newStore(t, other)
			put(t, s, "another key", "x")
			require.NoError(t, s.Close())
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"), os.Rename(other, path))
		}, 0},
		"no database": {func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"), os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
		}, 1},
		"no database, but its log": {func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
		}, -1},
		"no database while in use": {func(_ *testing.T, path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600)
		}, -1},
		"emptied while in use": {func(_ *testing.T, path string) error { return os.Truncate(path, 0) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "folder", "tokens.db")
			s, other := newStore(t, path), newStore(t, path)
			put(t, s, key, "old")
			assert.Equal(t, "old", load(t, other, key))
			require.NoError(t, c.wreck(t, path))
			for _, s := range []*sqlitestore.Store{s, other} {
				got, err := s.Load(t.Context(), key)
				require.NoError(t, err)
				if got.Value.Reveal() != "" && got.Value.Reveal() != "new" {
					assert.Equal(t, "old", got.Value.Reveal())
				}
				put(t, s, key, "new")
			}
			assert.Equal(t, "new", load(t, s, key))
			assert.Equal(t, "new", load(t, other, key))
			put(t, s, key, "newest")
			assert.Equal(t, "newest", load(t, newStore(t, path), key))
			if c.aside >= 0 {
				assert.Len(t, setAside(t, path), c.aside)
			}
			checkIntegrity(t, path)
		})
	}
}

// A process that has not noticed that the file was deleted writes on into what it has open.
func TestDeletedFileStillInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := newStore(t, path)
	put(t, s, key, "old")
	late := storetest.Start(t, "straggler", path)
	require.Equal(t, "ready", late.Hear())
	require.NoError(t, os.Remove(path))
	for n := range 20 {
		value := "new " + strconv.Itoa(n)
		put(t, s, key, value)
		late.Say("write")
		late.Hear()
		assert.Equal(t, value, load(t, s, key))
		fresh := newStore(t, path)
		assert.Equal(t, value, load(t, fresh, key))
		require.NoError(t, fresh.Close())
	}
	late.Kill()
	assert.Equal(t, "new 19", load(t, newStore(t, path), key))
	assert.Empty(t, setAside(t, path))
	checkIntegrity(t, path)
}

// All who find the file damaged want to set it aside, but the next one is sound.
func TestF14_SetAsideOnce(t *testing.T) {
	silenceWarnings(t)
	path := filepath.Join(t.TempDir(), "tokens.db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { // as another process would
			s, err := sqlitestore.Open(path)
			if !assert.NoError(t, err) {
				return
			}
			defer func() { assert.NoError(t, s.Close()) }()
			var inside sync.WaitGroup
			for n := range 8 {
				inside.Go(func() {
					_, err := s.Update(t.Context(), strconv.Itoa(n), func(context.Context, wecom.Token) (wecom.Token, error) { return token("x"), nil })
					assert.NoError(t, err)
				})
			}
			inside.Wait()
		})
	}
	group.Wait()
	assert.Len(t, setAside(t, path), 1)

	s := newStore(t, path)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		require.NoError(t, os.Remove(path+suffix))
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	for n := range 16 {
		group.Go(func() {
			_, err := s.Load(t.Context(), strconv.Itoa(n))
			assert.NoError(t, err)
		})
	}
	group.Wait()
	assert.Len(t, setAside(t, path), 2)
}

func TestF14_SettingAsideHasAnEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	for n := range 12 {
		require.NoError(t, os.WriteFile(path, []byte("this is no database, and never was one"), 0o600))
		s := newStore(t, path)
		_, err := s.Load(t.Context(), key)
		if n < 10 {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "find out why")
		}
		require.NoError(t, s.Close())
	}
	assert.Len(t, setAside(t, path), 10)
}

// A flipped byte must give the same token or none. The row's own bytes are flipped and some
// of the others; with WECOM_FLIPS, every one of them.
func TestF14_DamagedFileHoldsNoOtherToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole.db")
	s := newStore(t, path)
	put(t, s, key, "the-token")
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	silenceWarnings(t)

	row := bytes.Index(whole, []byte("the-token"))
	require.Positive(t, row)
	var places []int
	for i, b := range whole {
		if row-4 <= i && i < row+20 || b != 0 && rand.N(40) == 0 || os.Getenv("WECOM_FLIPS") != "" {
			places = append(places, i)
		}
	}
	hits, failed := 0, map[string]int{}
	for _, i := range places {
		damaged := filepath.Join(dir, fmt.Sprintf("damaged-%d.db", i))
		data := append([]byte(nil), whole...)
		data[i] ^= 1 << rand.N(8)
		require.NoError(t, os.WriteFile(damaged, data, 0o600))
		s := newStore(t, damaged)
		got, err := s.Load(t.Context(), key)
		if value := got.Value.Reveal(); value != "" {
			hits++
			require.Equal(t, "the-token", value, "byte %d", i)
			require.WithinDuration(t, tomorrow, got.Expires, time.Second, "byte %d", i)
		}
		if err == nil {
			_, err = s.Update(t.Context(), key, func(_ context.Context, current wecom.Token) (wecom.Token, error) {
				require.Contains(t, []string{"", "the-token"}, current.Value.Reveal(), "byte %d", i)
				return token("mended"), nil
			})
		}
		if err != nil {
			failed[err.Error()]++
		} else {
			assert.Equal(t, "mended", load(t, s, key), "byte %d", i)
		}
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(damaged))
	}
	t.Logf("%d of %d bytes flipped: %d did no harm, errors: %v", len(places), len(whole), hits, failed)
}

func TestSeveralAppsInOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	a, b := newStore(t, path), newStore(t, path)
	put(t, a, "wecom:ww1:1000002:11", "first")
	put(t, b, "wecom:ww1:1000003:22", "second")
	assert.Equal(t, "first", load(t, b, "wecom:ww1:1000002:11"))
	assert.Equal(t, "second", load(t, a, "wecom:ww1:1000003:22"))
}

func TestPathsThatMeanSomethingToSQLite(t *testing.T) {
	for _, name := range []string{"a?mode=ro", "50%.db", "a#b.db", "file:x.db", "企业微信.db", "a b.db", "%41.db", "[x]*.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := newStore(t, path)
		put(t, s, key, "x")
		assert.FileExists(t, path)
		assert.Equal(t, "x", load(t, newStore(t, path), key), name)
	}
}

func TestOpen_Refuses(t *testing.T) {
	_, err := sqlitestore.Open("")
	assert.Error(t, err)
	_, err = sqlitestore.Open(t.TempDir())
	assert.ErrorContains(t, err, "not a plain file")
}

func TestZeroAndClosedStore(t *testing.T) {
	closed := newStore(t, filepath.Join(t.TempDir(), "tokens.db"))
	var late error
	got, err := closed.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
		late = closed.Close()
		return token("fetched"), nil
	})
	require.NoError(t, late)
	assert.Error(t, err)
	assert.Equal(t, "fetched", got.Value.Reveal())
	require.NoError(t, closed.Close())
	for _, s := range []*sqlitestore.Store{closed, {}} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := s.Load(ctx, key)
		assert.ErrorContains(t, err, "closed")
		_, err = s.Update(ctx, key, uncalled(t))
		assert.ErrorContains(t, err, "closed")
		assert.NoError(t, s.Close())
		cancel()
	}
}

func BenchmarkLoad(b *testing.B) {
	s, err := sqlitestore.Open(filepath.Join(b.TempDir(), "tokens.db"))
	require.NoError(b, err)
	defer func() { _ = s.Close() }()
	for b.Loop() {
		_, _ = s.Load(b.Context(), key)
	}
}

func BenchmarkUpdate(b *testing.B) {
	s, err := sqlitestore.Open(filepath.Join(b.TempDir(), "tokens.db"))
	require.NoError(b, err)
	defer func() { _ = s.Close() }()
	for n := 0; b.Loop(); n++ {
		_, _ = s.Update(b.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
			return wecom.Token{Value: wecom.NewSecret("x"), Expires: time.Unix(int64(n), 0)}, nil
		})
	}
}

func newStore(t *testing.T, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var tomorrow = time.Now().Add(24 * time.Hour)

func token(value string) wecom.Token {
	return wecom.Token{Value: wecom.NewSecret(value), Expires: tomorrow}
}

func put(t *testing.T, s *sqlitestore.Store, key, value string) {
	t.Helper()
	_, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) { return token(value), nil })
	require.NoError(t, err)
}

func load(t *testing.T, s *sqlitestore.Store, key string) string {
	t.Helper()
	got, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	return got.Value.Reveal()
}

func uncalled(t *testing.T) func(context.Context, wecom.Token) (wecom.Token, error) {
	return func(context.Context, wecom.Token) (wecom.Token, error) {
		t.Error("fn was called")
		return token("y"), nil
	}
}

// raw opens the database beside the store, as somebody with a SQLite tool would.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	db := raw(t, path)
	var result string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&result))
	assert.Equal(t, "ok", result)
	require.NoError(t, db.Close())
}

func setAside(t *testing.T, path string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, e := range entries {
		if strings.Contains(e.Name(), ".corrupt-") && !strings.HasSuffix(e.Name(), "-wal") && !strings.HasSuffix(e.Name(), "-shm") {
			found = append(found, e.Name())
		}
	}
	return found
}
