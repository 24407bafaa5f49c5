package sqlitestore_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/storetest"
	"github.com/wecomauth/wecom/tokenstore/sqlitestore"
)

func inFolder(folder string) (wecom.TokenStore, error) {
	return sqlitestore.Open(filepath.Join(folder, "new", "tokens.db"))
}

func TestF16_ReadOnlyDisk(t *testing.T) { storetest.ReadOnly(t, inFolder) }

func TestF16_FullDisk(t *testing.T) { storetest.Full(t, "256k", inFolder) }

func TestF14_NoDisk(t *testing.T) { storetest.Missing(t, inFolder) }

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: no such modes")
	}
	path := filepath.Join(t.TempDir(), "new", "tokens.db")
	s := newStore(t, path)
	put(t, s, key, "x")
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
	info, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestWiderModesAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: no such modes")
	}
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := newStore(t, path)
	put(t, s, key, "x")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		for _, mode := range []os.FileMode{0o644, 0o666, 0o660, 0o602} {
			require.NoError(t, os.Chmod(path+suffix, mode))
			_, err := sqlitestore.Open(path)
			assert.ErrorContains(t, err, fmt.Sprintf("chmod 600 '%s'", path+suffix), "Open, mode %o", mode)
			if suffix == "" {
				_, err = s.Load(t.Context(), key)
				assert.ErrorContains(t, err, "chmod 600", "Load, mode %o", mode)
				_, err = s.Update(t.Context(), key, uncalled(t))
				assert.ErrorContains(t, err, "chmod 600", "Update, mode %o", mode)
			}
		}
		require.NoError(t, os.Chmod(path+suffix, 0o600))
	}
	assert.Equal(t, "x", load(t, s, key), "mended")
}

func TestSomebodyElsesFileIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to give files away")
	}
	path := filepath.Join(t.TempDir(), "tokens.db")
	s := newStore(t, path)
	put(t, s, key, "x")
	require.NoError(t, os.Chown(path, 12345, -1))
	_, err := s.Load(t.Context(), key)
	assert.ErrorContains(t, err, "belongs to the user with id 12345")
	_, err = sqlitestore.Open(path)
	assert.ErrorContains(t, err, "run it as that user")
}

func TestLinkToTheFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "tokens.db"), filepath.Join(t.TempDir(), "link.db")
	put(t, newStore(t, path), key, "x")
	if err := os.Symlink(path, link); err != nil {
		t.Skip("SKIPPED: cannot make a link:", err)
	}
	assert.Equal(t, "x", load(t, newStore(t, link), key))
	require.NoError(t, os.Remove(link))
	require.NoError(t, os.Symlink("/dev/zero", link))
	_, err := sqlitestore.Open(link)
	assert.Error(t, err)
}

func silenceWarnings(t *testing.T) {
	former := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() { slog.SetDefault(former) })
}
