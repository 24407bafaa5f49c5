//go:build unix

package filestore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/storetest"
	"github.com/wecomauth/wecom/tokenstore/filestore"
)

var roles = map[string]func(wecom.TokenStore, *bufio.Reader) error{
	"careless": func(store wecom.TokenStore, _ *bufio.Reader) error {
		syscall.Umask(0)
		dir := os.Getenv("WECOM_DIR")
		s, err := filestore.New(dir)
		if err != nil {
			return err
		}
		if _, err := s.Update(context.Background(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
			return token("x"), nil
		}); err != nil {
			return err
		}
		fmt.Println("done")
		return nil
	},
}

func TestModesWithoutUmask(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "tokens")
	p := storetest.Start(t, "careless", filepath.Join(t.TempDir(), "unused"), "WECOM_DIR="+dir)
	require.Equal(t, "done", p.Hear())
	modes := map[string]os.FileMode{}
	require.NoError(t, filepath.WalkDir(filepath.Dir(dir), func(path string, e os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		modes[path] = info.Mode().Perm()
		return nil
	}))
	assert.Len(t, modes, 4)
	for path, mode := range modes {
		want := os.FileMode(0o600)
		if !strings.Contains(filepath.Base(path), ".") {
			want = 0o700
		}
		assert.Equal(t, want, mode, path)
	}
}

func TestWiderModesAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "x")
	path := file(t, dir, ".json")
	for _, mode := range []os.FileMode{0o755, 0o777, 0o710, 0o702, 0o740} {
		require.NoError(t, os.Chmod(dir, mode))
		_, err := filestore.New(dir)
		assert.ErrorContains(t, err, fmt.Sprintf("chmod 700 '%s'", dir), "New, mode %o", mode)
		_, err = s.Load(t.Context(), key)
		assert.ErrorContains(t, err, "chmod 700", "Load, mode %o", mode)
		_, err = s.Update(t.Context(), key, uncalled(t))
		assert.ErrorContains(t, err, "chmod 700", "Update, mode %o", mode)
	}
	require.NoError(t, os.Chmod(dir, 0o700))
	for _, mode := range []os.FileMode{0o644, 0o666, 0o620, 0o601} {
		require.NoError(t, os.Chmod(path, mode))
		_, err := s.Load(t.Context(), key)
		assert.ErrorContains(t, err, fmt.Sprintf("chmod 600 '%s'", path), "Load, mode %o", mode)
		_, err = s.Update(t.Context(), key, uncalled(t))
		assert.ErrorContains(t, err, "chmod 600", "Update, mode %o", mode)
	}
	require.NoError(t, os.Chmod(path, 0o600))
	_, err := s.Load(t.Context(), key)
	assert.NoError(t, err, "mended")
}

func TestSomebodyElsesFilesAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to give files away")
	}
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "x")
	require.NoError(t, os.Chown(file(t, dir, ".json"), 12345, -1))
	_, err := s.Load(t.Context(), key)
	assert.ErrorContains(t, err, "belongs to the user with id 12345")
	require.NoError(t, os.Chown(dir, 12345, -1))
	_, err = filestore.New(dir)
	assert.ErrorContains(t, err, "run it as that user")
}

// A pipe in the token's place must not block, nor a link lead elsewhere.
func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "x")
	path := file(t, dir, ".json")
	for name, place := range map[string]func() error{
		"pipe":   func() error { return syscall.Mkfifo(path, 0o600) },
		"folder": func() error { return os.Mkdir(path, 0o700) },
		"link":   func() error { return os.Symlink("/dev/zero", path) },
	} {
		require.NoError(t, os.Remove(path))
		require.NoError(t, place(), name)
		_, err := s.Load(t.Context(), key)
		assert.ErrorContains(t, err, "is not a plain file", name)
	}
}

func TestLinkToTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	newStore(t, dir)
	link := dir + "-link"
	require.NoError(t, os.Symlink(dir, link))
	put(t, newStore(t, link), key, "x")
	file(t, dir, ".json")
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := filestore.New(link)
	assert.ErrorContains(t, err, "chmod 700", "what counts is where the link leads")
}

func TestF16_ReadOnlyDisk(t *testing.T) {
	storetest.ReadOnly(t, func(folder string) (wecom.TokenStore, error) { return filestore.New(filepath.Join(folder, "tokens")) })
}

func TestF16_FullDisk(t *testing.T) {
	storetest.Full(t, "64k", func(folder string) (wecom.TokenStore, error) { return filestore.New(filepath.Join(folder, "tokens")) })
}

func TestF14_NoDisk(t *testing.T) {
	storetest.Missing(t, func(folder string) (wecom.TokenStore, error) { return filestore.New(filepath.Join(folder, "tokens")) })
}

func uncalled(t *testing.T) func(context.Context, wecom.Token) (wecom.Token, error) {
	return func(context.Context, wecom.Token) (wecom.Token, error) {
		t.Error("fn was called")
		return token("y"), nil
	}
}
