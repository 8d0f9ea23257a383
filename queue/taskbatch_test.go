package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// newBatch makes a batch with members of q, and closes it unless it stays open.
func newBatch(b *bed, q *queue.Queue[note], texts []string, open bool,
	opts ...queue.BatchOption) (queue.Batch, []int64) {
	b.t.Helper()
	ctx := context.Background()
	var batch queue.Batch
	var ids []int64
	b.in(func(tx *outbox.OwnedTx) (err error) {
		if batch, err = queue.NewBatch(ctx, tx, "import", opts...); err != nil {
			return err
		}
		notes := make([]note, len(texts))
		for i, text := range texts {
			notes[i].Text = text
		}
		done, err := q.EnqueueBatch(ctx, tx, notes, queue.InBatch(batch))
		for _, d := range done {
			ids = append(ids, d.ID)
		}
		if err != nil || open {
			return err
		}
		return batch.Close(ctx, tx)
	})
	return batch, ids
}

func batchState(b *bed, batch queue.Batch) queue.BatchState {
	b.t.Helper()
	s, err := batch.State(context.Background(), b.box)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// finish waits until a batch is finished.
func finish(b *bed, batch queue.Batch) (s queue.BatchState) {
	b.t.Helper()
	eventually(b.t, "the batch is finished", func() (string, bool) {
		s = batchState(b, batch)
		return fmt.Sprintf("%+v", s), !s.FinishedAt.IsZero()
	})
	return s
}

// endings are the counts of a batch: added, done, dead, cancelled, discarded, deleted.
func endings(s queue.BatchState) [6]int64 {
	return [6]int64{s.Added, s.Done, s.Dead, s.Cancelled, s.Discarded, s.Deleted}
}

// onceText is a handler whose tasks end as their texts say.
func onceText(ctx context.Context, b *bed, task queue.Task[note]) error {
	switch task.Payload.Text {
	case "fails":
		return errors.New("as it was told")
	case "gives up":
		return queue.Discard("of no use")
	case "adds":
		batch, err := queue.BatchOf(ctx, b.box, task.ID)
		if err != nil {
			return err
		}
		return b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := queue.Define[note]("imports", queue.Config{}).Enqueue(ctx, tx, note{"ok"}, queue.InBatch(batch))
			return err
		})
	}
	return nil
}

// Members end in every way there is, one adds another, and the follow-up comes once, with the counts.
func TestBatch(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{MaxAttempts: 1})
	reports := queue.Define[note]("reports", queue.Config{})
	batch, _ := newBatch(b, q, []string{"ok", "ok", "fails", "gives up", "adds"}, true,
		queue.FollowUp(reports.Item(note{"all ended"}, queue.Priority(3))), queue.FollowUpEvent("import"))
	var cancelled, deleted queue.Enqueued
	b.in(func(tx *outbox.OwnedTx) (err error) {
		if cancelled, err = q.Enqueue(ctx, tx, note{}, queue.InBatch(batch), queue.Delay(time.Hour)); err != nil {
			return err
		}
		deleted, err = q.Enqueue(ctx, tx, note{}, queue.InBatch(batch), queue.Dedup("d", queue.WhileWaiting))
		return err
	})
	if _, err := q.Cancel(ctx, b.box, cancelled.ID, ""); err != nil {
		t.Fatal(err)
	}
	b.exec(`DELETE FROM public.strunk_outbox WHERE id = $1`, deleted.ID)
	reported := make(chan queue.BatchState, 10)
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error { return onceText(ctx, b, task) }),
		reports.Worker(func(ctx context.Context, task queue.Task[note]) error {
			done, err := queue.BatchOf(ctx, b.box, task.ID)
			if err == nil && task.Priority == 3 && task.Payload.Text == "all ended" {
				reported <- batchState(b, done)
			}
			return err
		}))
	want := [6]int64{8, 4, 1, 1, 1, 1}
	eventually(t, "all have ended", func() (string, bool) {
		s := batchState(b, batch)
		return fmt.Sprintf("%+v", s), endings(s) == want
	})
	if s := batchState(b, batch); !s.FinishedAt.IsZero() || b.counts("reports")[queue.StatusPending] != 0 {
		t.Errorf("%+v; an open batch does not finish", s)
	}
	b.in(func(tx *outbox.OwnedTx) error { return batch.Close(ctx, tx) })
	if s := receive(t, "the follow-up", reported); endings(s) != want || s.ID != batch.ID || s.FinishedAt.IsZero() {
		t.Errorf("the follow-up saw %+v; want %v", s, want)
	}
	event := value[string](b, `SELECT payload->>'done' FROM public.strunk_outbox
		WHERE kind = 'event' AND key = 'import' AND entity_id = $1::text`, fmt.Sprint(batch.ID))
	if event != "4" {
		t.Errorf("the event says that %s are done; want 4", event)
	}
	err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := q.Enqueue(ctx, tx, note{}, queue.InBatch(batch))
		wantError(t, err, queue.ErrBatchEnded)
		_, err = q.Enqueue(ctx, tx, note{"alone"}) // the transaction is intact
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A dead letter that is retried after the follow-up changes the counts, and brings no second follow-up.
func TestBatchRetriedAfterItsEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{MaxAttempts: 1})
	reports := queue.Define[note]("reports", queue.Config{})
	batch, ids := newBatch(b, q, []string{"ok", "fails"}, false, queue.FollowUp(reports.Item(note{})))
	stop := b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error { return onceText(ctx, b, task) }))
	first := finish(b, batch)
	if got, want := endings(first), [6]int64{2, 1, 1, 0, 0, 0}; got != want {
		t.Errorf("%v; want %v", got, want)
	}
	stop()
	b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, ids[1])
	if got, want := endings(batchState(b, batch)), [6]int64{2, 1, 0, 0, 0, 0}; got != want {
		t.Errorf("retried: %v; want %v", got, want)
	}
	b.exec(`UPDATE public.strunk_outbox SET payload = '{"text": "ok"}' WHERE id = $1`, ids[1])
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error { return onceText(ctx, b, task) }))
	reach(b, q, ids[1], queue.StatusDelivered)
	b.exec(`SELECT public.strunk_fold_batches(100)`)
	s := batchState(b, batch)
	if got, want := endings(s), [6]int64{2, 2, 0, 0, 0, 0}; got != want || !s.FinishedAt.Equal(first.FinishedAt) {
		t.Errorf("done: %+v; want %v, finished when it was", s, want)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'reports'`); n != 1 {
		t.Errorf("%d follow-ups; want 1", n)
	}
}

// Whatever a person does at psql to members is counted; what nobody could note is found by the reaper's count.
func TestBatchByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{})
	batch, ids := newBatch(b, q, make([]string, 8), false)
	check := func(what string, want [6]int64) {
		t.Helper()
		if got := endings(batchState(b, batch)); got != want {
			t.Errorf("%s: %v; want %v", what, got, want)
		}
	}
	const set = `UPDATE public.strunk_outbox SET status = $2, finished_at = clock_timestamp() WHERE id = $1`
	b.exec(set, ids[0], "dead")
	b.exec(set, ids[1], "cancelled")
	b.exec(set, ids[2], "delivered")
	check("ended by hand", [6]int64{8, 1, 1, 1, 0, 0})
	b.exec(set, ids[0], "pending")
	b.exec(set, ids[2], "pending")
	check("set back by hand", [6]int64{8, 0, 0, 1, 0, 0})
	b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, ids[1])
	b.exec(`SELECT public.strunk_discard(ARRAY[$1::bigint])`, ids[1])
	check("retried and discarded", [6]int64{8, 0, 0, 0, 1, 0})
	b.exec(`DELETE FROM public.strunk_tasks WHERE id = ANY ($1)`, ids[1:3])
	check("one that has ended and one that waits deleted from the view", [6]int64{8, 0, 0, 0, 1, 1})
	b.exec(`DELETE FROM public.strunk_outbox_tasks WHERE id = ANY ($1)`, ids[3:5])
	b.exec(`SELECT public.strunk_recount_batch(0)`)
	b.exec(`SELECT public.strunk_recount_batch(0)`)
	check("deleted from the partition", [6]int64{8, 0, 0, 0, 1, 3})
	b.exec(set, ids[0], "dead")
	b.exec(`SELECT public.strunk_purge_ended(ARRAY[$1::bigint])`, ids[0])
	check("purged", [6]int64{8, 0, 1, 0, 1, 3})
}

// A batch is cancelled as a whole: it takes no more members, and its follow-up comes when the last that runs has ended.
func TestBatchCancelled(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{})
	reports := queue.Define[note]("reports", queue.Config{})
	began, end := make(chan struct{}), make(chan struct{})
	b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
		if task.Payload.Text == "runs" {
			close(began)
			<-ctx.Done()
			<-end
		}
		return ctx.Err()
	}, queue.Concurrency(1)))
	batch, ids := newBatch(b, q, append([]string{"runs"}, make([]string, 1200)...), true,
		queue.FollowUp(reports.Item(note{})))
	receive(t, "the first begins", began)
	got, err := batch.Cancel(ctx, b.box, "a mistake")
	if err != nil || got.Cancelled+got.Cancelling != 1201 || got.Cancelling == 0 {
		t.Errorf("%+v, %v; want 1201 in all, and the one that runs", got, err)
	}
	err = b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := q.Enqueue(ctx, tx, note{}, queue.InBatch(batch))
		return err
	})
	wantError(t, err, queue.ErrBatchEnded)
	if s := batchState(b, batch); s.CancelledAt.IsZero() || !s.FinishedAt.IsZero() {
		t.Errorf("%+v; want it cancelled, and not finished while one runs", s)
	}
	close(end)
	if got, want := endings(finish(b, batch)), [6]int64{1201, 0, 0, 1201, 0, 0}; got != want {
		t.Errorf("%v; want %v", got, want)
	}
	page, err := batch.Members(ctx, b.box, ids[0], 2)
	if err != nil || len(page) != 2 || page[0] != (queue.BatchMember{ids[1], "imports", queue.StatusCancelled}) {
		t.Errorf("members: %+v, %v", page, err)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'reports'`); n != 1 {
		t.Errorf("%d follow-ups; want 1", n)
	}
	_, err = queue.Batch{ID: 1 << 60}.Cancel(ctx, b.box, "")
	wantError(t, err, queue.ErrNoBatch)
}

// A member that is being added keeps a batch from finishing, whoever commits first; one that is rolled back does not.
func TestBatchWaitsForMembersBeingAdded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{})
	for _, commits := range []bool{true, false} {
		batch, _ := newBatch(b, q, nil, false)
		tx, err := b.pool.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = q.Enqueue(ctx, b.box.Tx(tx), note{}, queue.InBatch(batch)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			b.exec(`SELECT public.strunk_fold_batches(100)`)
		}
		if s := batchState(b, batch); !s.FinishedAt.IsZero() {
			t.Errorf("%+v; it was finished while a member was being added", s)
		}
		end := map[bool]func(context.Context) error{true: tx.Commit, false: tx.Rollback}[commits]
		if err = end(ctx); err != nil {
			t.Fatal(err)
		}
		b.exec(`SELECT public.strunk_fold_batches(100)`)
		if s := batchState(b, batch); s.FinishedAt.IsZero() != commits {
			t.Errorf("a member's commit is %v: %+v", commits, s)
		}
	}
}

// A finished batch is kept as long as its tasks, and then forgotten. What happens to a member
// afterwards counts nowhere.
func TestBatchRetention(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{})
	batch, ids := newBatch(b, q, []string{"one"}, false)
	open, _ := newBatch(b, q, []string{"two"}, false)
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead' WHERE id = $1`, ids[0])
	b.exec(`SELECT public.strunk_fold_batches(100)`)
	b.exec(`SELECT public.strunk_reap_batches(3600000, 100)`)
	batchState(b, batch)
	b.exec(`UPDATE public.strunk_batches SET finished_at = finished_at - interval '2 hours'`)
	b.exec(`SELECT public.strunk_reap_batches(3600000, 100)`)
	_, err := batch.State(context.Background(), b.box)
	wantError(t, err, queue.ErrNoBatch)
	b.exec(`SELECT public.strunk_retry_ended(ARRAY[$1::bigint])`, ids[0])
	b.exec(`SELECT public.strunk_fold_batches(100)`)
	all, err := queue.Batches(context.Background(), b.box, queue.BatchFilter{Unfinished: true})
	if err != nil || len(all) != 1 || all[0].ID != open.ID {
		t.Errorf("%+v, %v; want batch %d alone", all, err, open.ID)
	}
	left := value[int](b, `SELECT (SELECT count(*) FROM public.strunk_batch_changes)
		+ (SELECT count(*) FROM public.strunk_batch_tasks)`)
	if left != 1 {
		t.Errorf("%d rows of members and changes are left; want the open batch's member", left)
	}
}

// Under REPEATABLE READ whoever adds to a batch that finishes meanwhile fails by a serialization failure.
func TestBatchUnderRepeatableRead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	q := queue.Define[note]("imports", queue.Config{})
	batch, _ := newBatch(b, q, nil, false)
	tx, err := b.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err = tx.Exec(ctx, `SELECT 1 FROM public.strunk_batches`); err != nil {
		t.Fatal(err)
	}
	b.exec(`SELECT public.strunk_fold_batches(100)`)
	if _, err = q.Enqueue(ctx, b.box.Tx(tx), note{}, queue.InBatch(batch)); err == nil {
		t.Error("a finished batch took a member")
	}
}
