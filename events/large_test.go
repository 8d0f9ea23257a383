package events_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// document is a state of a size that no compression makes small.
type document struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

var documents = events.Define("document", func(d document) string { return d.ID }, events.Config{})

// publishLarge publishes n documents of about so many bytes.
func (b *bed) publishLarge(n, bytes int) {
	b.t.Helper()
	raw := make([]byte, bytes/2)
	_, _ = rand.Read(raw)
	text := hex.EncodeToString(raw)
	const batch = 50
	for i := 0; i < n; i += batch {
		var states []document
		for j := i; j < min(i+batch, n); j++ {
			states = append(states, document{ID: fmt.Sprint("d", j), Text: text})
		}
		b.in(func(tx *outbox.OwnedTx) error {
			_, err := documents.PublishBatch(context.Background(), tx, states)
			return err
		})
	}
}

// A backlog of large events, more than one move of the relay may take, reaches the feed and its subscriber.
func TestRelaySurvivesLargeEvents(t *testing.T) {
	t.Parallel()
	const n = 2000
	b := newBed(t)
	b.publishLarge(n, 250_000)
	var got atomic.Int64
	b.run(documents.Subscriber("large", func(context.Context, events.Event[document]) error { got.Add(1); return nil }))
	for part := int64(1); part <= 10; part++ {
		eventually(t, fmt.Sprintf("%d tenths of the events arrive", part),
			func() (string, bool) { return fmt.Sprint(got.Load()), got.Load() >= part*n/10 })
	}
	largest := value[int64](b, `SELECT max(head - before) FROM (SELECT head, lag(head, 1, 0) OVER (ORDER BY
		slot) AS before FROM public.strunk_feed) f`)
	if largest == n {
		t.Error("the relay moved all of it at once")
	}
}

// Over a link that carries far less within a statement's time than a full read of large events, a
// subscriber reads on: reads are bounded by bytes, and halved when they run out of time.
func TestSubscriberReadsLargeEventsOverSlowLink(t *testing.T) {
	t.Parallel()
	const n, bytes, rate = 30, 500_000, 500_000 // the first read, of 20 events, takes 20 s
	near := newBed(t)
	near.publishLarge(n, bytes)
	stop := near.run() // the relay
	eventually(t, "the relay has moved all", func() (string, bool) { return fmt.Sprint(near.head()), near.head() == n })
	stop()
	proxy := faults.NewProxy(t, outboxtest.DSN(near.pool))
	dsn, err := proxy.DSN(outboxtest.DSN(near.pool))
	noError(t, err)
	far := bedWith(t, dial(t, dsn), outbox.Config{}, false)
	proxy.SetRate(rate)
	var got atomic.Int64
	far.run(documents.Subscriber("slow", func(context.Context,
		events.Event[document]) error {
		got.Add(1)
		return nil
	}))
	eventually(t, "a read runs out of time, and is halved", func() (string, bool) {
		return far.logs.String(), strings.Contains(far.logs.String(), "a read took too long")
	})
	eventually(t, "the first events come", func() (string, bool) { return fmt.Sprint(got.Load()), got.Load() > 0 })
	eventually(t, "half of the events come", func() (string, bool) { return fmt.Sprint(got.Load()), got.Load() >= n/2 })
	eventually(t, "all events come", func() (string, bool) { return fmt.Sprint(got.Load()), got.Load() >= n })
}
