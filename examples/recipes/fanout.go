package recipes

import (
	"context"
	"fmt"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Page is one part of a report.
type Page struct {
	Report int64 `json:"report"`
	Number int   `json:"number"`
}

// A report is split into pages that are rendered side by side; the last one to end has the report bound.
var (
	Reports = queue.Define[int64]("reports", queue.Config{})
	Pages   = queue.Define[Page]("report-pages", queue.Config{})
	Binding = queue.Define[int64]("report-binding", queue.Config{})
)

// split fans out: the pages and the number that is left are committed together, with the end of this task.
func split(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[int64]) error {
	pages := make([]Page, 20)
	for i := range pages {
		pages[i] = Page{Report: task.Payload, Number: i + 1}
	}
	_, err := tx.Pgx().Exec(ctx, `UPDATE reports SET pages_left = $2 WHERE id = $1`, task.Payload, len(pages))
	if err != nil {
		return err
	}
	_, err = Pages.EnqueueBatch(ctx, tx, pages)
	return err
}

// render fans in: it counts down in the transaction that ends its task, so each page counts once.
func render(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[Page]) error {
	page := task.Payload
	text := fmt.Sprintf("page %d of report %d", page.Number, page.Report) // the work
	_, err := tx.Pgx().Exec(ctx, `INSERT INTO pages VALUES ($1, $2, $3)`, page.Report, page.Number, text)
	if err != nil {
		return err
	}
	var left int
	err = tx.Pgx().QueryRow(ctx, `UPDATE reports SET pages_left = pages_left - 1 WHERE id = $1
		RETURNING pages_left`, page.Report).Scan(&left)
	if err != nil || left > 0 {
		return err
	}
	_, err = Binding.Enqueue(ctx, tx, page.Report)
	return err
}
