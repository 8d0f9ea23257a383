package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

type invoice struct {
	Customer string  `json:"customer"`
	Month    string  `json:"month"`
	Amount   float64 `json:"amount"`
}

// Tasks with equal payloads, or equal fields of them, are duplicates while the first is not done:
// over all programs that declare the same, and those that do not are told.
func TestDedupByPayload(t *testing.T) {
	t.Parallel()
	t.Run("one task for each payload, whoever enqueues it", payloadsAreUnique)
	t.Run("in three processes that are killed", dedupUnderKills)
	t.Run("the keys never change", payloadKeysAreStable)
	t.Run("programs that declare otherwise are told", dedupDeclarationsAreCompared)
	t.Run("what cannot work is refused", dedupDeclarationsAreChecked)
}

// payloadsAreUnique enqueues the same payloads from three boxes at once, whose worker loses its lease.
func payloadsAreUnique(t *testing.T) {
	t.Parallel()
	const payloads = 20
	b := newBed(t)
	q := queue.Define[invoice]("invoices", queue.Config{Retry: atOnce, MaxAttempts: 1000,
		Dedup: queue.DedupByPayload("month", "customer"), Middleware: []queue.Middleware{scramble}})
	enqueueAll := func(box *outbox.Box) (added int) {
		for i := range payloads {
			noError(t, box.InTx(context.Background(), func(tx *outbox.OwnedTx) error {
				done, err := q.EnqueueBatch(context.Background(), tx, []invoice{
					{Customer: fmt.Sprint(i), Month: "May", Amount: 1},
					{Customer: fmt.Sprint(i), Month: "May", Amount: 2}})
				for _, d := range done {
					if !d.Duplicate {
						added++
					}
				}
				return err
			}))
		}
		return added
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	added := 0
	for range 3 {
		box := bedOn(t, b.pool, outbox.Config{}).box
		all.Go(func() {
			n := enqueueAll(box)
			mu.Lock()
			defer mu.Unlock()
			added += n
		})
	}
	all.Wait()
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = 'invoices'`); n != payloads ||
		added != payloads {
		t.Errorf("%d tasks, and %d were said to be added; want %d", n, added, payloads)
	}
	began, finish := make(chan int64, 1000), make(chan struct{})
	b.run(q.Worker(func(ctx context.Context, task queue.Task[invoice]) error {
		began <- task.ID
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, queue.Concurrency(payloads)))
	receive(t, "a handler runs", began)
	b.expireLeases()
	if n := enqueueAll(b.box); n != 0 {
		t.Errorf("%d tasks were added while the lease of the first was lost; want none", n)
	}
	close(finish)
	eventually(t, "all are done", func() (string, bool) {
		c := b.counts("invoices")
		return fmt.Sprint(c), c[queue.StatusDelivered] == payloads
	})
	if n := enqueueAll(b.box); n != payloads {
		t.Errorf("%d tasks were added after the first were done; want %d", n, payloads)
	}
}

// scramble is a middleware that writes the same payload differently each time, as encryption does.
var scramble = queue.Middleware{
	Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
		for _, o := range tasks {
			o.SetPayload(fmt.Appendf(nil, `{"at":%q,"in":%s}`, time.Now().Format(time.RFC3339Nano), o.Payload()))
		}
		return next(ctx)
	},
	Work: func(ctx context.Context, i *queue.Incoming, next func(context.Context) error) error {
		var wrapped struct{ In json.RawMessage }
		if err := json.Unmarshal(i.Payload(), &wrapped); err != nil {
			return err
		}
		i.SetPayload(wrapped.In)
		return next(ctx)
	},
}

// payloadKeysAreStable has golden keys: programs of other releases have made the same.
func payloadKeysAreStable(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for i, c := range []struct {
		fields []string
		docs   []string
		want   string
	}{
		{nil, []string{`{"a":1,"b":[true,null,"x"]}`, `{ "b" : [true,null,"\u0078"], "a":1.0, "c":null }`,
			`{"a":10e-1,"b":[true,null,"x"]}`}, "payload:57a94aab:8b00b313a5ff1ddb3973fbe0aefefde8"},
		{nil, []string{`{"a":1,"b":[true,"x",null]}`}, "payload:57a94aab:7a4026059bb55902898e4a82749cbb75"},
		{nil, []string{`12345678901234567890`, `1234567890123456789.0e1`},
			"payload:57a94aab:84789cbc7d38a45f13f3014945c798e6"},
		{nil, []string{`12345678901234567891`}, "payload:57a94aab:893c9bd0137126a3b7f23551ca54dc1f"},
		{nil, []string{`-0.0`, `0`, `0e7`}, "payload:57a94aab:755f053db7fe99b1908c58c20b50b4e1"},
		{nil, []string{`"0"`}, "payload:57a94aab:18df7fca41372b56535e7e9fe1f2a944"},
		{nil, []string{`null`}, "payload:57a94aab:5e2cc5130f232a437c79d1363dbf0123"},
		{[]string{"b", "a"}, []string{`{"a":1,"b":2}`, `{"c":3,"b":2,"a":1}`},
			"payload:33b77ce1:4f66b8d7f8866ea7af5744b9541c3172"},
		{[]string{"a"}, []string{`{"a":1,"b":2}`}, "payload:330ab00d:c9e87704480ea2ae43211e5661f12b47"},
	} {
		q := queue.Define[json.RawMessage](fmt.Sprint("golden-", i),
			queue.Config{Dedup: queue.DedupByPayload(c.fields...)})
		for _, doc := range c.docs {
			id := put(b, q, json.RawMessage(doc))
			if got := value[string](b, `SELECT dedup_key FROM public.strunk_outbox WHERE id = $1`, id); got != c.want {
				t.Errorf("fields %q of %s: key %s; want %s", c.fields, doc, got, c.want)
			}
		}
		if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE key = $1`, q.Name()); n != 1 {
			t.Errorf("%q: %d tasks; want 1", c.docs, n)
		}
	}
	q := queue.Define[invoice]("own-key", queue.Config{Dedup: queue.DedupByPayload()})
	id := put(b, q, invoice{}, queue.DedupKey("mine"))
	if key := get(b, q, id).DedupKey; key != "mine" {
		t.Errorf("a task that was enqueued with a dedup key has %q; want its own", key)
	}
}

func dedupDeclarationsAreCompared(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	declare := func(d queue.PayloadDedup) *queue.Queue[invoice] {
		return queue.Define[invoice]("compared", queue.Config{Dedup: d})
	}
	// work runs a worker in a box of its own until a task is done, and returns what the box has logged.
	work := func(worker, producer *queue.Queue[invoice], month string) string {
		box := bedOn(t, b.pool, outbox.Config{})
		defer box.run(worker.Worker(func(context.Context, queue.Task[invoice]) error { return nil }))()
		reach(box, worker, put(box, producer, invoice{Month: month}), queue.StatusDelivered)
		return box.logs.String()
	}
	const told, producer = "another Config.Dedup", "names other fields"
	none, month := declare(queue.PayloadDedup{}), declare(queue.DedupByPayload("month"))
	other := declare(queue.DedupByPayload("month", "amount").In(queue.ForPeriod(time.Hour)))
	for i, c := range []struct {
		worker, producer *queue.Queue[invoice]
		says             []string
	}{
		{none, none, nil},
		{month, month, nil},
		{month, month, nil},
		{month, other, []string{producer}},
		{other, other, []string{told, "fields month, until done", "fields amount, month, period 1h0m0s"}},
		{none, none, []string{told, "period"}},
		{month, month, []string{told, "before=none"}},
	} {
		log := work(c.worker, c.producer, fmt.Sprint(i))
		for _, text := range c.says {
			if !strings.Contains(log, text) {
				t.Errorf("case %d: the log does not say %q:\n%s", i, text, log)
			}
		}
		for _, text := range []string{told, producer} {
			if strings.Contains(log, text) && (len(c.says) == 0 || c.says[0] != text) {
				t.Errorf("case %d: the log says %q:\n%s", i, text, log)
			}
		}
	}
}

func dedupDeclarationsAreChecked(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	raw := queue.Define[json.RawMessage]("raw", queue.Config{Dedup: queue.DedupByPayload("a")})
	enqueue := func(put func(tx *outbox.OwnedTx) error) error {
		err := b.box.InTx(t.Context(), put)
		if err == nil {
			err = errors.New("it was enqueued")
		}
		return err
	}
	for _, doc := range []string{`[1]`, `{"b":1}`, `{"a":null}`} {
		wantError(t, enqueue(func(tx *outbox.OwnedTx) error {
			_, err := raw.Enqueue(t.Context(), tx, json.RawMessage(doc))
			return err
		}), queue.ErrInvalid, "Dedup", "fields")
	}
	for says, d := range map[string]queue.PayloadDedup{
		`no field "day"`: queue.DedupByPayload("day"),
		"named twice":    queue.DedupByPayload("month", "month"),
		"mode is nil":    queue.DedupByPayload().In(nil),
		"ForPeriod":      queue.DedupByPayload().In(queue.ForPeriod(0)),
	} {
		q := queue.Define[invoice]("checked", queue.Config{Dedup: d})
		wantError(t, enqueue(func(tx *outbox.OwnedTx) error {
			_, err := q.Enqueue(t.Context(), tx, invoice{})
			return err
		}), queue.ErrInvalid, says, "Config.Dedup")
	}
}
