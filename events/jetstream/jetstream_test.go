package jetstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	strunkjs "github.com/strunk-go/strunk/events/jetstream"
	"github.com/strunk-go/strunk/events/jetstream/natstest"
	"github.com/strunk-go/strunk/outbox"
)

func TestForward(t *testing.T) {
	t.Parallel()
	b, js := newBed(t), natstest.Connect(t, natstest.Start(t).URL())
	ctx := context.Background()
	err := b.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := orders.Publish(ctx, tx, order{ID: "a é.1", N: 1}, events.SchemaVersion("2"),
			events.Metadata(map[string]string{"traceparent": "00-1-2-01", "tenant": "ä"}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.publish(order{ID: "b", N: 1}, order{ID: "b", N: 2})
	b.delete("b")
	b.run(strunkjs.Forward(orders, js, strunkjs.Config{Stream: "ORDERS", Create: create}, forward.Source("/shop"),
		forward.DataSchema("https://x/schemas")))
	b.caughtUp(forwarderName)

	all := messages(t, js, "ORDERS")
	if got := history(all); got["b"] != "1 2 3" || len(all) != 4 {
		t.Fatalf("%d messages: %v", len(all), got)
	}
	first, tombstone := all[0], all[0]
	for _, m := range all { // entities arrive in any order
		switch {
		case m.Header.Get("ce-version") == "3":
			tombstone = m
		case m.Subject != "events.order.b":
			first = m
		}
	}
	want := map[string]string{"ce-specversion": "1.0", "ce-source": "/shop", "ce-type": "order",
		"ce-subject": "a%20%C3%A9.1", "ce-version": "1",
		"ce-position": "1", "ce-dataschema": "https://x/schemas/order/2", "ce-traceparent": "00-1-2-01",
		"ce-metadata":  `{%22tenant%22:%22%C3%A4%22}`,
		"content-type": "application/json", "ce-deleted": ""}
	for name, value := range want {
		if got := first.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if first.Subject != "events.order.a%20%C3%A9%2E1" || first.Subject != strunkjs.Subject("events", "order", "a é.1") {
		t.Errorf("subject %s", first.Subject)
	}
	if _, err := time.Parse(time.RFC3339Nano, first.Header.Get("ce-time")); err != nil {
		t.Error(err)
	}
	var state order
	if err := json.Unmarshal(first.Data, &state); err != nil || state.N != 1 {
		t.Errorf("%s: %v", first.Data, err)
	}
	if tombstone.Header.Get("ce-deleted") != "true" || len(tombstone.Data) != 0 {
		t.Errorf("the tombstone: %v %q", tombstone.Header, tombstone.Data)
	}
}

// A message that the broker never takes parks its entity; the others go on, and a retry sends it
// when the limit was raised.
func TestTooLargeParksItsEntity(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*server.Options, *jetstream.StreamConfig){
		"the server's": func(o *server.Options, _ *jetstream.StreamConfig) { o.MaxPayload = 20_000 },
		"the stream's": func(_ *server.Options, c *jetstream.StreamConfig) { c.MaxMsgSize = 20_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := jetstream.StreamConfig{Storage: jetstream.MemoryStorage}
			s := natstest.Start(t, func(o *server.Options) { limit(o, &cfg) })
			b, js := newBed(t), natstest.Connect(t, s.URL())
			b.publish(order{ID: "big", N: 1, Text: strings.Repeat("x", 30_000)}, order{ID: "a", N: 1},
				order{ID: "big", N: 2}, order{ID: "b", N: 1})
			b.run(strunkjs.Forward(orders, js, strunkjs.Config{Stream: "ORDERS", Create: &cfg}))
			b.caughtUp(forwarderName)
			if got := history(messages(t, js, "ORDERS")); len(got) != 2 || got["a"] != "1" || got["b"] != "1" {
				t.Errorf("arrived: %v", got)
			}
			parked, err := events.Parked(t.Context(), b.box, forwarderName, 10)
			if err != nil || len(parked) != 1 || parked[0].EntityID != "big" || !parked[0].Waiting ||
				parked[0].Events != 2 {
				t.Fatalf("%+v, %v", parked, err)
			}
			if text := parked[0].LastError; !strings.Contains(text, "takes 20000") || !strings.Contains(text, "raise") {
				t.Errorf("the error: %s", text)
			}
			if err := events.Release(t.Context(), b.box, forwarderName, "big"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "what waited behind it arrives", func() bool {
				return history(messages(t, js,
					"ORDERS"))["big"] == "2"
			})
		})
	}
}

func TestUnusableStreams(t *testing.T) {
	t.Parallel()
	b, js := newBed(t), natstest.Connect(t, natstest.Start(t).URL())
	add := func(cfg jetstream.StreamConfig) {
		cfg.Storage = jetstream.MemoryStorage
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	add(jetstream.StreamConfig{Name: "QUEUE", Subjects: []string{"q.order.>"}, Retention: jetstream.WorkQueuePolicy})
	add(jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"x.order.*", "events.orders.>"}})
	add(jetstream.StreamConfig{Name: "COUNTS", Subjects: []string{"c.*.>"}, AllowMsgCounter: true})
	add(jetstream.StreamConfig{Name: "ONCE", Subjects: []string{"o.*.>"}, MaxMsgsPerSubject: 1,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true})
	add(jetstream.StreamConfig{Name: "SMALL", Subjects: []string{"s.*.>"}, MaxMsgSize: 100, NoAck: true})
	for stream, want := range map[string]struct {
		prefix string
		texts  []string
	}{
		"NONE":   {"n", []string{`there is no stream "NONE"`, "n.order.>", "Config.Create"}},
		"QUEUE":  {"q", []string{"retention is WorkQueue", "use limits"}},
		"OTHER":  {"events", []string{"do not hold events.order.>"}},
		"COUNTS": {"c", []string{"allow_msg_counter"}},
		"ONCE":   {"o", []string{"has 1 messages", "discard_new_per_subject"}},
		"SMALL":  {"s", []string{"max_msg_size is 100 bytes", "no_ack"}},
		"":       {"", []string{"Config.Stream is empty"}},
	} {
		err := b.box.Run(t.Context(), strunkjs.Forward(orders, js,
			strunkjs.Config{Stream: stream, SubjectPrefix: want.prefix, Name: "x" + stream}))
		if !errors.Is(err, forward.ErrUnusable) {
			t.Errorf("%s: %v", stream, err)
			continue
		}
		for _, text := range want.texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", stream, err, text)
			}
		}
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	err := b.box.Run(t.Context(), forward.To(orders, "x", nil, forward.InFlight(0), forward.Source(""),
		forward.Backoff(2, 1)))
	for _, text := range []string{"InFlight", "Source", "Backoff", "the sink is nil"} {
		if !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %s", err, text)
		}
	}
}
