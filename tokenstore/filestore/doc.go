// Package filestore keeps access tokens in a folder, for the processes of one
// machine: an app's token survives restarts, and workers, cron jobs and servers that
// name the same folder fetch it once between them.
//
//	store, err := filestore.New("/var/lib/myapp/wecom-tokens")
//	…
//	auth, err := wecom.New(wecom.Options{TokenStore: store, …})
//
// All of them run as one user: the folder is made with mode 0700 and the files in it
// with 0600, whatever the umask. A folder or file that others may use, or that belongs to
// somebody else, is refused with a sentence that says how to mend it. On systems without such
// modes (Windows), choose a folder below the user's profile.
//
// # What lies in the folder
//
// A key has two files: its token, NAME.json, and its lock, NAME.lock. NAME is made of the
// key's SHA-256, so it shows neither app nor secret. Any of them may be deleted at any time,
// even the folder: that costs one fetch. A file with extension tmp is what a process
// left that was killed while it wrote; New removes it, and so does the key's next Update.
//
// A token is written to a file of its own, flushed to the disk and renamed, so a
// reader finds the old one or the new one. It carries a checksum: a damaged file, and one
// that was copied from another key, hold no token.
//
// # Locks
//
// The lock is the operating system's (flock, or LockFileEx on Windows). It is free again in
// the moment in which its holder dies, and a stopped holder keeps it. The folder
// belongs on a local disk; few network file systems keep such locks.
package filestore
