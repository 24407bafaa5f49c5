package filestore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/wecomauth/wecom"
	"github.com/wecomauth/wecom/tokenstore/private"
)

const (
	version = 1
	maxFile = 1 << 20
)

// A file is what a token's file holds. Token and Sum are bytes, so that JSON holds
// any value of a token as it is.
type file struct {
	Version int    `json:"version"`
	Token   []byte `json:"token"`
	Expires int64  `json:"expires"` // in milliseconds of Unix time
	Sum     []byte `json:"sum"`     // of all that and the key
}

func (f *file) sum(key string) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(key), f.Token} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
		h.Write(part)
	}
	_ = binary.Write(h, binary.BigEndian, [2]int64{int64(f.Version), f.Expires})
	return h.Sum(nil)
}

// read returns the zero Token if there is no file, or if write did not write it for key.
func read(path, key string) (wecom.Token, error) {
	// A pipe would block the opening, a device the reading.
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return wecom.Token{}, nil
	}
	if err != nil {
		return wecom.Token{}, err
	}
	if !info.Mode().IsRegular() {
		return wecom.Token{}, fmt.Errorf("%s is not a plain file; fix it with: rm -r '%s'", path, path)
	}
	if err := private.Check(path, info); err != nil {
		return wecom.Token{}, err
	}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return wecom.Token{}, nil
	}
	if err != nil {
		return wecom.Token{}, err
	}
	var f file
	if json.Unmarshal(data, &f) != nil || f.Version != version || len(f.Token) == 0 || !bytes.Equal(f.Sum, f.sum(key)) {
		return wecom.Token{}, nil
	}
	return wecom.Token{Value: wecom.NewSecret(string(f.Token)), Expires: time.UnixMilli(f.Expires)}, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) // #nosec G304 -- in our own folder
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// write replaces the token's file in one step. The caller holds the key's lock.
func (s *Store) write(key string, t wecom.Token) (err error) {
	f := file{Version: version, Token: []byte(t.Value.Reveal()), Expires: t.Expires.UnixMilli()}
	f.Sum = f.sum(key)
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return errors.New("the token is too large")
	}
	temp, err := os.CreateTemp(s.dir, name(key)+".*"+tempExt) // has mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(data)
	// Without this, a power cut may leave the new name on an empty file.
	if syncErr := temp.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return replace(temp.Name(), s.path(key, tokenExt))
}
