// Package outbox is the ground floor of strunk: the one table in PostgreSQL that tasks and state events are written to
// in the caller's own transaction, and the loops that deliver them. Packages queue and events stand on it.
//
// The table is made by [Migrate], or by SQL that [MigrationSQL] prints for another tool. A [Box] is the handle of an
// application on it, opened on a pgx pool:
//
//	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
//		return err
//	}
//	box, err := outbox.Open(ctx, pool, outbox.Config{})
//
// [Box.InTx] runs business SQL, enqueued tasks and published events as one transaction: all of it happens, or nothing.
//
//	err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
//		if _, err := tx.Pgx().Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, id); err != nil {
//			return err
//		}
//		_, err := Emails.Enqueue(ctx, tx, SendEmail{OrderID: id})
//		return err
//	})
//
// Where the application opens its transactions itself, [Box.Tx] makes a [Tx] of one of pgx, [Box.SQLTx] of one of
// database/sql.
//
// [Box.Run] runs what handles tasks and events, until its context ends; whatever it is given works, and stops, as one:
//
//	err = box.Run(ctx, Emails.Worker(send), Orders.Subscriber("search-indexer", index))
//
// # Guarantees
//
// What is written in a transaction exists if and only if that transaction commits. It is then delivered at least once,
// whatever process is killed and wherever a connection is cut; a process that was given up as lost changes nothing any
// more. When its context ends, Run takes no more work, gives handlers [Config.Grace] to end, gives back what has not
// begun, and returns. The database may be newer than the program, within the range that it records: it is migrated
// first, and then the service is upgraded process by process.
//
// # Where to go on
//
// [Config] has the settings, [Retention] says how long what is done is kept. [RunAll] serves several databases from
// one process. [Grants] prints roles with the least rights, [Check] finds what differs from the schema, [CheckPayloads]
// what a new program could not decode. Package outboxtest starts a database for tests.
//
// A Box and everything it hands out, transactions aside, is safe for use by several goroutines.
package outbox
