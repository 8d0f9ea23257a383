package encrypt_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/encrypt"
)

type secret struct{ PIN string }

func ring(t *testing.T, keys ...encrypt.Key) *encrypt.Ring {
	t.Helper()
	r, err := encrypt.NewRing(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T) (*pgxpool.Pool, *outbox.Box) {
	t.Helper()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{PollInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return pool, box
}

func cards(mw ...queue.Middleware) *queue.Queue[secret] {
	// No task runs out of attempts before it is looked at: each wait is twice as long as the one before.
	return queue.Define[secret]("cards", queue.Config{Middleware: mw, MaxAttempts: 100,
		Retry: queue.Backoff{First: time.Millisecond}})
}

func put(t *testing.T, box *outbox.Box, q *queue.Queue[secret], pin string) (id int64) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		done, err := q.Enqueue(t.Context(), tx, secret{pin})
		id = done.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// handle works until a task has ended or failed three times, and returns what the handler saw and how the task ended.
func handle(t *testing.T, box *outbox.Box, q *queue.Queue[secret], id int64) (pin string, rec queue.Record[secret]) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	before, err := q.Get(ctx, box, id)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ran <- box.Run(ctx, q.Worker(func(_ context.Context,
			task queue.Task[secret]) error {
			pin = task.Payload.PIN
			return nil
		}))
	}()
	for deadline := time.Now().Add(testkit.Soon); ; time.Sleep(5 * time.Millisecond) {
		var err error
		if rec, err = q.Get(ctx, box, id); err != nil || time.Now().After(deadline) {
			t.Fatalf("task %d: %s, %v", id, rec.Status, err)
		}
		if rec.Status == queue.StatusDelivered || rec.Status == queue.StatusDead ||
			len(rec.Attempts) > len(before.Attempts)+2 {
			break
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	return pin, rec
}

func TestEncryptionHidesThePayload(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	q := cards(ring(t, encrypt.NewKey("k1")).Middleware())
	id := put(t, box, q, "1234")
	var stored string
	if err := pool.QueryRow(t.Context(), `SELECT payload FROM public.strunk_outbox
		WHERE id = $1`, id).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stored, "1234") || strings.Contains(stored, "PIN") || !strings.Contains(stored, `"key":"k1"`) {
		t.Errorf("stored as %s", stored)
	}
	if rec, err := q.Get(t.Context(), box, id); err != nil || rec.Payload.PIN != "1234" || string(rec.Raw) != stored {
		t.Errorf("read as %+v, %v; want the payload in clear and Raw as it is stored", rec, err)
	}
	if pin, rec := handle(t, box, q, id); pin != "1234" || rec.Status != queue.StatusDelivered {
		t.Errorf("the handler saw %q; the task is %s", pin, rec.Status)
	}
}

func TestEncryptionKeyRotation(t *testing.T) {
	t.Parallel()
	_, box := open(t)
	k1, k2 := encrypt.NewKey("k1"), encrypt.NewKey("k2")
	before, during, after := cards(ring(t, k1).Middleware()), cards(ring(t, k2, k1).Middleware()),
		cards(ring(t, k2).Middleware())
	old := put(t, box, before, "old")
	if pin, _ := handle(t, box, during, old); pin != "old" {
		t.Errorf("with both keys the handler saw %q", pin)
	}
	fresh := put(t, box, during, "new")
	if pin, _ := handle(t, box, after, fresh); pin != "new" {
		t.Errorf("with the new key the handler saw %q", pin)
	}
	left := put(t, box, before, "left over")
	_, rec := handle(t, box, after, left)
	if rec.Status == queue.StatusDead || !strings.Contains(rec.LastError, encrypt.ErrUnknownKey.Error()) {
		t.Errorf("without its key a task is %s, %q; want it to be tried again", rec.Status, rec.LastError)
	}
	if !errors.Is(rec.PayloadErr, encrypt.ErrUnknownKey) {
		t.Errorf("reading it: %v", rec.PayloadErr)
	}
	if pin, _ := handle(t, box, during, left); pin != "left over" {
		t.Errorf("with its key again the handler saw %q", pin)
	}
}

func TestEncryptionDetectsTampering(t *testing.T) {
	t.Parallel()
	pool, box := open(t)
	r := ring(t, encrypt.NewKey("k1"))
	q := cards(r.Middleware(encrypt.Strict()))
	for _, c := range []struct{ name, reason, change string }{
		{"a changed byte", "GCM authenticates", `UPDATE public.strunk_outbox_tasks
			SET payload = replace(payload::text, '"data":"', '"data":"AAAA')::json WHERE id = $1`},
		{"a plain payload", "Strict refuses what anybody can " +
			"write", `UPDATE public.strunk_outbox_tasks SET payload = '{"PIN": "0000"}' WHERE id = $1`},
		{"another queue's payload", "the queue's name is authenticated", ``},
	} {
		id := put(t, box, q, "1234")
		if c.change != "" {
			if _, err := pool.Exec(t.Context(), c.change, id); err != nil {
				t.Fatal(err)
			}
		} else {
			other := queue.Define[secret]("other", queue.Config{Middleware: []queue.Middleware{r.Middleware()}})
			if _, err := pool.Exec(t.Context(), `UPDATE public.strunk_outbox_tasks SET payload = (SELECT payload
				FROM public.strunk_outbox_tasks WHERE id = $2) WHERE id = $1`,
				id, put(t, box, other, "9999")); err != nil {
				t.Fatal(err)
			}
		}
		pin, rec := handle(t, box, q, id)
		if pin != "" || rec.Status != queue.StatusDead || !strings.Contains(rec.LastError,
			encrypt.ErrTampered.Error()) || rec.Attempt != 1 {
			t.Errorf("%s: the handler saw %q, the task is %s after attempt %d, %q: %s", c.name, pin, rec.Status,
				rec.Attempt, rec.LastError, c.reason)
		}
	}
}

func TestEncryptionCanBeSwitchedOnUnderWay(t *testing.T) {
	t.Parallel()
	_, box := open(t)
	id := put(t, box, cards(), "plain")
	if pin, _ := handle(t, box, cards(ring(t, encrypt.NewKey("k1")).Middleware()), id); pin != "plain" {
		t.Errorf("the handler saw %q", pin)
	}
}

func TestEncryptionForAWholeBox(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{Extensions: []outbox.Extension{ring(t,
		encrypt.NewKey("k1")).Middleware()}})
	if err != nil {
		t.Fatal(err)
	}
	q := cards()
	id := put(t, box, q, "1234")
	rec, err := q.Get(t.Context(), box, id)
	if err != nil || rec.Payload.PIN != "1234" || !json.Valid(rec.Raw) || strings.Contains(string(rec.Raw), "1234") {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestEncryptionKeysAreChecked(t *testing.T) {
	t.Parallel()
	good := encrypt.NewKey("k")
	for _, keys := range [][]encrypt.Key{{{ID: "", Secret: good.Secret}}, {{ID: "short", Secret: []byte("123")}},
		{good, good}} {
		if _, err := encrypt.NewRing(keys[0], keys[1:]...); !errors.Is(err, encrypt.ErrKey) {
			t.Errorf("%v: %v; want ErrKey", keys, err)
		}
	}
}
