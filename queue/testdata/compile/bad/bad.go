// Package bad does not compile: each line with a want comment is an error that says so.
package bad

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type email struct{ To string }

type invoice struct{ Number int }

var emails = queue.Define[email]("emails", queue.Config{})

func send(context.Context, queue.Task[email]) error { return nil }

func bill(context.Context, queue.Task[invoice]) error { return nil }

// Use passes what must not be passed, among things that may be.
func Use(ctx context.Context, box *outbox.Box, pool *pgxpool.Pool, conn *pgx.Conn, db *sql.DB, sqlConn *sql.Conn,
	owned *outbox.OwnedTx, tx pgx.Tx) {
	_, _ = emails.Enqueue(ctx, owned, email{})
	_, _ = emails.Enqueue(ctx, owned, invoice{})          // want "cannot use invoice{}"
	_, _ = emails.Enqueue(ctx, owned, "a@b.c")            // want "cannot use \"a@b.c\""
	_, _ = emails.EnqueueBatch(ctx, owned, []invoice{{}}) // want "cannot use []invoice"
	_, _ = emails.Enqueue(ctx, pool, email{})             // want "does not implement outbox.Tx"
	_, _ = emails.Enqueue(ctx, tx, email{})               // want "does not implement outbox.Tx"
	_, _ = emails.Enqueue(ctx, db, email{})               // want "does not implement outbox.Tx"
	_, _ = emails.Enqueue(ctx, box, email{})              // want "does not implement outbox.Tx"
	_ = box.Tx(pool)                                      // want "does not implement pgx.Tx"
	_ = box.Tx(conn)                                      // want "does not implement pgx.Tx"
	// want "does not implement outbox.SQLConn"
	_ = box.SQLTx(db)
	// want "does not implement outbox.SQLConn"
	_ = box.SQLTx(sqlConn)
	_ = emails.Worker(bill) // want "cannot use bill"
	// want "does not implement queue.WorkerOption"
	_ = emails.Worker(send, queue.DedupKey("k"))
	// want "does not implement queue.EnqueueOption"
	_, _ = emails.Enqueue(ctx, owned, email{}, queue.Concurrency(3))
	// want "does not implement outbox.Binding"
	_ = box.Run(ctx, emails)
	_, _ = queue.EnqueueAll(ctx, owned, queue.Define[int]("n", queue.Config{})) // want "as queue.Item value"
}
