package recipes

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/queue"
)

// Reindexing takes an hour, in pieces of which each is committed: an attempt goes on where the last one came to.
var Reindexing = queue.Define[string]("reindexing", queue.Config{Timeout: 2 * time.Hour})

func reindex(pool *pgxpool.Pool) queue.Handler[string] {
	return func(ctx context.Context, task queue.Task[string]) error {
		for {
			var done, all int
			err := pool.QueryRow(ctx, `WITH piece AS (
				UPDATE documents SET indexed = true WHERE id IN
					(SELECT id FROM documents WHERE NOT indexed ORDER BY id LIMIT 100)
				RETURNING 1)
				SELECT count(*) FILTER (WHERE indexed) + (SELECT count(*) FROM piece), count(*)
				FROM documents`).Scan(&done, &all)
			if err != nil {
				return err
			}
			if err := queue.Report(ctx, 100*done/max(all, 1), fmt.Sprintf("%d of %d", done, all)); err != nil {
				return err
			}
			if done == all {
				return nil
			}
		}
	}
}
