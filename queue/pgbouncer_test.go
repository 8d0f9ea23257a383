//go:build unix

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Everything works by polling alone, through a real PgBouncer in transaction mode: no statement leans on a session.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode   pgx.QueryExecMode
		reason string
	}{
		{pgx.QueryExecModeCacheDescribe, "what the guide recommends: no named statement"},
		{pgx.QueryExecModeExec, "no preparation at all"},
		{pgx.QueryExecModeSimpleProtocol, "text alone"},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			t.Parallel()
			throughPgBouncer(t, c.mode)
		})
	}
}

// PgBouncer 1.21 and later keep the statements that clients name, where max_prepared_statements is above 0, and prepare
// them on each connection to the server: pgx's default mode then works, too.
func TestPgBouncerPreparesStatements(t *testing.T) {
	t.Parallel()
	faults.NeedsPgBouncer(t, 1, 21)
	throughPgBouncer(t, pgx.QueryExecModeCacheStatement, "max_prepared_statements = 100")
}

// throughPgBouncer does everything in a query mode of pgx, through a pooler with further settings.
func throughPgBouncer(t *testing.T, mode pgx.QueryExecMode, settings ...string) {
	t.Helper()
	direct := newBed(t)
	ledger(direct)
	dsn := faults.PgBouncer(t, outboxtest.DSN(direct.pool), pooled, settings...)
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DefaultQueryExecMode, cfg.MaxConns = mode, 12
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	everything(direct, bedOn(t, pool, outbox.Config{PollOnly: true, PollInterval: 20 * time.Millisecond}))
	// One that is replaced is there until the server has ended it.
	eventually(t, fmt.Sprintf("all share 1 to %d connections of the pooler", pooled), func() (string, bool) {
		n := value[int](direct, `SELECT count(*) FROM pg_stat_activity
			WHERE application_name = 'through-pgbouncer' AND datname = current_database()`)
		return fmt.Sprint(n), n > 0 && n <= pooled
	})
}

// everything uses each statement of the queue once.
func everything(direct, b *bed) {
	t := b.t
	t.Helper()
	plain := queue.Define[note]("plain", queue.Config{Retry: atOnce, MaxAttempts: 2})
	inTx := queue.Define[note]("in-tx", queue.Config{})
	result := sums(queue.Config{})
	cancelled := make(chan int64, 1)
	stop := b.run(
		plain.Worker(func(ctx context.Context, task queue.Task[note]) error {
			switch {
			case task.Payload.Text == "cancel":
				cancelled <- task.ID
				<-ctx.Done()
				return ctx.Err()
			case task.Payload.Text == "dead", task.Payload.Text == "retried" && task.Attempt == 1:
				return errors.New("no")
			}
			return queue.Report(ctx, 50, "half")
		}, queue.Inbox("plain")),
		inTx.WorkerInTx(func(ctx context.Context, tx *outbox.OwnedTx, task queue.Task[note]) error {
			if _, err := plain.Enqueue(ctx, tx, note{"follow-up"}); err != nil {
				return err
			}
			return write(ctx, tx, task)
		}, queue.Inbox("in-tx")),
		result.Worker(add),
	)
	many := putMany(b, plain, 50)
	retried, dead := put(b, plain, note{"retried"}, queue.Delay(10*time.Millisecond),
		queue.Metadata(map[string]string{"a": "b"})), put(b, plain, note{"dead"})
	txID, dup := put(b, inTx, note{"x"}, queue.DedupKey("k"), queue.Timeout(time.Minute)),
		put(b, plain, note{"x"}, queue.Dedup("k", queue.ReplaceWaiting))
	sumID, doomed := put(b, result.Queue, []int{20, 22}), put(b, plain, note{"cancel"})
	receive(t, "the task to cancel runs", cancelled)
	if state, err := plain.Cancel(context.Background(), b.box, doomed, "because"); state != queue.CancelRequested ||
		err != nil {
		t.Errorf("cancel: %v, %v", state, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if s, err := result.Wait(ctx, b.box, sumID); s.Total != 42 || err != nil {
		t.Errorf("result %+v, %v", s, err)
	}
	for _, id := range append(many, retried, dup) {
		reach(b, plain, id, queue.StatusDelivered)
	}
	reach(b, inTx, txID, queue.StatusDelivered)
	reach(b, plain, dead, queue.StatusDead)
	reach(b, plain, doomed, queue.StatusCancelled)
	if n := value[int](direct, `SELECT count(*) FROM public.ledger`); n != 1 {
		t.Errorf("%d effects of the handler in a transaction; want 1", n)
	}
	if err := plain.Pause(ctx, b.box, ""); err != nil {
		t.Error(err)
	}
	if err := plain.Resume(ctx, b.box); err != nil {
		t.Error(err)
	}
	if n, err := queue.RetryDead(ctx, b.box, outbox.DeadFilter{IDs: []int64{dead}}); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	if n, err := queue.PurgeDead(ctx, b.box, outbox.DeadFilter{Status: outbox.EndedCancelled,
		Error: "cancelled: because"}); n != 1 || err != nil {
		t.Errorf("purge: %d, %v", n, err)
	}
	stop()
	handClaimed, err := inTx.Claim(ctx, b.box, 1)
	if err != nil || len(handClaimed.Tasks) != 0 {
		t.Errorf("claim by hand: %+v, %v", handClaimed, err)
	}
	if n := value[int](direct, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows are left after the stop", n)
	}
}

// pooled is how many connections the pooler has to the server.
const pooled = 4
