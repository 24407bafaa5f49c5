//go:build unix

package private_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wecomauth/wecom/tokenstore/private"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		path string
		mode os.FileMode
		mend string // "" for none needed
	}{
		{file, 0o600, ""},
		{file, 0o400, ""},
		{file, 0o700, ""},
		{file, 0o640, "chmod 600 '" + file + "'"},
		{file, 0o604, "chmod 600 '" + file + "'"},
		{file, 0o620, "chmod 600 '" + file + "'"},
		{file, 0o610, "chmod 600 '" + file + "'"},
		{dir, 0o700, ""},
		{dir, 0o500, ""},
		{dir, 0o700 | os.ModeSticky, ""},
		{dir, 0o750, "chmod 700 '" + dir + "'"},
		{dir, 0o701, "chmod 700 '" + dir + "'"},
		{dir, 0o777 | os.ModeSticky, "choose a folder below it"}, // others need /tmp as it is
	} {
		require.NoError(t, os.Chmod(c.path, c.mode))
		info, err := os.Stat(c.path)
		require.NoError(t, err)
		err = private.Check(c.path, info)
		if c.mend == "" {
			assert.NoError(t, err, "%v", c.mode)
			continue
		}
		assert.ErrorContains(t, err, c.mend, "%v", c.mode)
		assert.ErrorAs(t, err, new(*private.Error))
	}
	require.NoError(t, os.Chmod(dir, 0o700)) // #nosec G302 -- a folder
}

func TestCheck_SomebodyElses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to give a file away")
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Chown(file, 12345, -1))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.ErrorContains(t, private.Check(file, info), "run it as that user")
}
