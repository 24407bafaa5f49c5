package storetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/logtest"
)

const mediumKey = "storetest:medium"

// ReadOnly tests the store that open gives for a folder whose disk turns read-only.
func ReadOnly(t *testing.T, open Open) {
	folder, setReadOnly := readOnlyDisk(t)
	store := mustOpen(t, open, folder)
	mustPut(t, store, "old")
	closeStore(store)

	setReadOnly(true)
	store = mustOpen(t, open, folder)
	checkFailing(t, store)
	closeStore(store)

	setReadOnly(false)
	store = mustOpen(t, open, folder)
	defer closeStore(store)
	checkLoad(t, store, "old")
	mustPut(t, store, "new")
	checkLoad(t, store, "new")
}

// Full tests the store that open gives for a folder whose disk, of size (as mount has it), gets
// full while the store is in use.
func Full(t *testing.T, size string, open Open) {
	folder := smallDisk(t, size)
	store := mustOpen(t, open, folder)
	defer closeStore(store)
	mustPut(t, store, "old")

	filler := filepath.Join(folder, "filler")
	fill(t, filler)
	checkFailing(t, store)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	checkLoad(t, store, "old")
	mustPut(t, store, "new")
	checkLoad(t, store, "new")
}

// Missing tests the store that open gives for a folder that is not there and cannot be made.
func Missing(t *testing.T, open Open) {
	obstacle := filepath.Join(t.TempDir(), "unmounted")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := mustOpen(t, open, filepath.Join(obstacle, "folder"))
	defer closeStore(store)
	checkFailing(t, store)
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	mustPut(t, store, "new")
	checkLoad(t, store, "new")
}

// checkFailing checks that nobody is kept from signing in by a store that cannot write: one fetch
// for all of them, and one warning for the whole episode.
func checkFailing(t *testing.T, store wecom.TokenStore) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if old, err := store.Load(ctx, mediumKey); err == nil && old.Value.Reveal() != "" && old.Value.Reveal() != "old" {
		t.Errorf("Load gave a token that nobody stored")
	}
	want := strings.Repeat("too large for the rest of the disk", 500)
	called := false
	got, err := store.Update(ctx, mediumKey, func(context.Context, wecom.Token) (wecom.Token, error) {
		called = true
		return wecom.Token{Value: wecom.NewSecret(want), Expires: time.Now().Add(time.Hour)}, nil
	})
	switch {
	case err == nil:
		t.Errorf("Update did not fail")
	case called && got.Value.Reveal() != want:
		t.Errorf("Update lost fn's token with the error %v", err)
	case strings.Contains(err.Error(), want):
		t.Errorf("Update's error shows the token")
	}
	t.Logf("Update: fn called: %v, error: %v", called, err)

	warnings := captureWarnings(t)
	var fetches atomic.Int64
	source := wecom.NewTokenSource("storetest:source", store, func(context.Context, wecom.Token) (wecom.Token, error) {
		return wecom.Token{Value: wecom.NewSecret(strings.Repeat("x", 20000) + string(rune('a'+fetches.Add(1)))), Expires: time.Now().Add(time.Hour)}, nil
	})
	for round := range int64(3) {
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if _, err := source.Token(ctx); err != nil {
					t.Errorf("a sign-in failed: %v", err)
				}
			})
		}
		group.Wait()
		if n := fetches.Load(); n != round+1 {
			t.Errorf("%d fetches where %d were due", n, round+1)
		}
		token, _ := source.Token(ctx)
		source.Invalidate(token)
	}
	if n := strings.Count(warnings.String(), "token store failed"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, warnings.String())
	}
}

func captureWarnings(t *testing.T) *logtest.Buffer {
	b := &logtest.Buffer{}
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(former) })
	return b
}

func mustOpen(t *testing.T, open Open, medium string) wecom.TokenStore {
	t.Helper()
	store, err := open(medium)
	if err != nil {
		t.Fatalf("a medium that fails must not keep a service from starting: %v", err)
	}
	return store
}

func closeStore(store wecom.TokenStore) {
	if c, ok := store.(io.Closer); ok {
		_ = c.Close()
	}
}

func mustPut(t *testing.T, store wecom.TokenStore, value string) {
	t.Helper()
	if _, err := store.Update(t.Context(), mediumKey, func(context.Context, wecom.Token) (wecom.Token, error) {
		return wecom.Token{Value: wecom.NewSecret(value), Expires: time.Now().Add(time.Hour)}, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func checkLoad(t *testing.T, store wecom.TokenStore, want string) {
	t.Helper()
	if got, err := store.Load(t.Context(), mediumKey); err != nil || got.Value.Reveal() != want {
		t.Errorf("Load: %.40q, %v, want %q", got.Value.Reveal(), err, want)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600) // #nosec G304 -- a test's
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for n := 0; n < 1<<30; n += 512 {
		if _, err := f.Write(make([]byte, 512)); err != nil {
			return
		}
	}
	t.Fatal("a disk that does not get full")
}

// readOnlyDisk returns an empty folder on a disk that can be made read-only: one of its own if this
// user may mount, or else by file modes, which all users but root obey.
func readOnlyDisk(t *testing.T) (folder string, setReadOnly func(bool)) {
	if os.Geteuid() == 0 {
		folder = smallDisk(t, "4m")
		return folder, func(on bool) {
			if err := remount(folder, on); err != nil {
				t.Fatal(err)
			}
		}
	}
	folder = t.TempDir()
	return folder, func(on bool) {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			mode := fs.FileMode(0o600)
			if e.IsDir() {
				mode = 0o700
			}
			if on {
				mode &^= 0o200
			}
			return errors.Join(err, os.Chmod(path, mode))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func smallDisk(t *testing.T, size string) string {
	t.Helper()
	folder := t.TempDir()
	if err := mount(folder, size); err != nil {
		t.Skipf("SKIPPED: this test needs a small disk of its own, and so the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(folder); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return folder
}
