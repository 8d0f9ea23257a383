package schema_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schema"
)

func rawID(json.RawMessage) string { return "42" }

var (
	// checked and pinned are declared before there is a box, as in a program.
	checked = events.Define("order", rawID, events.Config{Validator: schema.Validator{}})
	pinned  = events.Define("order", rawID, events.Config{Validator: schema.Validator{}, SchemaVersion: "1.0"})
	shipped = queue.Define[json.RawMessage]("ship", queue.Config{Validator: schema.Validator{Subject: "order"}})
)

const (
	goodOrder = `{"id": 42, "status": "open", "total": 1.5}`
	badOrder  = `{"id": "42", "status": "open", "total": 1.5}`
	noted     = `{"id": 42, "status": "open", "total": 1.5, "notes": 7}`
)

func TestRegistryRefusesBeforeTheTransactionIsTouched(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, box := newRegistry(t, outboxtest.MaxConns(1)) // the transaction holds the only connection
	register(t, r, "order", "1.0", order10)
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := checked.Publish(ctx, tx, json.RawMessage(badOrder))
		wantError(t, err, schema.ErrInvalidPayload, "/id type", "version 1.0", "strunk/events: publish")
		wantError(t, err, events.ErrInvalid)
		_, err = checked.PublishBatch(ctx, tx, []json.RawMessage{[]byte(goodOrder), []byte(badOrder)})
		wantError(t, err, schema.ErrInvalidPayload, "item 2 of 2")
		_, err = shipped.Enqueue(ctx, tx, json.RawMessage(badOrder))
		wantError(t, err, schema.ErrInvalidPayload, `queue "ship"`)
		wantError(t, err, queue.ErrInvalid)
		_, err = shipped.EnqueueBatch(ctx, tx, []json.RawMessage{[]byte(goodOrder), []byte(badOrder)})
		wantError(t, err, schema.ErrInvalidPayload, "item 2 of 2")
		_, err = queue.EnqueueAll(ctx, tx, shipped.Item(json.RawMessage(badOrder)))
		wantError(t, err, schema.ErrInvalidPayload)
		var touched bool
		if err := tx.Pgx().QueryRow(ctx, `SELECT
			pg_current_xact_id_if_assigned() IS NOT NULL`).Scan(&touched); err != nil || touched {
			t.Errorf("the transaction has written: %v, %v", touched, err)
		}
		if _, err = checked.Publish(ctx, tx, json.RawMessage(goodOrder)); err != nil {
			return err
		}
		_, err = shipped.Enqueue(ctx, tx, json.RawMessage(goodOrder), queue.Metadata(map[string]string{"by": "test"}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var metadata string
	if err := box.Pool().QueryRow(ctx, `SELECT metadata::text FROM public.strunk_outbox
		WHERE kind = 'task'`).Scan(&metadata); err != nil ||
		metadata != `{"by":"test","schema_version":"1.0"}` {
		t.Errorf("the task's metadata are %s, %v", metadata, err)
	}
}

func TestRegistryResolvesVersions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, box := newRegistry(t)
	publish := func(s *events.Stream[json.RawMessage], state string, opts ...events.PublishOption) (version string,
		err error) {
		err = box.InTx(ctx, func(tx *outbox.OwnedTx) error {
			if _, err := s.Publish(ctx, tx, json.RawMessage(state), opts...); err != nil {
				return err
			}
			return tx.Pgx().QueryRow(ctx, `SELECT coalesce(schema_version, '')
				FROM public.strunk_snapshots`).Scan(&version)
		})
		return version, err
	}
	for _, step := range []struct {
		name     string
		register [2]string
		stream   *events.Stream[json.RawMessage]
		state    string
		opts     []events.PublishOption
		used     string
		err      error
	}{
		{name: "nothing is registered, and no version is named", stream: checked, state: badOrder},
		{name: "nothing is registered, and the stream names a version", stream: pinned, state: goodOrder,
			err: schema.ErrNotRegistered},
		{name: "the newest", register: [2]string{"1.0", order10}, stream: checked, state: goodOrder, used: "1.0"},
		{name: "a newer one at once, in the process that registers it", register: [2]string{"1.1", order11},
			stream: checked, state: goodOrder, used: "1.1"},
		{name: "the newest refuses", stream: checked, state: noted, err: schema.ErrInvalidPayload},
		{name: "the stream's version", stream: pinned, state: noted, used: "1.0"},
		{name: "given with the publish", stream: pinned, state: goodOrder,
			opts: []events.PublishOption{events.SchemaVersion("1.1")}, used: "1.1"},
		{name: "spelt otherwise", stream: checked, state: noted,
			opts: []events.PublishOption{events.SchemaVersion("1")}, used: "1.0"},
		{name: "not registered", stream: checked, state: goodOrder,
			opts: []events.PublishOption{events.SchemaVersion("1.2")}, err: schema.ErrNotRegistered},
		{name: "registered since", register: [2]string{"1.2", order11}, stream: checked, state: goodOrder,
			opts: []events.PublishOption{events.SchemaVersion("1.2")}, used: "1.2"},
		{name: "no version", stream: checked, state: goodOrder,
			opts: []events.PublishOption{events.SchemaVersion("newest")}, err: schema.ErrInvalidVersion},
	} {
		if step.register[0] != "" {
			register(t, r, "order", step.register[0], step.register[1])
		}
		used, err := publish(step.stream, step.state, step.opts...)
		if step.err != nil {
			wantError(t, err, step.err)
		} else if err != nil || used != step.used {
			t.Errorf("%s: version %q, %v; want %q", step.name, used, err, step.used)
		}
	}
}

// Another process's registration is noticed: at once where Run runs, and in the time that is
// promised where it does not.
func TestRegistryNoticesNewVersions(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	writer := schema.NewRegistry(openBox(t, pool))
	idle, listening := schema.NewRegistry(openBox(t, pool)), openBox(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = listening.Run(ctx) })
	defer running.Wait()
	defer cancel()
	register(t, writer, "order", "1.0", order10)
	for _, r := range []*schema.Registry{idle, schema.NewRegistry(listening)} {
		if used, err := r.Validate(ctx, "order", "", []byte(noted)); err != nil || used != "1.0" {
			t.Fatalf("%q, %v", used, err)
		}
	}
	register(t, writer, "order", "1.1", order11)
	for _, r := range []*schema.Registry{schema.NewRegistry(listening), idle} {
		testkit.Eventually(t, "the newer version is noticed", func() bool {
			_, err := r.Validate(ctx, "order", "", []byte(noted))
			return err != nil
		})
	}
}

func TestRegistryIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r, box := newRegistry(t)
	register(t, r, "order", "1.0", order10)
	other := schema.NewRegistry(openBox(t, box.Pool()))
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			version := []string{"", "1.0"}[i%2]
			if used, err := other.Validate(ctx, "order", version, []byte(goodOrder)); err != nil || used != "1.0" {
				t.Errorf("%q, %v", used, err)
			}
			if i%10 == 0 {
				register(t, other, "order", "1.0", order10)
			}
		})
	}
	all.Wait()
}

// A database that does not answer is no fault of the payload.
func TestRegistryThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	r, box := newRegistry(t)
	register(t, r, "order", "1.0", order10)
	ctx := t.Context()
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		if _, err := box.Pool().Exec(ctx, `ALTER TABLE public.strunk_schemas RENAME TO gone`); err != nil {
			return err
		}
		_, err := checked.Publish(ctx, tx, json.RawMessage(goodOrder))
		if err == nil || isInvalid(err) || !strings.Contains(err.Error(), "asking the registry") {
			t.Errorf("%v; want an error that is no ErrInvalid", err)
		}
		_, err = shipped.Enqueue(ctx, tx, json.RawMessage(goodOrder))
		if err == nil || isInvalid(err) {
			t.Errorf("%v; want an error that is no ErrInvalid", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
