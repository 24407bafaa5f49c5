// Package sqlitestore keeps access tokens in a SQLite database, for the processes of one machine:
// an app's token survives restarts, and workers, cron jobs and servers that use the same file
// fetch it once between them. Several apps can share one file.
//
//	store, err := sqlitestore.Open("/var/lib/myapp/wecom-tokens.db")
//	…
//	defer store.Close()
//	auth, err := wecom.New(wecom.Options{TokenStore: store, …})
//
// SQLite is compiled in (modernc.org/sqlite, without cgo). All processes run as one user: the file
// is created with mode 0600, and so are those that SQLite puts beside it (-wal, -shm). A file that
// other users may read or write, or that belongs to another user, is refused with an error that
// says how to fix it.
//
// The file is the store's own; do not use an application's database. The store creates its tables
// and repairs them: a row, a table or the whole file may be deleted while processes use it, which
// costs one fetch. A file that is damaged, or not a database at all, is renamed to
// FILE.corrupt-TIME, with a warning through slog's default logger, and replaced by a new one. After
// ten of these the store returns errors until somebody removes them. Each row carries a checksum,
// since SQLite's pages do not: a damaged row holds no token.
//
// # Locks
//
// A write transaction would lock every app while one fetches, so a key's lock is a row that names
// its holder and the time, 14 seconds ahead, at which it is free again. A process that holds it too
// long, or dies, loses it; a token that was fetched under a lost lock is not stored. The time is
// the machine's: if the clock is set during a fetch, two processes may fetch, which does no harm.
// FILE.lock, a file beside the database, is locked while a process creates, opens or renames the
// database.
//
// SQLite works on local disks only, and so does this package.
package sqlitestore
