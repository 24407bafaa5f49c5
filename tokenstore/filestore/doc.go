// Package filestore keeps access tokens in a folder, for the processes of one machine: an app's
// token survives restarts, and workers, cron jobs and servers that use the same folder fetch it
// once between them.
//
//	store, err := filestore.New("/var/lib/myapp/wecom-tokens")
//	…
//	auth, err := wecom.New(wecom.Options{TokenStore: store, …})
//
// All of them run as one user: the folder is created with mode 0700 and the files in it with 0600,
// whatever the umask. A folder or file that other users may access, or that belongs to another
// user, is refused with an error that says how to fix it. On systems without such modes (Windows),
// choose a folder below the user's profile.
//
// # Files
//
// A key has two files: its token, NAME.json, and its lock, NAME.lock. NAME is derived from the key's
// SHA-256, so it shows neither app nor secret. Any of them may be deleted at any time, even the
// folder: that costs one fetch. A file with the extension tmp was left by a process that was killed
// while writing; New removes it, and so does the key's next Update.
//
// A token is written to a new file, flushed to the disk and renamed, so a reader finds either the
// old one or the new one. It carries a checksum: a damaged file, or one that was copied from another
// key, holds no token.
//
// # Locks
//
// The lock is the operating system's (flock, or LockFileEx on Windows). It is free again as soon as
// its holder dies; a stopped holder keeps it. The folder belongs on a local disk: few network file
// systems support such locks.
package filestore
