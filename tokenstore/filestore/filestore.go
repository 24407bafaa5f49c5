package filestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/private"
)

const (
	tokenExt = ".json"
	lockExt  = ".lock"
	tempExt  = ".tmp"

	lockPoll = 20 * time.Millisecond
)

var (
	_ wecom.TokenStore = (*Store)(nil)

	tempName = regexp.MustCompile(`^[0-9a-f]{32}\.[0-9]+\` + tempExt + "$") // as write makes it
)

// A Store is a [wecom.TokenStore] in a folder. Use [New]; every method of the zero Store returns an
// error. It is safe for concurrent use, keeps nothing open between calls, runs no goroutine and need
// not be closed.
type Store struct{ dir string }

// New returns a store that keeps its files in dir. It creates dir, and the folders above it, if they
// are missing, and removes what killed writers left in it. A relative dir is resolved once, against
// the current directory.
//
// New returns an error for what only a person can fix: an empty dir, or one that is not a folder,
// belongs to another user or is open to other users. For any other failure of the disk (full, not
// mounted, read-only) it returns a store whose methods return that error until the disk is back, so
// that a service starts without it.
func New(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("filestore: no folder given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	s := &Store{dir}
	if err := s.makeFolder(); err != nil {
		if refused := (*private.Error)(nil); errors.As(err, &refused) || errors.Is(err, errNoFolder) {
			return nil, fmt.Errorf("filestore: %w", err)
		}
		return s, nil
	}
	s.removeAllTemps()
	return s, nil
}

// Load returns the token under key. The zero Token means that there is none, or that its file is
// damaged; an error means that the folder or the file cannot be read or is open to other users. Load
// takes no lock.
func (s *Store) Load(ctx context.Context, key string) (wecom.Token, error) {
	if err := ctx.Err(); err != nil {
		return wecom.Token{}, err
	}
	if err := s.checkFolder(); errors.Is(err, fs.ErrNotExist) {
		return wecom.Token{}, nil
	} else if err != nil {
		return wecom.Token{}, fmt.Errorf("filestore: %w", err)
	}
	t, err := read(s.path(key, tokenExt), key)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("filestore: %w", err)
	}
	return t, nil
}

// Update calls fn under key's lock, as [wecom.TokenStore] says. It waits for the lock until ctx
// ends. What fn returns is written even if ctx has ended by then, unless it equals current.
func (s *Store) Update(ctx context.Context, key string, fn func(context.Context, wecom.Token) (wecom.Token, error)) (wecom.Token, error) {
	if err := s.makeFolder(); err != nil {
		return wecom.Token{}, fmt.Errorf("filestore: %w", err)
	}
	lock, err := s.lock(ctx, key)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("filestore: lock: %w", err)
	}
	defer func() { _ = lock.Unlock() }() // closes the file whatever happens, also when fn panics

	s.removeTemps(name(key))
	current, err := read(s.path(key, tokenExt), key)
	if err != nil {
		return wecom.Token{}, fmt.Errorf("filestore: %w", err)
	}
	t, err := fn(ctx, current)
	if err != nil {
		return wecom.Token{}, err
	}
	if t.Value.Reveal() == "" {
		return wecom.Token{}, errors.New("filestore: no token to store")
	}
	if t.Value.Reveal() == current.Value.Reveal() && t.Expires.Equal(current.Expires) {
		return t, nil
	}
	if err := s.write(key, t); err != nil {
		return t, fmt.Errorf("filestore: %w", err)
	}
	return t, nil
}

var errNoFolder = errors.New("not a folder")

func (s *Store) makeFolder() error {
	err := s.checkFolder()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	return s.checkFolder()
}

// checkFolder runs on every call, since anyone who can write to the folder can plant a token.
func (s *Store) checkFolder() error {
	if s.dir == "" {
		return errors.New("a Store that New did not make")
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is %w", s.dir, errNoFolder)
	}
	return private.Check(s.dir, info)
}

// lock creates the lock's file if it is missing. If somebody deletes the file between opening and
// locking it, other processes lock a new file of that name: only a lock on the file that has the
// name counts.
func (s *Store) lock(ctx context.Context, key string) (*flock.Flock, error) {
	path := s.path(key, lockExt)
	for {
		lock := newLock(path)
		if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
			return nil, err
		}
		if isFile(lock, path) {
			return lock, nil
		}
		_ = lock.Unlock()
	}
}

func newLock(path string) *flock.Flock {
	return flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
}

func isFile(lock *flock.Flock, path string) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(held, named)
}

// removeTemps removes what a killed writer left. The caller holds the key's lock, so no writer is
// active.
func (s *Store) removeTemps(name string) {
	for _, file := range s.temps() {
		if strings.HasPrefix(file, name+".") {
			_ = os.Remove(filepath.Join(s.dir, file))
		}
	}
}

func (s *Store) removeAllTemps() {
	for _, file := range s.temps() {
		name, _, _ := strings.Cut(file, ".")
		path := filepath.Join(s.dir, name+lockExt)
		lock := newLock(path)
		if ok, _ := lock.TryLock(); !ok {
			continue // being written
		}
		if isFile(lock, path) {
			_ = os.Remove(filepath.Join(s.dir, file))
		}
		_ = lock.Unlock()
	}
}

func (s *Store) temps() []string {
	entries, _ := os.ReadDir(s.dir)
	var temps []string
	for _, e := range entries {
		if tempName.MatchString(e.Name()) {
			temps = append(temps, e.Name())
		}
	}
	return temps
}

func (s *Store) path(key, ext string) string { return filepath.Join(s.dir, name(key)+ext) }

// name returns 128 bits of a hash, in characters that every file system tells apart.
func name(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}
