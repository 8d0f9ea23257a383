package ops_test

import (
	"testing"

	"github.com/strunk-go/strunk/ops"
)

// A task that has failed is a retry, with its error; one that was enqueued for later is a delay.
func TestChangesTellARetryFromADelay(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `SELECT public.strunk_enqueue('mails', '{}'), public.strunk_enqueue('other', '{}')`)
	mark, err := ops.Now(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `SELECT public.strunk_enqueue('mails', '{}', delay => interval '1 hour')`)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'scheduled', due_at = now() + interval '1 minute',
		attempts = 1, last_error = 'the mailbox is full', errors = jsonb_build_array(jsonb_build_object('attempt', 1,
		'at', clock_timestamp(), 'error', 'the mailbox is full')) WHERE status = 'pending'`)
	changes, next, err := ops.ChangesSince(t.Context(), box, mark, ops.ChangeFilter{Queue: "mails"})
	if err != nil {
		t.Fatal(err)
	}
	happened := map[string]ops.Change{}
	for _, c := range changes {
		happened[c.Happened] = c
	}
	retry, delay := happened[ops.ChangeRetry], happened[ops.ChangeDelayed]
	if len(changes) != 2 || retry.Error != "the mailbox is full" || retry.Attempts != 1 || retry.DueAt == nil ||
		delay.Error != "" || delay.DueAt == nil || retry.ID == delay.ID {
		t.Errorf("%+v; want one retry with its error, and one delay, of the queue mails alone", changes)
	}
	if changes, _, err = ops.ChangesSince(t.Context(), box, next, ops.ChangeFilter{}); err != nil || len(changes) > 0 {
		t.Errorf("after the next mark: %+v, %v; want nothing", changes, err)
	}
}

// A number or a time is drawn before the transaction commits. What was not committed when the mark was taken is new,
// although its number and its time are below the mark's; and nothing is new twice.
func TestChangesOfTransactionsThatCommitLate(t *testing.T) {
	t.Parallel()
	box, pool := open(t)
	exec(t, pool, `SELECT public.strunk_enqueue('ends', '{}')`)
	exec(t, pool, `UPDATE public.strunk_outbox_tasks SET status = 'claimed', attempts = 1, claimed_at = now(),
		worker_id = 1, claim_no = 1`)
	late := func(do string) {
		t.Helper()
		mark, err := ops.Now(t.Context(), box)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), do); err != nil {
			t.Fatal(err)
		}
		exec(t, pool, `SELECT public.strunk_enqueue('other', '{}')`)
		changes, mark, err := ops.ChangesSince(t.Context(), box, mark, ops.ChangeFilter{})
		if err != nil || len(changes) != 1 || changes[0].Queue != "other" {
			t.Fatalf("%s: before it commits: %+v, %v; want the other task alone", do, changes, err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if changes, mark, err = ops.ChangesSince(t.Context(), box, mark, ops.ChangeFilter{}); err != nil ||
			len(changes) != 1 || changes[0].Queue == "other" {
			t.Errorf("%s: after it has committed: %+v, %v; want it alone", do, changes, err)
		}
		if changes, _, err = ops.ChangesSince(t.Context(), box, mark, ops.ChangeFilter{}); err != nil ||
			len(changes) > 0 {
			t.Errorf("%s: at the next look: %+v, %v; want nothing", do, changes, err)
		}
	}
	late(`SELECT public.strunk_enqueue('late', '{}')`)
	late(`SELECT public.strunk_enqueue('later', '{}', delay => interval '1 hour')`)
	late(`UPDATE public.strunk_outbox SET status = 'scheduled', due_at = now() + interval '1 minute',
		errors = jsonb_build_array(jsonb_build_object('attempt', 1, 'at', clock_timestamp(), 'error', 'no'))
		WHERE key = 'ends'`)
	late(`UPDATE public.strunk_outbox SET status = 'dead', finished_at = clock_timestamp() WHERE key = 'ends'`)
	late(`UPDATE public.strunk_outbox SET status = 'delivered', finished_at = clock_timestamp() WHERE key = 'late'`)
	late(`UPDATE public.strunk_outbox SET status = 'cancelled', finished_at = clock_timestamp() WHERE key = 'later'`)
}
