package queue_test

import (
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Each item of a batch keeps its own options: those of the first must not become the others' defaults.
func TestItemOptionsStayTheirOwn(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := queue.Define[int]("items", queue.Config{})
	for name, dedup := range map[string][]queue.EnqueueOption{
		"without a dedup key":         nil,
		"with a dedup key on the one": {queue.DedupKey("k")},
	} {
		t.Run(name, func(t *testing.T) {
			first := append([]queue.EnqueueOption{queue.Delay(time.Hour), queue.Timeout(time.Minute),
				queue.Metadata(map[string]string{"a": "1"})}, dedup...)
			var done []queue.Enqueued
			err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) (err error) {
				done, err = queue.EnqueueAll(t.Context(), tx, q.Item(1, first...), q.Item(2))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			var plain bool
			err = pool.QueryRow(t.Context(), `SELECT status = 'pending' AND due_at IS NULL
				AND timeout_ms IS NULL AND metadata IS NULL
				FROM public.strunk_outbox WHERE id = $1`, done[1].ID).Scan(&plain)
			if err != nil || !plain {
				t.Fatalf("the second item has taken over options of the first (%v)", err)
			}
		})
	}
}
