// Package anytx is the conformance suite for transactions that strunk borrows: whatever library
// began one, enqueueing in it must behave the same.
package anytx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/inbox"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// Open is one open transaction of some library.
type Open struct {
	// Tx is the transaction as strunk sees it.
	Tx outbox.Tx
	// Exec runs a statement of the application through the library.
	Exec     func(ctx context.Context, sql string) error
	Commit   func() error
	Rollback func() error
}

// Library begins transactions in the database of a DSN.
type Library func(t *testing.T, box *outbox.Box, dsn string) func(ctx context.Context) (Open, error)

type payload struct {
	Text string
	List []int
}

type suite struct {
	t     *testing.T
	pool  *pgxpool.Pool
	box   *outbox.Box
	begin func(ctx context.Context) (Open, error)
	queue *queue.Queue[payload]
}

// Run runs the suite for one library.
func Run(t *testing.T, library Library) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"committed together":            committed,
		"rolled back together":          rolledBack,
		"every option arrives":          options,
		"every option of one arrives":   optionsOfOne,
		"a duplicate changes nothing":   duplicates,
		"dedup modes":                   dedupModes,
		"usable after a refusal":        refusals,
		"an ended context sends naught": endedContext,
		"inbox":                         once,
		"workers are woken":             wakes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := outboxtest.New(t)
			box, err := outbox.Open(t.Context(), pool, outbox.Config{PollInterval: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Exec(t.Context(), `CREATE TABLE public.orders (id integer)`); err != nil {
				t.Fatal(err)
			}
			test(&suite{t: t, pool: pool, box: box, begin: library(t, box, outboxtest.DSN(pool)),
				queue: queue.Define[payload]("orders", queue.Config{})})
		})
	}
}

// in runs fn in a transaction of the library and commits it.
func (s *suite) in(fn func(tx Open) error) {
	s.t.Helper()
	tx, err := s.begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(fn(tx), tx.Commit()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *suite) count(sql string) (n int) {
	s.t.Helper()
	if err := s.pool.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

const (
	tasks  = `SELECT count(*) FROM public.strunk_outbox`
	orders = `SELECT count(*) FROM public.orders`
	insert = `INSERT INTO public.orders VALUES (1)`
)

func committed(s *suite) {
	s.in(func(tx Open) error {
		_, err := s.queue.Enqueue(s.t.Context(), tx.Tx, payload{Text: "x"})
		if s.count(tasks) != 0 {
			s.t.Error("the task is visible before the commit")
		}
		return errors.Join(err, tx.Exec(s.t.Context(), insert))
	})
	if s.count(tasks) != 1 || s.count(orders) != 1 {
		s.t.Error("task and order are not both there after the commit")
	}
}

func rolledBack(s *suite) {
	tx, err := s.begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.queue.Enqueue(s.t.Context(), tx.Tx, payload{Text: "x"})
	if err := errors.Join(err, tx.Exec(s.t.Context(), insert), tx.Rollback()); err != nil {
		s.t.Fatal(err)
	}
	if s.count(tasks) != 0 || s.count(orders) != 0 {
		s.t.Error("something outlived the rollback")
	}
}

// options sends every kind of array, with text that needs care.
func options(s *suite) {
	awkward := `"quoted", {braces}, back\slash, NULL, line` + "\n" + `break, ☃`
	due := time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))
	var done []queue.Enqueued
	s.in(func(tx Open) (err error) {
		done, err = queue.EnqueueAll(s.t.Context(), tx.Tx,
			s.queue.Item(payload{Text: awkward, List: []int{1, 2}}, queue.DedupKey(awkward),
				queue.Metadata(map[string]string{awkward: awkward}),
				queue.Priority(7), queue.MaxAttempts(3), queue.Timeout(90*time.Second), queue.DueAt(due)),
			s.queue.Item(payload{Text: "plain"}),
			s.queue.Item(payload{}, queue.Delay(time.Hour)))
		return err
	})
	rec, err := s.queue.Get(s.t.Context(), s.box, done[0].ID)
	if err != nil || rec.Payload.Text != awkward || len(rec.Payload.List) != 2 || rec.DedupKey != awkward ||
		rec.Metadata[awkward] != awkward ||
		rec.Priority != 7 || rec.MaxAttempts != 3 || !rec.DueAt.Equal(due) || rec.Status != queue.StatusScheduled {
		s.t.Errorf("%+v, %v", rec, err)
	}
	rec, err = s.queue.Get(s.t.Context(), s.box, done[1].ID)
	if err != nil || rec.Status != queue.StatusPending || rec.Metadata != nil || rec.DedupKey != "" ||
		rec.Priority != 0 {
		s.t.Errorf("%+v, %v", rec, err)
	}
	rec, err = s.queue.Get(s.t.Context(), s.box, done[2].ID)
	if err != nil || rec.Status != queue.StatusScheduled || rec.DueAt.Sub(rec.CreatedAt) != time.Hour {
		s.t.Errorf("%+v, %v", rec, err)
	}
}

// optionsOfOne sends the same for a task alone, which goes another way.
func optionsOfOne(s *suite) {
	awkward := `"quoted", {braces}, back\slash, NULL, line` + "\n" + `break, ☃`
	due := time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))
	var set, plain, delayed queue.Enqueued
	s.in(func(tx Open) (err error) {
		ctx := s.t.Context()
		set, err = s.queue.Enqueue(ctx, tx.Tx, payload{Text: awkward, List: []int{1, 2}}, queue.CustomerKey(awkward),
			queue.Metadata(map[string]string{awkward: awkward}), queue.Priority(7), queue.MaxAttempts(3),
			queue.Timeout(90*time.Second), queue.DueAt(due))
		if err == nil {
			plain, err = s.queue.Enqueue(ctx, tx.Tx, payload{Text: "plain"})
		}
		if err == nil {
			delayed, err = s.queue.Enqueue(ctx, tx.Tx, payload{}, queue.Delay(time.Hour))
		}
		return err
	})
	rec, err := s.queue.Get(s.t.Context(), s.box, set.ID)
	if err != nil || rec.Payload.Text != awkward || len(rec.Payload.List) != 2 || rec.CustomerKey != awkward ||
		rec.Metadata[awkward] != awkward || rec.Priority != 7 || rec.MaxAttempts != 3 || !rec.DueAt.Equal(due) ||
		rec.Status != queue.StatusScheduled ||
		s.count(`SELECT sum(timeout_ms) FROM public.strunk_outbox`) != 90_000 {
		s.t.Errorf("%+v, %v", rec, err)
	}
	rec, err = s.queue.Get(s.t.Context(), s.box, plain.ID)
	if err != nil || rec.Status != queue.StatusPending || rec.Metadata != nil || rec.CustomerKey != "" ||
		rec.Priority != 0 {
		s.t.Errorf("%+v, %v", rec, err)
	}
	rec, err = s.queue.Get(s.t.Context(), s.box, delayed.ID)
	if err != nil || rec.Status != queue.StatusScheduled || rec.DueAt.Sub(rec.CreatedAt) != time.Hour {
		s.t.Errorf("%+v, %v", rec, err)
	}
}

func duplicates(s *suite) {
	s.in(func(tx Open) error {
		first, err := s.queue.Enqueue(s.t.Context(), tx.Tx, payload{}, queue.DedupKey("k"))
		second, err2 := s.queue.Enqueue(s.t.Context(), tx.Tx, payload{}, queue.DedupKey("k"))
		if first.Duplicate || !second.Duplicate || first.ID != second.ID {
			s.t.Errorf("%+v, then %+v", first, second)
		}
		return errors.Join(err, err2, tx.Exec(s.t.Context(), insert))
	})
	if s.count(tasks) != 1 || s.count(orders) != 1 {
		s.t.Error("want one task and the order")
	}
}

func dedupModes(s *suite) {
	for i, mode := range []queue.DedupMode{queue.WhileWaiting, queue.ForPeriod(time.Hour), queue.ReplaceWaiting,
		queue.DebounceUpTo(time.Minute, time.Hour)} {
		s.in(func(tx Open) error {
			key := fmt.Sprint(i)
			done, err := queue.EnqueueAll(s.t.Context(), tx.Tx,
				s.queue.Item(payload{Text: "a"}, queue.Dedup(key, mode)),
				s.queue.Item(payload{Text: "b"}, queue.Dedup(key, mode)))
			if err == nil && (done[0].ID != done[1].ID || done[0].Duplicate || !done[1].Duplicate) {
				s.t.Errorf("mode %d: %+v", i, done)
			}
			return err
		})
	}
}

func refusals(s *suite) {
	s.in(func(tx Open) error {
		for _, text := range []string{"a\x00b", strings.Repeat("x", 2<<20), "\xff"} {
			if _, err := s.queue.Enqueue(s.t.Context(), tx.Tx, payload{Text: text}); !errors.Is(err, queue.ErrInvalid) {
				s.t.Errorf("%.10q: %v; want ErrInvalid", text, err)
			}
		}
		return tx.Exec(s.t.Context(), insert)
	})
	if s.count(tasks) != 0 || s.count(orders) != 1 {
		s.t.Error("want no task, and the order")
	}
}

func endedContext(s *suite) {
	s.in(func(tx Open) error {
		ended, cancel := context.WithCancel(s.t.Context())
		cancel()
		if _, err := s.queue.Enqueue(ended, tx.Tx, payload{}); !errors.Is(err, context.Canceled) {
			s.t.Errorf("%v; want context.Canceled", err)
		}
		return tx.Exec(s.t.Context(), insert)
	})
}

func once(s *suite) {
	no := errors.New("no")
	for i, step := range []struct {
		err error
		ran bool
	}{{no, false}, {nil, true}, {nil, false}} {
		s.in(func(tx Open) error {
			ran, err := inbox.Once(s.t.Context(), tx.Tx, "billing", "evt_1", func(ctx context.Context) error {
				return errors.Join(tx.Exec(ctx, insert), step.err)
			})
			if ran != step.ran || !errors.Is(err, step.err) {
				s.t.Errorf("delivery %d: %v, %v", i+1, ran, err)
			}
			return nil
		})
	}
	if s.count(orders) != 1 {
		s.t.Errorf("%d effects; want 1", s.count(orders))
	}
}

func wakes(s *suite) {
	ctx, cancel := context.WithCancel(context.Background())
	got, ran := make(chan struct{}, 2), make(chan error, 1)
	go func() {
		ran <- s.box.Run(ctx, s.queue.Worker(func(context.Context,
			queue.Task[payload]) error {
			got <- struct{}{}
			return nil
		}))
	}()
	for range 2 { // by the second the worker has long been waiting
		s.in(func(tx Open) error {
			_, err := s.queue.Enqueue(s.t.Context(), tx.Tx, payload{})
			return err
		})
		select {
		case <-got:
		case <-time.After(30 * time.Second):
			s.t.Error("the worker was not woken (it polls once a minute)")
		}
	}
	cancel()
	if err := <-ran; err != nil {
		s.t.Error(err)
	}
}
