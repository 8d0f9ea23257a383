package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// published lists the outcomes of a task that were published, with their versions, in their order.
func published(b *bed, id int64) []string {
	b.t.Helper()
	return value[[]string](b, `SELECT coalesce(array_agg(e.version || ' ' || (e.payload->>'status') || ' '
		|| (e.payload->>'attempts') || ' ' || (e.payload->>'error') ORDER BY e.version), '{}')
		FROM public.strunk_outbox e WHERE e.kind = 'event' AND e.key = 'mail-outcome' AND e.entity_id = $1::text`,
		fmt.Sprint(id))
}

// However a task ends, wherever it is ended, its outcome is published with it. A queue that does not
// ask publishes none.
func TestOutcomeEvents(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	cfg := queue.Config{MaxAttempts: 2, Retry: atOnce, Outcomes: "mail-outcome"}
	mails, gone := queue.Define[note]("mails", cfg), cfg
	gone.DiscardDelivered = true
	dropped, inTx := queue.Define[note]("dropped", gone), queue.Define[note]("in-tx", cfg)
	results := queue.DefineWithResult[note, int]("results", cfg)
	silent := queue.Define[note]("silent", queue.Config{MaxAttempts: 1})
	handler := func(ctx context.Context, task queue.Task[note]) error {
		if task.Attempt == 1 && task.Payload.Text == "at the second attempt" {
			return errors.New("not yet")
		}
		return onceText(ctx, b, task)
	}
	outcomes := events.Define("mail-outcome", queue.Outcome.EntityID, events.Config{})
	seen := make(chan queue.Outcome, 100)
	b.run(mails.Worker(handler), dropped.Worker(handler), silent.Worker(handler),
		inTx.WorkerInTx(func(ctx context.Context, _ *outbox.OwnedTx, task queue.Task[note]) error {
			return handler(ctx, task)
		}),
		results.Worker(func(ctx context.Context, task queue.Task[note]) (int, error) { return 1, handler(ctx, task) }),
		outcomes.Subscriber("audit", func(ctx context.Context, e events.Event[queue.Outcome]) error {
			seen <- e.State
			return nil
		}, events.From(events.FromBeginning)))
	later := put(b, mails, note{}, queue.DueAt(b.until(3600e9)))
	// The worker declares what is published when it starts.
	eventually(t, "the queues have declared it", func() (string, bool) {
		n := value[int](b, `SELECT count(*) FROM public.strunk_queues WHERE outcome_type = 'mail-outcome'`)
		return fmt.Sprint(n), n == 4
	})
	if _, err := mails.Cancel(ctx, b.box, later, "not wanted"); err != nil {
		t.Fatal(err)
	}
	dead := put(b, mails, note{"fails"})
	for _, c := range []struct {
		id   int64
		want string
	}{
		{later, "1 cancelled 0 cancelled: not wanted"}, {dead, "1 dead 2 as it was told"},
		{put(b, mails, note{"ok"}), "1 done 1 "},
		{put(b, mails, note{"at the second attempt"}), "1 done 2 "},
		{put(b, mails, note{"gives up"}), "1 discarded 1 discarded: of no use"},
		{put(b, dropped, note{"ok"}), "1 done 1 "}, {put(b, inTx, note{"ok"}), "1 done 1 "},
		{put(b, results.Queue, note{"ok"}), "1 done 1 "},
	} {
		eventually(t, fmt.Sprintf("task %d has ended, %q", c.id, c.want), func() (string, bool) {
			got := published(b, c.id)
			return fmt.Sprintf("%q", got), slices.Equal(got, []string{c.want})
		})
	}
	b.exec(`UPDATE public.strunk_outbox SET payload = '{"text": "ok"}', status = 'pending', attempts = 0
		WHERE id = $1`, dead)
	eventually(t, "a dead letter ends a second time", func() (string, bool) {
		got := published(b, dead)
		return fmt.Sprintf("%q", got), slices.Equal(got, []string{"1 dead 2 as it was told", "2 done 1 "})
	})
	quiet := put(b, silent, note{"fails"})
	reach(b, silent, quiet, queue.StatusDead)
	if got := published(b, quiet); len(got) > 0 {
		t.Errorf("a queue that does not ask for it has published %q", got)
	}
	for range 9 {
		if o := receive(t, "the subscriber has them all", seen); o.EndedAt.IsZero() || o.Queue == "" {
			t.Errorf("%+v", o)
		}
	}
}

// What is published of tasks that cannot end again is forgotten with them, so that it does not grow for ever.
func TestOutcomesAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("mails", queue.Config{})
	ids := putMany(b, q, 3)
	b.exec(`SELECT public.strunk_set_outcomes('mails', 'mail-outcome')`)
	b.exec(`SELECT public.strunk_publish('mail-outcome', 'of another', '{}')`)
	b.exec(`UPDATE public.strunk_outbox SET status = 'delivered', finished_at = clock_timestamp()
		WHERE id = $1`, ids[0])
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead' WHERE id = $1`, ids[1])
	b.exec(`SELECT public.strunk_cancel($1)`, ids[2])
	left := func() int { return value[int](b, `SELECT count(*) FROM public.strunk_snapshots`) }
	if b.exec(`SELECT public.strunk_reap_outcomes(3600000, 100)`); left() != 4 {
		t.Errorf("%d snapshots; want all, they are young", left())
	}
	b.exec(`UPDATE public.strunk_snapshots SET updated_at = updated_at - interval '2 hours'`)
	if b.exec(`SELECT public.strunk_reap_outcomes(3600000, 100)`); left() != 3 {
		t.Errorf("%d snapshots; want those of tasks that can be retried, and the user's own", left())
	}
}
