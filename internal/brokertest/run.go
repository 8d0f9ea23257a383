package brokertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/faults/histories"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// behaviours is the list.
var behaviours = []struct {
	name string
	test func(*bed)
}{
	{"an event arrives as CloudEvents in binary mode", func(b *bed) { b.cloudEvents(false) }},
	{"an event arrives as CloudEvents in structured mode", func(b *bed) { b.cloudEvents(true) }},
	{"a destination that is not there is refused, or made", (*bed).missingDestination},
	{"a message that is too large parks its entity", (*bed).tooLarge},
	{"a broker that is away is waited for", (*bed).away},
	{"a stop does not wait for a broker that does not answer", (*bed).stopWhileSilent},
	{"a forwarder is killed before its cursor is written", (*bed).killed},
	{"a replay fills a destination that was purged", (*bed).purged},
	{"a database went back to an earlier state", (*bed).wentBack},
}

// Run checks each behaviour, in tests of their own that run in parallel: against the broker inside the test, and
// against a real one where its address is in the environment.
func Run(t *testing.T, broker Broker) {
	run(t, broker)
	if broker.Variable == "" || os.Getenv(broker.Variable) == "" {
		return
	}
	broker.Address = os.Getenv(broker.Variable)
	t.Run(broker.Variable, func(t *testing.T) {
		t.Parallel()
		run(t, broker)
	})
}

func run(t *testing.T, broker Broker) {
	for _, behaviour := range behaviours {
		t.Run(behaviour.name, func(t *testing.T) {
			t.Parallel()
			behaviour.test(newBed(t, broker))
		})
	}
}

// read returns the messages of the destination, over whatever the broker is just recovering from.
func (b *bed) read() (all []receive.Message) {
	b.t.Helper()
	testkit.EventuallyState(b.t, "the destination is read", func() (string, bool) {
		var err error
		all, err = b.client.Read(b.t.Context(), b.destination)
		return fmt.Sprint(err), err == nil
	})
	return all
}

// seen is what a consumer sees that reads the destination.
func (b *bed) seen() (all []histories.Seen) {
	b.t.Helper()
	for _, m := range b.read() {
		var state Order
		s := histories.Seen{State: histories.State{Entity: m.Attributes["subject"]}}
		if err := json.Unmarshal(m.Data, &state); err != nil {
			b.t.Errorf("%s: %v", m.Data, err)
		}
		if _, err := fmt.Sscan(m.Attributes["version"], &s.Version); err != nil {
			b.t.Errorf("%v: %v", m.Attributes, err)
		}
		s.Mark = state.N
		all = append(all, s)
	}
	return all
}

// holds checks what the destination holds against what was published.
func (b *bed) holds(seen []histories.Seen) {
	b.t.Helper()
	for _, finding := range histories.Check(b.published, seen) {
		b.t.Error(finding)
	}
	if b.broker.DropsRepeats && len(seen) > len(b.published) {
		b.t.Errorf("%d messages for %d events: repeats were not dropped", len(seen), len(b.published))
	}
}

// caughtUp waits until the subscriber of a forwarder is at the head and no event waits for the relay.
func (b *base) caughtUp(name string) {
	b.t.Helper()
	testkit.EventuallyState(b.t, name+" reaches the head", func() (string, bool) {
		var waiting, positions int
		err := b.pool.QueryRow(b.t.Context(), `SELECT (SELECT count(*) FROM public.strunk_outbox WHERE kind = 'event'
			AND status = 'pending'), (SELECT positions FROM public.strunk_subscriber_lag WHERE name = $1)`,
			name).Scan(&waiting, &positions)
		return fmt.Sprint(waiting, positions, err), err == nil && waiting+positions == 0
	})
}

func (b *bed) cloudEvents(structured bool) {
	t := b.t
	b.in(func(ctx context.Context, tx outbox.Tx) error {
		_, err := Stream.Publish(ctx, tx, Order{ID: "a é.1", N: 7}, events.SchemaVersion("2"),
			events.Metadata(map[string]string{"traceparent": "00-1-2-01", "tenant": "ä"}))
		return err
	})
	b.in(func(ctx context.Context, tx outbox.Tx) error { _, err := Stream.Delete(ctx, tx, "a é.1"); return err })
	f := b.client.Forward(b.destination, Config{Create: true, Structured: structured}, forward.Source("/shop"),
		forward.DataSchema("https://x/schemas"))
	b.run(f)
	b.caughtUp(f.Name())
	all := b.read()
	if len(all) != 2 {
		t.Fatalf("%d messages, want 2", len(all))
	}
	for i, want := range []map[string]string{
		{"version": "1", "position": "1", "dataschema": "https://x/schemas/order/2", "traceparent": "00-1-2-01",
			"metadata": `{"tenant":"ä"}`},
		{"version": "2", "position": "2", "deleted": "true"},
	} {
		maps.Copy(want, map[string]string{"specversion": "1.0", "source": "/shop", "type": "order",
			"subject": "a é.1"})
		got := maps.Clone(all[i].Attributes)
		if !strings.HasPrefix(got["id"], "order/a%20%C3%A9.1/"+want["version"]+"/") || got["time"] == "" {
			t.Errorf("id %q, time %q", got["id"], got["time"])
		}
		for _, name := range []string{"id", "time", "datacontenttype"} {
			delete(got, name)
		}
		if !maps.Equal(got, want) || all[i].Key != "a é.1" {
			t.Errorf("message %d has the key %q and %v, want %v", i, all[i].Key, got, want)
		}
	}
	if string(all[0].Data) != `{"id":"a é.1","n":7}` || len(all[1].Data) > 0 {
		t.Errorf("data %s and %q, want the state and none", all[0].Data, all[1].Data)
	}
}

func (b *bed) missingDestination() {
	t := b.t
	err := b.box.Run(t.Context(), b.client.Forward(b.destination, Config{}))
	if !errors.Is(err, forward.ErrUnusable) || !strings.Contains(err.Error(), b.destination) {
		t.Errorf("%v; want ErrUnusable with the name", err)
	}
	b.publish(each(3, 1)...)
	f := b.forwarder()
	stop := b.run(f)
	b.caughtUp(f.Name())
	stop()
	b.publish(each(3, 2)...)
	b.run(b.client.Forward(b.destination, Config{})) // it is there now
	b.caughtUp(f.Name())
	b.holds(b.seen())
}

// The others go on; what waits behind the message comes when the entity is released.
func (b *bed) tooLarge() {
	t := b.t
	b.publish(Order{ID: "a", N: 1})
	others := b.published
	b.publish(Order{ID: "big", N: 1, Text: strings.Repeat("x", 2*MaxBytes)}, Order{ID: "big", N: 2})
	f := b.forwarder()
	b.run(f)
	b.caughtUp(f.Name())
	parked, err := events.Parked(t.Context(), b.box, f.Name(), 10)
	if err != nil || len(parked) != 1 || parked[0].EntityID != "big" || !parked[0].Waiting || parked[0].Events != 2 {
		t.Fatalf("parked: %+v, %v", parked, err)
	}
	if text := parked[0].LastError; !strings.Contains(text, b.destination) || !strings.Contains(text, "raise") {
		t.Errorf("the error does not say what to raise where: %s", text)
	}
	if findings := histories.Check(others, b.seen()); findings != nil {
		t.Error(findings)
	}
	if err := events.Release(t.Context(), b.box, f.Name(), "big"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "what waited behind it arrives", func() bool {
		for _, s := range b.seen() {
			if s.Entity == "big" {
				return s.Version == 2
			}
		}
		return false
	})
}

// The broker is away when the forwarder starts, and again later: until the forwarder says that it fails, and after that
// for as long as STRUNK_BROKER_OUTAGE says (such as 1m). Nothing is lost or parked.
func (b *bed) away() {
	t := b.t
	var longer time.Duration
	if text := os.Getenv("STRUNK_BROKER_OUTAGE"); text != "" {
		var err error
		if longer, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	const entities = 20
	b.network.SetDown(true)
	f := b.forwarder()
	b.run(f)
	for n := range int64(12) {
		switch n {
		case 2:
			b.network.SetDown(false)
			b.caughtUp(f.Name())
		case 5:
			b.network.SetDown(true)
			b.failing(f.Name())
			time.Sleep(longer)
		case 8:
			b.network.SetDown(false)
		}
		b.publish(each(entities, n)...)
	}
	b.caughtUp(f.Name())
	b.holds(b.seen())
	if parked, err := events.Parked(t.Context(), b.box, f.Name(), 10); err != nil || len(parked) != 0 {
		t.Errorf("parked: %+v, %v", parked, err)
	}
}

// failing publishes until the forwarder says that its destination takes nothing.
func (b *bed) failing(name string) {
	b.t.Helper()
	b.publish(each(3, 1000)...)
	testkit.EventuallyState(b.t, "the forwarder says that it fails", func() (string, bool) {
		var said string
		err := b.pool.QueryRow(b.t.Context(), `SELECT last_error FROM public.strunk_forwarders
			WHERE name = $1 AND failing_since IS NOT NULL`, name).Scan(&said)
		return fmt.Sprint(said, err), err == nil && said != ""
	})
}

// Run ends though its grace period is an hour, and the cursor passes over nothing. The visibility timeout is as long: a
// subscriber that is lost, on a busy machine, would end Run, too.
func (b *bed) stopWhileSilent() {
	t := b.t
	f := b.client.Forward(b.destination, Config{Create: true}, forward.VisibilityTimeout(hour))
	stop := b.run(f)
	b.publish(each(3, 1)...)
	b.caughtUp(f.Name())
	b.network.SetSilent(true)
	b.failing(f.Name())
	stop() // and that Run ends in time
	var cursor, deliveries int
	if err := b.pool.QueryRow(t.Context(), `SELECT cursor, deliveries FROM public.strunk_subscriber_lag
		WHERE name = $1`, f.Name()).Scan(&cursor, &deliveries); err != nil || cursor != 3 || deliveries != 0 {
		t.Errorf("cursor %d, %d deliveries, %v; want 3 and none", cursor, deliveries, err)
	}
	b.network.SetSilent(false)
	b.run(b.forwarder())
	b.caughtUp(f.Name())
	b.holds(b.seen())
}

// A process sends, is told that all has arrived, and is killed when it writes its cursor; so is the next one.
func (b *bed) killed() {
	const kills = 2
	dsn := outboxtest.DSN(b.pool)
	proxy := faults.NewProxy(b.t, dsn)
	through, err := proxy.DSN(dsn)
	if err != nil {
		b.t.Fatal(err)
	}
	for n := range int64(kills) {
		b.publish(each(20, n)...)
		cursor := proxy.Set("strunk_move_cursor", faults.Drop)
		child := faults.Spawn(b.t, childRole, "CHILD_DSN="+through, "CHILD_BROKER="+b.broker.Address,
			"CHILD_DESTINATION="+b.destination)
		testkit.Eventually(b.t, "a cursor is to be written", func() bool {
			select {
			case <-cursor.Sprung():
				return true
			default:
				return false
			}
		})
		child.Kill()
		if arrived := len(b.read()); arrived == 0 {
			b.t.Error("the cursor was to be written before any message had arrived")
		}
	}
	f := b.forwarder()
	b.run(f)
	b.caughtUp(f.Name())
	b.holds(b.seen())
}

func (b *bed) purged() {
	t := b.t
	f := b.forwarder()
	b.run(f)
	b.publish(each(10, 1)...)
	b.publish(each(10, 2)...)
	b.caughtUp(f.Name())
	if err := b.client.Purge(t.Context(), b.destination); err != nil {
		t.Fatal(err)
	}
	if left := b.read(); len(left) != 0 {
		t.Fatalf("%d messages are left", len(left))
	}
	if err := events.Replay(t.Context(), b.box, f.Name(), 0); err != nil {
		t.Fatal(err)
	}
	b.caughtUp(f.Name())
	testkit.EventuallyState(t, "all is there again", func() (string, bool) {
		findings := histories.Check(b.published, b.seen())
		return strings.Join(findings, "\n"), findings == nil
	})
}

// Versions are given again, to other events: each arrives, in both histories of the database.
func (b *bed) wentBack() {
	t := b.t
	sent := func(d *base, n ...int64) {
		f := b.forwarder()
		stop := d.run(f)
		for _, mark := range n {
			d.publish(each(4, mark)...)
		}
		d.caughtUp(f.Name())
		stop()
	}
	sent(b.base, 1, 2)
	earlier := newBase(t, copied(t, b.pool))
	earlier.published = append(earlier.published, b.published...)
	sent(b.base, 3, 4)
	sent(earlier, 30, 40, 50)
	all := b.seen()
	for _, d := range []*base{b.base, earlier} {
		for _, finding := range histories.Check(d.published, histories.Of(d.published, all)) {
			t.Error(finding)
		}
	}
	if want := len(b.published) + 3*4; b.broker.DropsRepeats && len(all) != want {
		t.Errorf("%d messages, want %d", len(all), want)
	}
}

// copied is a copy of a database as it is now.
func copied(t *testing.T, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	pool.Reset()
	cfg := pool.Config().Copy()
	name := cfg.ConnConfig.Database
	admin := cfg.ConnConfig.Copy()
	admin.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	identifier := pgx.Identifier{name + "_copy"}.Sanitize()
	testkit.EventuallyState(t, "nobody is connected to the original", func() (string, bool) {
		_, err = conn.Exec(t.Context(), "CREATE DATABASE "+identifier+" TEMPLATE "+pgx.Identifier{name}.Sanitize())
		return fmt.Sprint(err), err == nil
	})
	cfg.ConnConfig.Database = name + "_copy"
	other, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		other.Close()
		_, _ = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+identifier+" WITH (FORCE)")
	})
	return other
}
