package outbox

import "errors"

// Errors that a caller may act on. They are wrapped: test them with errors.Is.
var (
	// ErrNotMigrated says that the schema holds no strunk tables.
	ErrNotMigrated = errors.New("the database has not been migrated")
	// ErrDatabaseOlder says that migrations are missing.
	ErrDatabaseOlder = errors.New("the database is older than this library")
	// ErrDatabaseNewer says that a newer library has migrated the database.
	ErrDatabaseNewer = errors.New("the database is newer than this library")
	// ErrTxDone says that an owned transaction has been committed or rolled back.
	ErrTxDone = errors.New("the transaction has ended")
	// ErrInvalidTx says that a Tx was made from nil.
	ErrInvalidTx = errors.New("there is no transaction")
)
