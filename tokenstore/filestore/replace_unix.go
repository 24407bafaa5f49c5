//go:build unix

package filestore

import (
	"os"
	"path/filepath"
)

func replace(temp, path string) error {
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	// The token is in place for everyone. If its name does not reach the disk before a power cut,
	// it is fetched again: no reason to fail.
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}
