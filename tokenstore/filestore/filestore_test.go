package filestore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/internal/storetest"
	"github.com/wecomauth/wecom/tokenstore/filestore"
	"github.com/wecomauth/wecom/wecomtest/conformance"
)

const key = "wecom:ww0123456789abcdef:1000002:0123456789abcdef"

func open(dir string) (wecom.TokenStore, error) { return filestore.New(dir) }

func TestMain(m *testing.M) { storetest.Main(m, open, roles) }

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	conformance.TokenStore(t, func(t *testing.T) wecom.TokenStore { return newStore(t, dir) })
}

func TestF18_OneFetchForAFleet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	storetest.KillHolder(t, dir, storetest.FleetKey) // who leaves a lock and no token
	storetest.Fleet(t, dir, false)
}

func TestOfficialAccountOfAFleet(t *testing.T) {
	storetest.Accounts(t, filepath.Join(t.TempDir(), "tokens"))
}

func TestF15_KilledWritersLeaveNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	cut, most := 0, 0
	storetest.KillWriters(t, open, dir, storetest.Kills(15),
		func(int) string { return key },
		func() {
			n := len(leftovers(t, dir))
			cut, most = cut+min(n, 1), max(most, n)
		})
	t.Logf("%d writers left a file, %d at most lay there at a time", cut, most)
	newStore(t, dir)
	assert.Empty(t, leftovers(t, dir), "after the next start")
}

func TestF15_NextUpdateRemovesLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "old")
	name := strings.TrimSuffix(file(t, dir, ".json"), ".json")
	require.NoError(t, os.WriteFile(name+".12345.tmp", []byte("half a tok"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "theirs.tmp"), nil, 0o600))
	put(t, s, key, "new")
	assert.Equal(t, []string{"theirs.tmp"}, leftovers(t, dir))
	newStore(t, dir)
	assert.Equal(t, []string{"theirs.tmp"}, leftovers(t, dir))
}

func TestF15_NewSparesALivingWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	_, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
		temp := strings.TrimSuffix(file(t, dir, ".lock"), ".lock") + ".1.tmp"
		require.NoError(t, os.WriteFile(temp, nil, 0o600))
		newStore(t, dir)
		assert.FileExists(t, temp)
		return token("x"), nil
	})
	require.NoError(t, err)
}

func TestF19_KilledHolderFreesTheLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	storetest.KillHolder(t, dir, key)
	start := time.Now()
	put(t, s, key, "next")
	took := time.Since(start)
	t.Logf("the lock was free after %v", took)
	assert.Less(t, took, 15*time.Second)
}

// Every flipped bit and every cut must give the same token or none.
func TestF14_DamagedFileHoldsNoOtherToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "the-token")
	want, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	path := file(t, dir, ".json")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	hits := 0
	check := func(data []byte) {
		require.NoError(t, os.WriteFile(path, data, 0o600))
		got, err := s.Load(t.Context(), key)
		require.NoError(t, err)
		if got.Value.Reveal() != "" {
			hits++
			require.Equal(t, want.Value.Reveal(), got.Value.Reveal())
			require.True(t, want.Expires.Equal(got.Expires), "%q", data)
		}
	}
	for i := range whole {
		for bit := range 8 {
			data := append([]byte(nil), whole...)
			data[i] ^= 1 << bit
			check(data)
		}
		check(whole[:i])
		check(append(whole[:i:i], make([]byte, len(whole)-i)...))
	}
	t.Logf("%d bytes, %d bits did no harm", len(whole), hits)
	assert.LessOrEqual(t, hits, len("versiontokenexpiressum")+6, "only the case of the field names and the last bits of base64 do not matter")

	for _, data := range []string{"", "null", "{}", "[]", `{"version":1}`, strings.Repeat("[", 1<<20), strings.Repeat(" ", 2<<20) + string(whole), string(whole) + "x"} {
		check([]byte(data))
	}
	put(t, s, key, "mended")
	got, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, "mended", got.Value.Reveal())
}

func TestF14_FileOfAnotherKeyHoldsNoToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	put(t, s, key, "of app 1000002")
	first := file(t, dir, ".json")
	data, err := os.ReadFile(first)
	require.NoError(t, err)
	require.NoError(t, os.Remove(first))
	put(t, s, "another key", "x")
	require.NoError(t, os.WriteFile(file(t, dir, ".json"), data, 0o600))
	got, err := s.Load(t.Context(), "another key")
	require.NoError(t, err)
	assert.Zero(t, got)
}

func TestWhatWasFetchedIsStoredThoughTheCallerLeft(t *testing.T) {
	s := newStore(t, filepath.Join(t.TempDir(), "tokens"))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) {
		cancel()
		return token("fetched"), nil
	})
	require.NoError(t, err)
	got, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	assert.Equal(t, "fetched", got.Value.Reveal())
}

func TestNothingIsTooBrokenToMend(t *testing.T) {
	for name, wreck := range map[string]func(t *testing.T, dir string) error{
		"folder deleted":    func(_ *testing.T, dir string) error { return os.RemoveAll(dir) },
		"lock file deleted": func(t *testing.T, dir string) error { return os.Remove(file(t, dir, ".lock")) },
		"token deleted":     func(t *testing.T, dir string) error { return os.Remove(file(t, dir, ".json")) },
		"token emptied":     func(t *testing.T, dir string) error { return os.Truncate(file(t, dir, ".json"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tokens")
			s := newStore(t, dir)
			put(t, s, key, "old")
			require.NoError(t, wreck(t, dir))
			_, err := s.Load(t.Context(), key)
			require.NoError(t, err)
			put(t, s, key, "new")
			got, err := s.Load(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, "new", got.Value.Reveal())
		})
	}
}

// Who held a lock file that was deleted must not free, when it ends, the one that was made anew.
func TestDeletedLockFileFreesNoOther(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	s := newStore(t, dir)
	inside, leave := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := s.Update(context.Background(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
			close(inside)
			<-leave
			return token("first"), nil
		})
		first <- err
	}()
	<-inside
	require.NoError(t, os.Remove(file(t, dir, ".lock")))
	_, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
		close(leave)
		require.NoError(t, <-first)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := s.Update(ctx, key, func(context.Context, wecom.Token) (wecom.Token, error) {
			t.Error("two hold the lock")
			return token("x"), nil
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		return token("second"), nil
	})
	require.NoError(t, err)
}

func TestFilesShowNeitherKeyNorPlainName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	put(t, newStore(t, dir), key, "x")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		assert.Regexp(t, `^[0-9a-f]{32}\.(json|lock)$`, e.Name())
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		for part := range strings.SplitSeq(key, ":") {
			assert.NotContains(t, string(data), part)
		}
	}
}

func TestNew_Refuses(t *testing.T) {
	_, err := filestore.New("")
	assert.Error(t, err)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = filestore.New(path)
	assert.ErrorContains(t, err, "not a folder")
}

func TestZeroStore(t *testing.T) {
	var s filestore.Store
	_, err := s.Load(t.Context(), key)
	require.Error(t, err)
	_, err = s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
		t.Error("called")
		return wecom.Token{}, errors.ErrUnsupported
	})
	require.Error(t, err)
}

func BenchmarkLoad(b *testing.B) {
	s, err := filestore.New(filepath.Join(b.TempDir(), "tokens"))
	require.NoError(b, err)
	_, err = s.Update(b.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) { return token("x"), nil })
	require.NoError(b, err)
	for b.Loop() {
		_, _ = s.Load(b.Context(), key)
	}
}

func BenchmarkUpdate(b *testing.B) {
	s, err := filestore.New(filepath.Join(b.TempDir(), "tokens"))
	require.NoError(b, err)
	for n := 0; b.Loop(); n++ {
		_, _ = s.Update(b.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) {
			return wecom.Token{Value: wecom.NewSecret("x"), Expires: time.Unix(int64(n), 0)}, nil
		})
	}
}

func newStore(t *testing.T, dir string) *filestore.Store {
	t.Helper()
	s, err := filestore.New(dir)
	require.NoError(t, err)
	return s
}

var tomorrow = time.Now().Add(24 * time.Hour)

func token(value string) wecom.Token {
	return wecom.Token{Value: wecom.NewSecret(value), Expires: tomorrow}
}

func put(t *testing.T, s *filestore.Store, key, value string) {
	t.Helper()
	_, err := s.Update(t.Context(), key, func(context.Context, wecom.Token) (wecom.Token, error) { return token(value), nil })
	require.NoError(t, err)
}

// file returns the path of the one file in dir that has ext.
func file(t *testing.T, dir, ext string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}
