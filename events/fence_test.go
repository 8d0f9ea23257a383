package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// stale makes a subscriber whose owner is silent, in epoch 7.
func (b *bed) stale(name string) {
	b.t.Helper()
	b.exec(`INSERT INTO public.strunk_subscribers (cursor, started, epoch, owner, lease_ms, name, entity_type,
		start, server_started)
		VALUES (0, 0, 7, 1, 300, $1, 'order', 'beginning', pg_postmaster_start_time())`, name)
}

// waiting waits until a statement of another connection waits for a lock, or done is closed.
func (b *bed) waiting(what, statement string, done <-chan error) {
	b.t.Helper()
	eventually(b.t, what, func() (string, bool) {
		select {
		case err := <-done:
			b.t.Fatalf("%s: it did not wait: %v", what, err)
		default:
		}
		n := value[int](b, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()`, statement)
		return fmt.Sprint(n), n > 0
	})
}

// An owner that was lost has a delivery under way when another takes over: the new one waits for
// it, knows of it, and keeps the entity's later events behind it.
func TestStaleOwnerParksNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	b.publish(order{ID: "a", N: 1}, order{ID: "a", N: 2}, order{ID: "b", N: 1})
	b.stale("parking")
	late := b.begin(pgx.TxOptions{})
	var outcome string
	err := late.QueryRow(ctx, `SELECT public.strunk_add_delivery('parking', 7, 'order', 'a', 1, 1, 1, now(),
		NULL, '{"id":"a","n":1}', NULL, NULL, 1, 1, 'no', NULL, 'x', 'parked', NULL)`).Scan(&outcome)
	noError(t, err)
	if outcome != "added" {
		t.Fatalf("the owner of that time is told %q", outcome)
	}
	var got record
	b.run(orders.Subscriber("parking", got.handle, events.OnFailure(events.Park)))
	b.waiting("the new owner waits for the old one", "strunk_own", nil)
	noError(t, late.Commit(ctx))
	b.reachHead("parking")
	for _, e := range got.all() {
		if e.EntityID == "a" {
			t.Errorf("version %d of an entity arrived that is parked", e.Version)
		}
	}
	if parked := b.parked("parking"); len(parked) != 1 || parked[0].Events != 2 {
		t.Errorf("parked: %+v; want one entity with both events", parked)
	}
	err = b.pool.QueryRow(ctx, `SELECT public.strunk_add_delivery('parking', 7, 'order', 'b', 3, 3, 1, now(),
		NULL, '{}', NULL, NULL, 1, 1, 'no', NULL, 'x', 'parked', NULL)`).Scan(&outcome)
	noError(t, err)
	if outcome != "epoch_over" {
		t.Errorf("after the takeover the old owner is told %q; want that its epoch is over", outcome)
	}
}

// A cursor never moves back, and does not move on where it lies behind what its owner has stored.
func TestCursorNeverMovesBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.stale("moves")
	for _, move := range []struct {
		name, reason           string
		epoch, saved, to, want int64
		held                   bool
	}{
		{"forward", "what was handled is stored", 7, 0, 10, 10, true},
		{"late", "a later answer has overtaken this one", 7, 0, 6, 10, true},
		{"lost", "what lies between was lost in a crash", 7, 12, 20, 10, false},
		{"fenced", "the epoch is over", 6, 10, 20, 10, false},
		{"on", "nothing was lost", 7, 10, 20, 20, true},
	} {
		if held := value[bool](b, `SELECT public.strunk_move_cursor('moves', $1, $2, $3,
			false)`, move.epoch, move.saved, move.to); held != move.held {
			t.Errorf("%s (%s): the epoch holds: %v; want %v", move.name, move.reason, held, move.held)
		}
		if at := value[int64](b, `SELECT cursor FROM public.strunk_subscribers`); at != move.want {
			t.Errorf("%s (%s): the cursor is at %d; want %d", move.name, move.reason, at, move.want)
		}
	}
	b.exec(`UPDATE public.strunk_subscribers SET server_started = server_started - interval '1 s'`)
	if value[bool](b, `SELECT public.strunk_move_cursor('moves', 7, 20, 30, false)`) {
		t.Error("an epoch that another server gave holds")
	}
}

// A batch locks its entities in one order, by type and then by id, whatever order they are given
// in: two batches never wait for each other in a circle.
func TestBatchPublishLocksInOrder(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	bills := events.Define("bill", orderID, events.Config{})
	first := b.begin(pgx.TxOptions{})
	_, err := bills.Publish(ctx, b.box.Tx(first), order{ID: "b"})
	noError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			_, err := events.PublishAll(ctx, tx, orders.Item(order{ID: "c"}), orders.Item(order{ID: "a"}),
				bills.Item(order{ID: "c"}), bills.Item(order{ID: "b"}), bills.Item(order{ID: "a"}))
			return err
		})
	}()
	b.waiting("the batch waits for bill b", "strunk_publish_many", done)
	for _, item := range []events.Item{bills.Item(order{ID: "c"}), orders.Item(order{ID: "a"}),
		orders.Item(order{ID: "c"})} {
		tx := b.begin(pgx.TxOptions{})
		_, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '2s'`)
		noError(t, err)
		if _, err := events.PublishAll(ctx, b.box.Tx(tx), item); err != nil {
			t.Errorf("the batch holds an entity behind bill b while it waits for that: %v", err)
		}
		noError(t, tx.Rollback(ctx))
	}
	noError(t, first.Commit(ctx))
	noError(t, receive(t, "the batch is published", done))
}

// Whatever the server's default, the relay's commit waits for the disk: a subscriber must not have
// seen a position that a crash of the server gives out again.
func TestRelayCommitsSynchronously(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	b := bedOn(t, pool, outbox.Config{})
	b.exec(`CREATE TABLE public.seen (setting text)`)
	b.exec(`CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen
		VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$`)
	b.exec(`CREATE TRIGGER see AFTER INSERT OR UPDATE ON public.strunk_feed FOR EACH ROW EXECUTE FUNCTION public.see()`)
	b.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	b.run()
	b.publish(order{ID: "a"})
	eventually(t, "the relay has moved it", func() (string, bool) { return "", b.head() == 1 })
	if bad := value[int](b, `SELECT count(*) FROM public.seen
		WHERE setting <> 'on'`); bad > 0 || value[int](b, `SELECT count(*) FROM public.seen`) == 0 {
		t.Errorf("%d moves of the relay did not wait for the disk", bad)
	}
}

// A delivery that a person sets back to pending while it is handled is no longer its handler's, nor
// is one that was claimed in another epoch: it is not removed.
func TestDeliveryHandledNeedsItsClaim(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.stale("claims")
	b.exec(`SELECT public.strunk_add_delivery('claims', 7, 'order', 'a', 1, 1, 1, now(), NULL, '{}', NULL, NULL,
		1, 9, 'no', NULL, 'x', 'retrying', 0)`)
	id := value[int64](b, `SELECT id FROM public.strunk_take_delivery('claims', 7, 'order', 'a')`)
	const row = `SELECT json_agg(o)::text FROM public.strunk_outbox o WHERE id = $1`
	for name, change := range map[string]string{
		"set back by hand": `UPDATE public.strunk_outbox SET status = 'pending' WHERE id = $1`,
		"of another epoch": `UPDATE public.strunk_outbox SET status = 'claimed', claim_no = 6 WHERE id = $1`,
	} {
		b.exec(change, id)
		before := value[string](b, row, id)
		for _, sql := range []string{
			`SELECT public.strunk_delivery_handled('claims', 7, $1) IS NULL`,
			`SELECT public.strunk_delivery_failed('claims', 7, $1, 'no', NULL, 'x', 0, true) IS NULL`,
		} {
			if !value[bool](b, sql, id) || value[string](b, row, id) != before {
				t.Errorf("%s: a delivery %s was settled", sql, name)
			}
		}
		b.exec(`UPDATE public.strunk_outbox SET status = 'claimed', claim_no = 7 WHERE id = $1`, id)
	}
	if value[bool](b, `SELECT public.strunk_delivery_handled('claims', 7, $1) IS NULL`, id) {
		t.Error("a delivery that its handler has claimed was not settled")
	}
}

// A replay and the retention that drops what it would begin at come one after the other.
func TestReplayWaitsForRetention(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	stop := b.run(orders.Subscriber("old", (&record{}).handle))
	b.publishMany(20)
	b.reachHead("old")
	stop()
	retention := b.begin(pgx.TxOptions{})
	_, err := retention.Exec(ctx, `SELECT 1 FROM public.strunk_feed_floor FOR UPDATE`)
	noError(t, err)
	_, err = retention.Exec(ctx, `UPDATE public.strunk_feed_floor SET floor = 10`)
	noError(t, err)
	done := make(chan error, 1)
	go func() { done <- events.Replay(ctx, b.box, "old", 5) }()
	b.waiting("the replay waits for the retention", "strunk_rewind", done)
	noError(t, retention.Commit(ctx))
	var outside *events.RangeError
	if err := receive(t, "the replay ends", done); !errors.As(err, &outside) || outside.Earliest != 11 {
		t.Errorf("the replay from a position that was dropped meanwhile: %v; want a RangeError", err)
	}
}

// An owner that cannot renew its lease does not wait to be told: when the lease is over, its handlers' contexts end.
func TestOwnerFencesItself(t *testing.T) {
	t.Parallel()
	const lease = 5 * time.Second
	near := newBed(t)
	proxy := faults.NewProxy(t, outboxtest.DSN(near.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(near.pool))
	noError(t, err)
	far := bedWith(t, dial(t, dsn), outbox.Config{}, false)
	begun, ended := make(chan struct{}, 10), make(chan error, 10)
	far.run(orders.Subscriber("cut", func(ctx context.Context, _ events.Event[order]) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}, events.VisibilityTimeout(lease)))
	near.publish(order{ID: "a"})
	receive(t, "the handler runs", begun)
	// The heartbeat is on its way for ever, on a connection that stays open.
	proxy.Set("strunk_heartbeat_subscriber", faults.HoldAnswer)
	if cause := receive(t, "the handler's context ends", ended); !errors.Is(cause, events.ErrLeaseLost) {
		t.Errorf("the context ended with %v; want ErrLeaseLost", cause)
	}
}

// Texts that the database's encoding cannot hold are stored in ASCII: the events behind go on.
func TestUnstorableFailureIsStoredInASCII(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	admin := outboxtest.New(t)
	name := fmt.Sprintf("latin_%d", time.Now().UnixNano())
	_, err := admin.Exec(ctx, `CREATE DATABASE `+name+` ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
	noError(t, err)
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`) })
	for _, policy := range []events.FailurePolicy{events.Park, events.DeadLetter, events.Block} {
		t.Run(string(policy), func(t *testing.T) {
			dsn, err := pgserver.WithDatabase(outboxtest.DSN(admin), name)
			noError(t, err)
			pool := dial(t, dsn+"&client_encoding=UTF8")
			noError(t, outbox.Migrate(ctx, pool, outbox.MigrateConfig{}))
			b := bedWith(t, pool, outbox.Config{}, false)
			var got record
			tried := map[string]int{}
			word := string(policy)
			b.run(orders.Subscriber(word, func(ctx context.Context, e events.Event[order]) error {
				if e.EntityID == "bad"+word {
					if tried[word]++; tried[word] < 3 || policy != events.Block {
						return errors.New("no → way")
					}
				}
				return got.handle(ctx, e)
			}, events.OnFailure(policy), events.MaxAttempts(2), events.Retry(atOnce), events.Concurrency(1)))
			b.publish(order{ID: "bad" + word}, order{ID: "good" + word})
			got.awaitAll(t, "good"+word, 1)
			b.reachHead(word)
			if text := "no ? way"; policy == events.DeadLetter {
				eventually(t, "it is a dead letter", func() (string, bool) {
					dead, err := events.Dead(ctx, b.box, word, 10)
					return fmt.Sprint(dead, err), len(dead) == 1 && dead[0].LastError == text
				})
			}
		})
	}
}
