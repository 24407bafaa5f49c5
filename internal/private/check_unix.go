//go:build unix

package private

import (
	"io/fs"
	"os"
	"syscall"
)

// Check returns an [*Error] if others than the program's user may read or write
// what info describes, or if it belongs to somebody else, who could let them.
func Check(path string, info fs.FileInfo) error {
	// Who it belongs to comes first, since only the owner can change the mode.
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		return refuse("%s belongs to the user with id %d, and this program runs as %d; mend it with: chown %d '%s'",
			path, s.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	want := 0o600
	if info.IsDir() {
		want = 0o700
	}
	return refuse("%s is open to other users (mode %04o), but access tokens lie there; mend it with: chmod %o '%s'", path, mode, want, path)
}
