package events_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
)

// publishAs publishes n events, of one entity each, whose ids begin with a word, over the outages of a server.
func (b *bed) publishAs(word string, n int) {
	b.t.Helper()
	for i := range n {
		state := order{ID: fmt.Sprintf("%s%d", word, i), N: i}
		eventually(b.t, "publishing "+state.ID, func() (string, bool) {
			err := b.box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
				_, err := orders.Publish(context.Background(), tx, state)
				return err
			})
			return fmt.Sprint(err), err == nil
		})
	}
}

// count is how many different entities arrived whose ids begin with a word.
func (r *record) count(word string) int {
	ids := map[string]bool{}
	for _, e := range r.all() {
		if strings.HasPrefix(e.EntityID, word) {
			ids[e.EntityID] = true
		}
	}
	return len(ids)
}

func (r *record) awaitAll(t *testing.T, word string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("all %d events of %q arrive", n, word), func() (string, bool) {
		got := r.count(word)
		return fmt.Sprint(got), got == n
	})
}

// The server is lost with what it had committed last, and a copy that was behind takes its place,
// on the same address, under a process that lives on. What is published then is given positions
// that the process has read before: nothing of it is skipped.
func TestFailoverToStaleStandbySkipsNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason string
		after        int
		standby      bool
	}{
		{"beyond what was read", "the feed's head passes the position that the process remembers", 400, false},
		{"not as far as what was read", "the head stays below it", 150, false},
		{"promoted standby", "a server that was running all the time is promoted", 300, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, b := ownServer(t, pgserver.Config{})
			ctx := t.Context()
			testkit.NeedsInstalled(t, server.CanCopy(ctx))
			var got, parallel record
			b.run(orders.Subscriber("plain", got.handle, events.Concurrency(1)),
				orders.Subscriber("parallel", parallel.handle))
			b.publishAs("before", 100)
			got.awaitAll(t, "before", 100)
			b.reachHead("plain")
			noError(t, server.CopyData(ctx))
			b.publishAs("lost", 200)
			for _, r := range []*record{&got, &parallel} {
				r.awaitAll(t, "lost", 200)
			}
			eventually(t, "the cursor is stored", func() (string,
				bool) {
				s := b.stats("plain")
				return fmt.Sprint(s.Cursor), s.Cursor == 300
			})
			noError(t, server.StopServer(ctx))
			noError(t, server.UseCopy(tt.standby))
			noError(t, server.StartServer(ctx))
			if tt.standby {
				b.promote()
			}
			b.publishAs("new", tt.after)
			for name, r := range map[string]*record{"plain": &got, "parallel": &parallel} {
				r.awaitAll(t, "new", tt.after)
				b.reachHead(name)
			}
			if log := b.logs.String(); !strings.Contains(log, "reads its place again") ||
				!strings.Contains(log, "older cursor than this process has reached") {
				t.Error("the log does not say that the database went back in time")
			}
		})
	}
}

// promote makes a standby a server that takes writes.
func (b *bed) promote() {
	b.t.Helper()
	eventually(b.t, "the standby is promoted", func() (string, bool) {
		var done bool
		err := b.pool.QueryRow(context.Background(), `SELECT pg_is_in_recovery() AND pg_promote()
			OR NOT pg_is_in_recovery()`).Scan(&done)
		return fmt.Sprint(err), err == nil && done
	})
}

// A crash of a server that does not wait for the disk takes the effects and the cursor of a
// subscriber in a transaction away together: both come again.
func TestCrashWithAsyncCommitSkipsNothing(t *testing.T) {
	t.Parallel()
	const n = 200
	// The longest delay of the WAL writer, so that the crash comes before it.
	server, b := ownServer(t, pgserver.Config{Settings: map[string]string{"synchronous_commit": "off",
		"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}})
	ctx := t.Context()
	b.exec(`CREATE TABLE public.effects (id text PRIMARY KEY)`)
	b.run(orders.SubscriberInTx("tx", func(ctx context.Context, tx *outbox.OwnedTx, e events.Event[order]) error {
		_, err := tx.Pgx().Exec(ctx, `INSERT INTO public.effects VALUES ($1)`, e.EntityID)
		return err
	}, events.BatchSize(1)))
	count := func() int { return value[int](b, `SELECT count(*) FROM public.effects`) }
	b.publishAs("first", 50)
	eventually(t, "the first effects are there", func() (string, bool) { return fmt.Sprint(count()), count() == 50 })
	b.exec(`CHECKPOINT`)
	// in one move of the relay: its commit waits for the disk, and takes along what was committed
	// before
	b.publishMany(n)
	eventually(t, "effects that are not on the disk", func() (string, bool) {
		return fmt.Sprint(count()),
			count() > 50+n/2
	})
	noError(t, server.StopServer(ctx))
	noError(t, server.StartServer(ctx))
	var published int
	eventually(t, "the server answers", func() (string, bool) {
		err := b.pool.QueryRow(ctx, `SELECT count(*) FROM public.strunk_snapshots`).Scan(&published)
		return fmt.Sprint(err), err == nil
	})
	b.publishAs("third", 20)
	b.reachHead("tx")
	if kept, want := count(), published+20; kept != want {
		t.Errorf("%d effects are there; want those of all %d events that are", kept, want)
	}
}

// The transaction ids of a server into which a database was restored are lower than the fence that
// came with it: the relay draws it anew, and forgets the numbers of publishes that were rolled
// back.
func TestRestoreResetsFence(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("restored", got.handle))
	b.publishAs("first", 3)
	got.awaitAll(t, "first", 3)
	b.exec(`UPDATE public.strunk_feed SET fence = '9000000000'::xid8, fence_high = high + 5,
		missing = int8multirange(int8range(high + 1, high + 5, '[]')), high = high + 5`)
	b.exec(`SELECT setval('public.strunk_events_seq', (SELECT max(high) FROM public.strunk_feed))`)
	for i := range 3 {
		b.publishAs(fmt.Sprintf("after%d-", i), 2)
	}
	got.awaitAll(t, "after", 6)
	eventually(t, "the missing numbers are forgotten", func() (string, bool) {
		b.publishAs("more", 1)
		missing := value[string](b, `SELECT missing::text FROM public.strunk_feed ORDER BY slot DESC LIMIT 1`)
		return missing, missing == "{}"
	})
}
