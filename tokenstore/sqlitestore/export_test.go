package sqlitestore

import "database/sql"

// DB lets a test look at the settings of a store's connections.
func (s *Store) DB() *sql.DB { return s.database.db }
