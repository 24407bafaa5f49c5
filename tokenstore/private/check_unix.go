//go:build unix

package private

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

func check(path string, info fs.FileInfo) error {
	if info.IsDir() && info.Mode()&fs.ModeSticky != 0 && info.Mode().Perm()&0o022 != 0 {
		return refuse("%s is a folder for everybody, but access tokens are to lie there; choose a folder below it, such as %s",
			path, filepath.Join(path, "wecom-tokens"))
	}
	// Who it belongs to comes before the mode, since only the owner can change that.
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() {
		if os.Geteuid() == 0 { // an administrator's command, beside a service that needs the file
			return refuse("%s belongs to the user with id %d, and this program runs as root; run it as that user", path, s.Uid)
		}
		return refuse("%s belongs to the user with id %d, and this program runs as %d; run: chown %d '%s'",
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
	return refuse("%s is open to other users (mode %04o); run: chmod %o '%s'", path, mode, want, path)
}
