package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// latin1Bed is a bed on a database that cannot hold all of Unicode.
func latin1Bed(t *testing.T) *bed {
	t.Helper()
	dsn := outboxtest.DSN(outboxtest.Empty(t))
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	name := cfg.Database + "_latin1"
	if _, err := conn.Exec(t.Context(), fmt.Sprintf(
		`CREATE DATABASE %s ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`, name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = conn.Exec(context.Background(), fmt.Sprintf(`DROP DATABASE %s WITH (FORCE)`, name))
		_ = conn.Close(context.Background())
	})
	poolConfig, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	poolConfig.ConnConfig.Database = name
	poolConfig.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	pool, err := pgxpool.NewWithConfig(context.Background(), poolConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}); err != nil {
		t.Fatal(err)
	}
	return bedOn(t, pool, outbox.Config{})
}

// A task whose outcome the database refuses becomes a dead letter with a text that can be stored,
// or is tried again with one. Its neighbours in the batch are done, each after one run.
func TestUnstorableOutcomeIsIsolated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reason string
		bed          func(t *testing.T) *bed
		spoil        func(b *bed, q *queue.Queue[note]) (id int64)
		err          error
		want         string // in the dead letter's error
	}{
		{"an id twice", "a sequence set back, as after logical replication",
			func(t *testing.T) *bed { return newBed(t) },
			func(b *bed, q *queue.Queue[note]) int64 {
				first := put(b, q, note{"first"})
				stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
				reach(b, q, first, queue.StatusDelivered)
				stop()
				b.exec(`SELECT setval('public.strunk_outbox_id_seq', $1, false)`, first)
				return put(b, q, note{"bad"})
			}, nil, "the outcome cannot be stored"},
		{"an error's text", "of characters that the database's encoding has not", latin1Bed,
			func(b *bed, q *queue.Queue[note]) int64 { return put(b, q, note{"bad"}) },
			errors.New("no → 界 today"), "no ? ? today"},
		{"a history", "replaced by hand", func(t *testing.T) *bed { return newBed(t) },
			func(b *bed, q *queue.Queue[note]) int64 {
				id := put(b, q, note{"bad"})
				b.exec(`UPDATE public.strunk_outbox SET errors = '{}' WHERE id = $1`, id)
				return id
			}, errors.New("no"), "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := c.bed(t)
			q := queue.Define[note]("unstorable", queue.Config{MaxAttempts: 1})
			bad := c.spoil(b, q)
			ids := putMany(b, q, 60)
			var mu sync.Mutex
			runs := map[string]int{}
			var begun atomic.Int64
			all := make(chan struct{}) // have begun: they end together, so that the bad one has neighbours
			b.run(q.Worker(func(ctx context.Context, task queue.Task[note]) error {
				if begun.Add(1) == int64(len(ids)+1) {
					close(all)
				}
				select {
				case <-all:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				mu.Lock()
				defer mu.Unlock()
				if runs[fmt.Sprint(task.ID, task.Payload.Text)]++; task.Payload.Text == "bad" {
					return c.err
				}
				return nil
			}, queue.Concurrency(61)))
			for _, id := range ids {
				if rec := reach(b, q, id, queue.StatusDelivered); rec.Attempt != 1 {
					t.Errorf("task %d took %d attempts; want one", id, rec.Attempt)
				}
			}
			eventually(t, "the bad one is a dead letter", func() (string, bool) {
				n := b.counts(q.Name())[queue.StatusDead]
				return fmt.Sprint(n), n == 1
			})
			letters, err := queue.DeadLetters(t.Context(), b.box, outbox.DeadFilter{})
			if err != nil || len(letters) != 1 || letters[0].ID != bad ||
				!strings.Contains(letters[0].LastError, c.want) {
				t.Errorf("dead letters %+v, %v; want task %d with %q: %s", letters, err, bad, c.want, c.reason)
			} else if letters[0].Attempt != 1 || len(letters[0].Attempts) != 1 {
				t.Errorf("attempt %d, history %+v; want one that is spent", letters[0].Attempt, letters[0].Attempts)
			}
			mu.Lock()
			defer mu.Unlock()
			for task, n := range runs {
				if n != 1 {
					t.Errorf("task %s was handled %d times; want once", task, n)
				}
			}
		})
	}
}

// Values that no claim could work, or that would stop the claims of others, are refused at psql.
func TestUnworkableValuesAreRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := put(b, queue.Define[note]("refused", queue.Config{}), note{"x"})
	for _, set := range []string{"priority = 10", "priority = -1", "attempts = -1", "attempts = 32767"} {
		_, err := b.pool.Exec(t.Context(), `UPDATE public.strunk_outbox SET `+set+` WHERE id = $1`, id)
		if core.SQLState(err) != pgerrcode.CheckViolation {
			t.Errorf("SET %s: %v; want it refused by a constraint", set, err)
		}
	}
}
