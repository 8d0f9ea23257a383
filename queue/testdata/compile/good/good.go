// Package good compiles: the control for package bad.
package good

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type email struct{ To string }

var emails = queue.Define[email]("emails", queue.Config{})

func send(context.Context, queue.Task[email]) error { return nil }

// Use passes what is meant to be passed.
func Use(ctx context.Context, box *outbox.Box, pool *pgxpool.Pool, db *sql.DB, owned *outbox.OwnedTx, tx pgx.Tx,
	sqlTx *sql.Tx) {
	_, _ = emails.Enqueue(ctx, owned, email{})
	_, _ = emails.Enqueue(ctx, box.Tx(tx), email{}, queue.DedupKey("k"), queue.Timeout(1))
	_, _ = emails.Enqueue(ctx, box.SQLTx(sqlTx), email{})
	_, _ = emails.EnqueueBatch(ctx, owned, []email{{}})
	_ = box.Run(ctx, emails.Worker(send, queue.Concurrency(1), queue.Timeout(1)))
}
