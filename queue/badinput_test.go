package queue_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// payloadError is what encoding/json calls for a value that cannot be written.
type unwritable struct{}

func (unwritable) MarshalJSON() ([]byte, error) { return nil, errors.New("not today") }

// Every bad argument is refused before the caller's transaction is touched, which goes on and commits.
func TestBadInputLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("input", queue.Config{})
	raw := queue.Define[json.RawMessage]("raw", queue.Config{})
	values := queue.Define[any]("any", queue.Config{})
	enqueue := func(payload string, opts ...queue.EnqueueOption) func(context.Context, outbox.Tx) error {
		return func(ctx context.Context, tx outbox.Tx) error {
			_, err := q.Enqueue(ctx, tx, note{payload}, opts...)
			return err
		}
	}
	anything := func(payload any) func(context.Context, outbox.Tx) error {
		return func(ctx context.Context, tx outbox.Tx) error {
			_, err := values.Enqueue(ctx, tx, payload)
			return err
		}
	}
	document := func(payload string) func(context.Context, outbox.Tx) error {
		return func(ctx context.Context, tx outbox.Tx) error {
			_, err := raw.Enqueue(ctx, tx, json.RawMessage(payload))
			return err
		}
	}
	define := func(name string, cfg queue.Config) func(context.Context, outbox.Tx) error {
		return func(ctx context.Context, tx outbox.Tx) error {
			_, err := queue.Define[note](name, cfg).Enqueue(ctx, tx, note{})
			return err
		}
	}
	const overhead = len(`{"text":""}`)
	long := strings.Repeat("n", 1000)
	for _, row := range []struct {
		name string
		try  func(context.Context, outbox.Tx) error
		kind error
		says string // why, and what to do
	}{
		{"NUL in a string", enqueue("a\x00b"), queue.ErrInvalid, "NUL"},
		{"NUL escaped in a document", document(`{"a":"\u0000"}`), queue.ErrInvalid, "NUL"},
		{"NUL in a map's key", anything(map[string]int{"a\x00": 1}), queue.ErrInvalid, "NUL"},
		{"invalid UTF-8", enqueue("a\xffb"), queue.ErrInvalid, "UTF-8"},
		{"invalid UTF-8 in a document", document("\"a\xff\""), queue.ErrInvalid, "UTF-8"},
		{"invalid UTF-8 deep inside", anything(map[string]any{"a": []any{struct{ B *string }{ptr("\xc3\x28")}}}),
			queue.ErrInvalid, "UTF-8"},
		{"1 MiB and 1 byte", enqueue(strings.Repeat("x", 1<<20+1-overhead)), queue.ErrInvalid, "1048577"},
		{"not JSON", document(`{"a":`), queue.ErrInvalid, "JSON"},
		{"a channel", anything(make(chan int)), queue.ErrInvalid, "JSON"},
		{"infinity", anything(math.Inf(1)), queue.ErrInvalid, "JSON"},
		{"a failing MarshalJSON", anything(unwritable{}), queue.ErrInvalid, "not today"},
		{"an empty queue name", define("", queue.Config{}), queue.ErrInvalid, "empty"},
		{"a name of 1,000 characters", define(long, queue.Config{}), queue.ErrInvalid, "1000 bytes"},
		{"NUL in a name", define("a\x00b", queue.Config{}), queue.ErrInvalid, "NUL"},
		{"a negative MaxAttempts", define("a", queue.Config{MaxAttempts: -1}), queue.ErrInvalid, "MaxAttempts"},
		{"a negative Timeout", define("a", queue.Config{Timeout: -1}), queue.ErrInvalid, "Timeout"},
		{"a Config priority of 10", define("a", queue.Config{Priority: 10}), queue.ErrInvalid, "Priority"},
		{"priority 10", enqueue("", queue.Priority(10)), queue.ErrInvalid, "Priority"},
		{"priority -1", enqueue("", queue.Priority(-1)), queue.ErrInvalid, "Priority"},
		{"0 attempts", enqueue("", queue.MaxAttempts(0)), queue.ErrInvalid, "MaxAttempts"},
		{"a million attempts", enqueue("", queue.MaxAttempts(1_000_000)), queue.ErrInvalid, "MaxAttempts"},
		{"a negative delay", enqueue("", queue.Delay(-time.Second)), queue.ErrInvalid, "Delay"},
		{"a delay and a time", enqueue("", queue.Delay(1), queue.DueAt(time.Now())), queue.ErrInvalid, "exclude"},
		{"the year 10,000", enqueue("", queue.DueAt(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC))),
			queue.ErrInvalid, "year"},
		{"a timeout of a year", enqueue("", queue.Timeout(366*24*time.Hour)), queue.ErrInvalid, "Timeout"},
		{"an empty dedup key", enqueue("", queue.DedupKey("")), queue.ErrInvalid, "DedupKey"},
		{"a dedup key of 1,000 characters", enqueue("", queue.DedupKey(long)), queue.ErrInvalid, "DedupKey"},
		{"NUL in a dedup key", enqueue("", queue.DedupKey("\x00")), queue.ErrInvalid, "NUL"},
		{"invalid UTF-8 in metadata", enqueue("", queue.Metadata(map[string]string{"a": "\xff"})), queue.ErrInvalid,
			"UTF-8"},
		{"NUL in metadata", enqueue("", queue.Metadata(map[string]string{"\x00": "b"})), queue.ErrInvalid, "NUL"},
		{"a cancelled context", func(ctx context.Context, tx outbox.Tx) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, err := q.Enqueue(ctx, tx, note{})
			return err
		}, context.Canceled, "nothing was sent"},
		{"a zero queue", func(ctx context.Context, tx outbox.Tx) error {
			var zero queue.Queue[note]
			_, err := zero.Enqueue(ctx, tx, note{})
			return err
		}, nil, "queue.Define"},
		{"a zero item", func(ctx context.Context, tx outbox.Tx) error {
			_, err := queue.EnqueueAll(ctx, tx, q.Item(note{"good"}), queue.Item{})
			return err
		}, queue.ErrInvalid, "item 2 of 2"},
		{"one bad payload in a batch", func(ctx context.Context, tx outbox.Tx) error {
			_, err := q.EnqueueBatch(ctx, tx, []note{{"good"}, {"\x00"}})
			return err
		}, queue.ErrInvalid, "NUL"},
		{"no transaction", func(ctx context.Context, _ outbox.Tx) error {
			_, err := q.Enqueue(ctx, nil, note{})
			return err
		}, outbox.ErrInvalidTx, "Box.InTx"},
		{"a nil pgx transaction", func(ctx context.Context, _ outbox.Tx) error {
			_, err := q.Enqueue(ctx, b.box.Tx(nil), note{})
			return err
		}, outbox.ErrInvalidTx, ""},
		{"a nil pgx transaction of a type", func(ctx context.Context, _ outbox.Tx) error {
			var tx *pgxpool.Tx
			_, err := q.Enqueue(ctx, b.box.Tx(tx), note{})
			return err
		}, outbox.ErrInvalidTx, ""},
		{"a nil sql transaction", func(ctx context.Context, _ outbox.Tx) error {
			var tx *sql.Tx
			_, err := q.Enqueue(ctx, b.box.SQLTx(tx), note{})
			return err
		}, outbox.ErrInvalidTx, ""},
		{"a nil owned transaction", func(ctx context.Context, _ outbox.Tx) error {
			var tx *outbox.OwnedTx
			_, err := q.Enqueue(ctx, tx, note{})
			return err
		}, outbox.ErrInvalidTx, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			tx := begin(b, pgx.ReadCommitted)
			before, err := q.Enqueue(t.Context(), tx, note{"before"})
			if err != nil {
				t.Fatal(err)
			}
			err = row.try(t.Context(), tx)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if row.kind != nil {
				wantError(t, err, row.kind)
			}
			if !strings.HasPrefix(err.Error(), "strunk/queue: ") || !strings.Contains(err.Error(), row.says) ||
				len(err.Error()) > 500 {
				t.Errorf("error %.600q; want it to begin with strunk/queue and to say %q, briefly", err, row.says)
			}
			usable(t, tx)
			if rec := get(b, q, before.ID); rec.Payload.Text != "before" {
				t.Errorf("the task before the error: %+v", rec)
			}
			b.exec(`DELETE FROM public.strunk_outbox_tasks WHERE id = $1`, before.ID)
			if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox`); n != 0 {
				t.Errorf("%d other rows are left; want 0", n)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// What is at the limit, or merely looks bad, passes and comes back as it was.
func TestInputAtTheLimits(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note](strings.Repeat("ü", 100), queue.Config{})
	const overhead = len(`{"text":""}`)
	for name, text := range map[string]string{
		"1 MiB":                       strings.Repeat("x", 1<<20-overhead),
		"the replacement character":   "a\uFFFDb",
		"an escaped backslash and u":  `a\u0000b`,
		"beyond the basic plane":      "😀",
		"what JSON escapes":           "\"\\\b\f\n\r\t<>&\u2028",
		"what SQL and arrays escape":  `{"a",'b'} $1 NULL`,
		"a name that is its own key":  "",
		"a control character":         "\x01\x7f",
		"backslashes before a quote ": `\\"`,
	} {
		id := put(b, q, note{text}, queue.DedupKey("k "+name),
			queue.Metadata(map[string]string{name: strings.Repeat("m", 10)}))
		if rec := get(b, q, id); rec.Payload.Text != text || rec.DedupKey != "k "+name || rec.Metadata[name] == "" {
			t.Errorf("%s came back as %.100q, %q, %v", name, rec.Payload.Text, rec.DedupKey, rec.Metadata)
		}
	}
}

func TestRunReportsEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	handler := func(context.Context, queue.Task[note]) error { return nil }
	q := queue.Define[note]("twice", queue.Config{})
	var zero *queue.Worker[note]
	err := b.box.Run(t.Context(),
		q.Worker(handler), q.Worker(handler), queue.Define[int]("twice",
			queue.Config{}).Worker(func(context.Context, queue.Task[int]) error { return nil }),
		queue.Define[note]("negative", queue.Config{}).Worker(handler, queue.Concurrency(-1)),
		queue.Define[note]("none", queue.Config{}).Worker(nil),
		queue.Define[note]("", queue.Config{}).Worker(handler),
		queue.Define[note]("brief", queue.Config{}).Worker(handler, queue.VisibilityTimeout(time.Millisecond),
			queue.Timeout(-1), queue.PollInterval(-1), queue.Retry(nil)),
		nil, zero)
	if err == nil {
		t.Fatal("Run accepted it")
	}
	wantError(t, err, queue.ErrInvalid)
	for _, text := range []string{`two bindings are the worker "twice"`, "Concurrency: -1", "the handler is nil",
		"must not be empty",
		"VisibilityTimeout", "Timeout", "PollInterval", "Retry", "binding 8 is nil", "the zero Worker"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q:\n%v", text, err)
		}
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows; want 0, nothing was started", n)
	}
}

func TestClosedPoolAndCancelledContext(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("closed", queue.Config{})
	pool := dial(t, outboxtest.DSN(b.pool))
	closed := bedOn(t, pool, outbox.Config{})
	pool.Close()
	worker := q.Worker(func(context.Context, queue.Task[note]) error { return nil })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, try := range map[string]struct {
		err  error
		says string
		kind error
	}{
		"begin on a closed pool": {second(closed.box.Begin(t.Context())), "closed pool", nil},
		"run on a closed pool":   {closed.box.Run(t.Context(), worker), "closed pool", nil},
		"get on a closed pool":   {second(q.Get(t.Context(), closed.box, 1)), "closed pool", nil},
		"open on a closed pool":  {second(outbox.Open(t.Context(), pool, outbox.Config{})), "closed pool", nil},
		"open without a pool":    {second(outbox.Open(t.Context(), nil, outbox.Config{})), "pool is nil", nil},
		"begin when cancelled":   {second(b.box.Begin(cancelled)), "begin", context.Canceled},
		"InTx when cancelled": {b.box.InTx(cancelled, func(*outbox.OwnedTx) error { return nil }), "begin",
			context.Canceled},
		"get when cancelled": {second(q.Get(cancelled, b.box, 1)), "get", context.Canceled},
		"migrate when cancelled": {outbox.Migrate(cancelled, b.pool, outbox.MigrateConfig{}), "migrate",
			context.Canceled},
		"migrate on a closed pool ": {outbox.Migrate(t.Context(), pool, outbox.MigrateConfig{}), "closed pool", nil},
	} {
		switch {
		case try.err == nil:
			t.Errorf("%s: accepted", name)
		case !strings.HasPrefix(try.err.Error(), "strunk/") || !strings.Contains(try.err.Error(), try.says):
			t.Errorf("%s: %v; want it to begin with strunk/ and to say %q", name, try.err, try.says)
		case try.kind != nil && !errors.Is(try.err, try.kind):
			t.Errorf("%s: %v; want %v in it", name, try.err, try.kind)
		}
	}
}

// A service that is stopped while it starts ends cleanly, and nothing of it was started.
func TestRunWhenAlreadyStopped(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("stopped", queue.Config{})
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	worker := q.Worker(func(context.Context, queue.Task[note]) error { return nil })
	if err := b.box.Run(stopped, worker); err != nil {
		t.Errorf("Run with a context that has ended: %v; want nil", err)
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_workers`); n != 0 {
		t.Errorf("%d lease rows; want 0, nothing was started", n)
	}
}

func second[T any](_ T, err error) error { return err }

// A context that ends in the middle of the caller's own transaction rolls it back, and nothing of it is left.
func TestContextEndsDuringTheTransaction(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("ends", queue.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := q.Enqueue(ctx, tx, note{}); err != nil {
			return err
		}
		cancel()
		return nil
	})
	wantError(t, err, context.Canceled, "strunk/outbox: commit")
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox`); n != 0 {
		t.Errorf("%d rows are left; want 0", n)
	}
}
