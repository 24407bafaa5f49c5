//go:build !unix

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// replace tries for a second: Windows does not replace a file while somebody has it open, and
// readers have it open for a moment.
func replace(temp, path string) error {
	for deadline := time.Now().Add(time.Second); ; {
		err := os.Rename(temp, path)
		if err == nil || !errors.Is(err, fs.ErrPermission) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
