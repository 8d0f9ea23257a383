package recipes

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Welcomes are the mails to imported customers. Their priority is the lowest: others are not kept waiting.
var Welcomes = queue.Define[string]("welcomes", queue.Config{})

// importCustomers stores rows and their tasks a thousand at a time. A second call goes on where the first came to.
func importCustomers(ctx context.Context, box *outbox.Box, emails []string) error {
	var done int
	if err := box.Pool().QueryRow(ctx, `SELECT count(*) FROM customers`).Scan(&done); err != nil {
		return err
	}
	for chunk := range slices.Chunk(emails[done:], 1000) {
		err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			rows := pgx.CopyFromSlice(len(chunk), func(i int) ([]any, error) { return []any{chunk[i]}, nil })
			_, err := tx.Pgx().CopyFrom(ctx, pgx.Identifier{"customers"}, []string{"email"}, rows)
			if err != nil {
				return err
			}
			_, err = Welcomes.EnqueueBatch(ctx, tx, chunk)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
