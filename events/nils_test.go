package events_test

import (
	"context"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
)

// Nil and zero values are errors, not panics.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"zero OwnedTx", func() error {
			_, err := orders.Publish(t.Context(), new(outbox.OwnedTx),
				order{ID: "a"})
			return err
		}},
		{"nil Tx", func() error { _, err := orders.Publish(t.Context(), nil, order{ID: "a"}); return err }},
		{"nil Box", func() error { _, err := orders.Snapshot(t.Context(), nil, "a"); return err }},
		{"nil Box for Snapshots", func() (err error) {
			for _, err = range orders.Snapshots(t.Context(), nil) {
			}
			return err
		}},
		{"nil Box for Parked", func() error { _, err := events.Parked(t.Context(), nil, "a", 1); return err }},
		{"zero Stream", func() error {
			return b.box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
				_, err := new(events.Stream[order]).Publish(t.Context(), tx, order{})
				return err
			})
		}},
		{"zero Subscriber", func() error { return b.box.Run(t.Context(), new(events.Subscriber[order])) }},
		{"nil Subscriber", func() error { return b.box.Run(t.Context(), (*events.Subscriber[order])(nil)) }},
		{"nil handler", func() error { return b.box.Run(t.Context(), orders.Subscriber("nil", nil, nil)) }},
		{"nil retry policy", func() error {
			return b.box.Run(t.Context(), orders.Subscriber("nil",
				func(context.Context, events.Event[order]) error { return nil }, events.Retry(nil)))
		}},
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: panics: %v", c.name, p)
				}
			}()
			if err := c.call(); err == nil {
				t.Errorf("%s: no error", c.name)
			}
		}()
	}
}
