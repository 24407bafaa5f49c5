// Package sqlitestore keeps access tokens in a SQLite database, for the processes of one
// machine: an app's token survives restarts, and workers, cron jobs and servers that
// name the same file fetch it once between them. Several apps share one file.
//
//	store, err := sqlitestore.Open("/var/lib/myapp/wecom-tokens.db")
//	…
//	defer store.Close()
//	auth, err := wecom.New(wecom.Options{TokenStore: store, …})
//
// SQLite is compiled in (modernc.org/sqlite, without cgo). All processes run as one user: the file is
// made with mode 0600, and so are those that SQLite puts beside it (-wal, -shm). One that other users may
// read or write, or that belongs to somebody else, is refused with a sentence that says how to
// mend it.
//
// The file is the store's own; do not point it at an application's database. It makes its
// tables and mends them: a row, a table or the whole file may be deleted while processes
// use it, which costs one fetch. A file that is damaged, or no database at all, is set
// aside under the name FILE.corrupt-TIME, with a warning through slog's default logger, and a new
// one begun; ten lie there at most, then the store returns errors until somebody looks after it.
// A row carries a checksum, since SQLite's pages do not: a damaged one holds no token.
//
// # Locks
//
// A write transaction would lock every app for as long as one fetches, so a key's lock
// is a row that names its holder and a time, 14 seconds ahead, at which it is
// free again. Who holds it too long, or dies, loses it; a token that was fetched under a
// lost lock is not stored. That time is the machine's own: if the clock is set while a token is being fetched,
// two processes may fetch, which does no harm. FILE.lock, a file beside the database,
// is locked for the moment in which somebody makes, opens or sets aside the database.
//
// SQLite works on local disks alone, and so does this package.
package sqlitestore
