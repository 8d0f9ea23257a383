package schema_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schema"
)

type (
	fullName struct {
		Name string `json:"name"`
	}
	names struct {
		First string `json:"first"`
		Last  string `json:"last"`
	}
)

var toNames = schema.Upcast[names]("2.0", schema.From("1.0", func(old fullName) (n names, err error) {
	if _, err = fmt.Sscan(old.Name, &n.First, &n.Last); err != nil {
		err = fmt.Errorf("%q is no first and last name", old.Name)
	}
	return n, err
}))

// What an upcast cannot decode is set aside at the first attempt, the raw bytes as they were.
func TestUndecodableIsSetAside(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	_, box := newRegistry(t)
	stream := events.Define("person", func(json.RawMessage) string { return "1" }, events.Config{SchemaVersion: "1.0"})
	mails := queue.Define[json.RawMessage]("mail", queue.Config{})
	const good, bad = `{"name":"Ada Lovelace"}`, `{"name":"Plato"}`
	var task queue.Enqueued
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) (err error) {
		if _, err = stream.PublishBatch(ctx, tx, []json.RawMessage{[]byte(bad), []byte(good)}); err == nil {
			task, err = mails.Enqueue(ctx, tx, json.RawMessage(bad))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var handled, tries atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- box.Run(ctx,
			stream.Subscriber("index", func(_ context.Context, e events.Event[json.RawMessage]) error {
				tries.Add(1)
				n, err := toNames.Decode(e.SchemaVersion, e.State)
				if err == nil && n == (names{"Ada", "Lovelace"}) {
					handled.Add(1)
				}
				return err
			}, events.OnFailure(events.DeadLetter), events.From(events.FromBeginning)),
			mails.Worker(func(_ context.Context, task queue.Task[json.RawMessage]) error {
				tries.Add(1)
				_, err := toNames.Decode("1.0", task.Payload)
				return err
			}))
	}()
	var rec queue.Record[json.RawMessage]
	testkit.Eventually(t, "the task is dead and the good event handled", func() bool {
		if rec, err = mails.Get(ctx, box, task.ID); err != nil {
			t.Fatal(err)
		}
		return rec.Status == queue.StatusDead && handled.Load() == 1
	})
	if string(rec.Raw) != bad || len(rec.Attempts) != 1 {
		t.Errorf("the dead letter is %s after %d attempts", rec.Raw, len(rec.Attempts))
	}
	dead, err := events.Dead(ctx, box, "index", 10)
	if err != nil || len(dead) != 1 || string(dead[0].State) != bad || dead[0].Attempts != 1 {
		t.Errorf("the dead event: %+v, %v", dead, err)
	}
	if n := tries.Load(); n != 3 {
		t.Errorf("%d attempts; want one for each", n)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("Run did not return")
	}
}

// A payload given for its schema is refused with what to give instead.
func TestRegisterOfAPayload(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	wantError(t, r.Register(t.Context(), "person", "1.0", names{}), schema.ErrInvalidSchema,
		"schema.MustFor[schema_test.names]()")
}
