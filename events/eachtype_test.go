package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

var (
	customers = events.Define("customer", orderID, events.Config{})
	parcels   = events.Define("parcel", orderID, events.Config{})
)

// All types are handled, one that comes while it runs included; equal ids of different types are
// different entities.
func TestEachType(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	var mu sync.Mutex
	got := map[string]string{}
	handle := func(_ context.Context, e events.Event[json.RawMessage]) error {
		mu.Lock()
		defer mu.Unlock()
		got[e.EntityType+" "+e.EntityID] += fmt.Sprint(e.Version)
		return nil
	}
	publish := func(s *events.Stream[order], id string) {
		b.in(func(tx *outbox.OwnedTx) error {
			_, err := s.Publish(t.Context(), tx, order{ID: id})
			return err
		})
	}
	is := func(key, versions string) func() (string, bool) {
		return func() (string, bool) {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprint(got), got[key] == versions
		}
	}
	publish(orders, "1")
	publish(customers, "1")
	publish(orders, "1")
	b.run(events.EachType("audit", func(s *events.Stream[json.RawMessage]) outbox.Binding {
		if s.EntityType() == "customer" {
			return nil
		}
		return s.Subscriber("audit:"+s.EntityType(), handle, events.PollInterval(testPoll))
	}))
	eventually(t, "the orders", is("order 1", "12"))
	publish(parcels, "1")
	eventually(t, "the parcel, whose type is new", is("parcel 1", "1"))
	publish(parcels, "1")
	eventually(t, "the parcel again", is("parcel 1", "12"))
	if state, ok := is("customer 1", "")(); !ok {
		t.Errorf("a type that was left out was handled: %s", state)
	}
}

func TestEachTypeReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	err := b.box.Run(t.Context(), events.EachType("", nil))
	for _, want := range []string{"the name", "the function is nil"} {
		if !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	b.publish(order{ID: "1"})
	err = b.box.Run(t.Context(), events.EachType("audit", func(s *events.Stream[json.RawMessage]) outbox.Binding {
		return s.Subscriber("", nil)
	}))
	if !errors.Is(err, events.ErrInvalid) || !strings.Contains(err.Error(), "audit") {
		t.Errorf("an invalid binding: %v", err)
	}
}
