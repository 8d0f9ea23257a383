package events_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// strange are names and ids that are special somewhere: in SQL, in LIKE, in NOTIFY, in JSON.
var strange = []string{`100%`, `a_b`, `a:b`, `it's "quoted"`, ` two  spaces `, `naïve – Ωμέγα 🐘`, `{a,b}`, `\`,
	`NULL`, `$1`, "tab\tnew\nline"}

func TestStrangeTypesAndIDs(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	var bindings []outbox.Binding
	records := make([]record, len(strange))
	for i, name := range strange {
		s := events.Define(name, orderID, events.Config{})
		bindings = append(bindings, s.Subscriber(name, records[i].handle, events.Concurrency(2)))
		b.in(func(tx *outbox.OwnedTx) error {
			for _, id := range strange {
				if _, err := s.Publish(ctx, tx, order{ID: id, N: i}); err != nil {
					return err
				}
			}
			_, err := s.PublishBatch(ctx, tx, []order{{ID: strange[0], N: -1}, {ID: strange[1], N: -1}})
			return err
		})
		snap, err := s.Snapshot(ctx, b.box, strange[3])
		if err != nil || snap.State != (order{ID: strange[3], N: i}) {
			t.Errorf("%q: snapshot: %+v, %v", name, snap, err)
		}
	}
	b.run(bindings...)
	for i := range strange {
		all := records[i].await(t, len(strange)+2)
		for _, e := range all {
			if e.EntityType != strange[i] || e.State.ID != e.EntityID {
				t.Errorf("%q: arrived: %+v", strange[i], e)
			}
		}
		records[i].inOrder(t)
	}
}

func TestPublishAnswers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	versioned := events.Define("order", orderID, events.Config{SchemaVersion: "1.0"})
	invoices := events.Define("invoice", orderID, events.Config{})
	b.in(func(tx *outbox.OwnedTx) error {
		done, err := versioned.PublishBatch(ctx, tx, []order{{ID: "b", N: 1}, {ID: "a", N: 2}, {ID: "b", N: 3},
			{ID: "b", N: 4}},
			events.Metadata(map[string]string{"by": "test"}))
		if err != nil {
			return err
		}
		want := []string{"b 1", "a 1", "b 2", "b 3"}
		for i, p := range done {
			if fmt.Sprint(p.EntityID, " ", p.Version) != want[i] || p.ID == 0 {
				t.Errorf("answer %d: %+v; want %s", i, p, want[i])
			}
		}
		all, err := events.PublishAll(ctx, tx,
			versioned.Item(order{ID: "b", N: 5}, events.SchemaVersion("2.0"),
				events.Diff(json.RawMessage(`{"n":[4,5]}`))),
			invoices.Item(order{ID: "b"}), versioned.Tombstone("a"))
		if err != nil {
			return err
		}
		for i, want := range []int64{4, 1, 2} {
			if all[i].Version != want {
				t.Errorf("answer %d of all: %+v; want version %d", i, all[i], want)
			}
		}
		none, err := versioned.PublishBatch(ctx, tx, nil)
		if len(none) != 0 || err != nil {
			t.Errorf("an empty batch: %v, %v", none, err)
		}
		return nil
	})
	var got record
	b.run(versioned.Subscriber("answers", got.handle, events.Concurrency(1)))
	all := got.await(t, 6)
	if e := all[0]; e.SchemaVersion != "1.0" || e.Metadata["by"] != "test" || e.State.N != 1 || e.Deleted {
		t.Errorf("first: %+v", e)
	}
	if e := all[4]; e.SchemaVersion != "2.0" || string(e.Diff) != `{"n":[4,5]}` || e.Version != 4 || e.Metadata != nil {
		t.Errorf("with options: %+v", e)
	}
	if e := all[5]; !e.Deleted || e.EntityID != "a" || e.Version != 2 || e.State != (order{}) {
		t.Errorf("the tombstone: %+v", e)
	}
	_, err := versioned.Snapshot(ctx, b.box, "a")
	wantError(t, err, events.ErrNotFound, `"a"`)
	_, err = versioned.Snapshot(ctx, b.box, "never")
	wantError(t, err, events.ErrNotFound)
	snap, err := versioned.Snapshot(ctx, b.box, "b")
	if err != nil || snap.Version != 4 || snap.State.N != 5 || snap.SchemaVersion != "2.0" || snap.UpdatedAt.IsZero() {
		t.Errorf("snapshot: %+v, %v", snap, err)
	}
	b.in(func(tx *outbox.OwnedTx) error {
		back, err := versioned.Publish(ctx, tx, order{ID: "a", N: 9})
		if back.Version != 3 {
			t.Errorf("an entity that comes back has version %d; want 3", back.Version)
		}
		return err
	})
}

// What cannot be stored is refused before the transaction is touched, which goes on.
func TestRefusedStates(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	type state struct {
		ID, Text string
		Any      any `json:",omitempty"`
	}
	s := events.Define("state", func(s state) string { return s.ID }, events.Config{MaxState: 1000, Validator: noX{}})
	for _, tt := range []struct {
		name, reason string
		state        state
		opts         []events.PublishOption
		want         string
	}{
		{"no id", "an entity needs one", state{}, nil, "id must not be empty"},
		{"long id", "it stands in an index", state{ID: strings.Repeat("x", 501)}, nil, "more than 500"},
		{"NUL in id", "PostgreSQL cannot store it", state{ID: "a\x00"}, nil, "NUL"},
		{"NUL in state", "PostgreSQL cannot store it", state{ID: "a", Text: "\x00"}, nil, "NUL"},
		{"invalid UTF-8", "encoding/json would change it silently", state{ID: "a", Text: "\xff"}, nil, "UTF-8"},
		{"too large", "over MaxState", state{ID: "a", Text: strings.Repeat("x", 1000)}, nil, "more than 1000"},
		{"not JSON", "a channel has no JSON", state{ID: "a", Any: make(chan int)}, nil, "JSON"},
		{"bad diff", "a diff is a document", state{ID: "a"}, []events.PublishOption{events.Diff([]byte("{"))}, "Diff"},
		{"validator", "the validator refuses it", state{ID: "a", Text: "X"}, nil, "no X please"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.in(func(tx *outbox.OwnedTx) error {
				_, err := s.Publish(ctx, tx, tt.state, tt.opts...)
				wantError(t, err, events.ErrInvalid, tt.want, "strunk/events: publish")
				_, err = s.PublishBatch(ctx, tx, []state{{ID: "fine"}, tt.state}, tt.opts...)
				wantError(t, err, events.ErrInvalid, tt.want)
				_, err = s.Publish(ctx, tx, state{ID: "fine"}) // the transaction goes on
				return err
			})
		})
	}
	if n := value[int](b, `SELECT count(*) FROM public.strunk_snapshots`); n != 1 {
		t.Errorf("%d entities were published; want the one that is fine", n)
	}
	if v := value[string](b, `SELECT schema_version FROM public.strunk_snapshots`); v != "7.0" {
		t.Errorf("the schema version is %q; want the validator's", v)
	}
	var zero events.Stream[order]
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := zero.Publish(ctx, tx, order{ID: "a"})
		if err == nil || !strings.Contains(err.Error(), "events.Define") {
			t.Errorf("the zero stream: %v", err)
		}
		return nil
	})
	_, err := s.Publish(ctx, nil, state{ID: "a"})
	wantError(t, err, outbox.ErrInvalidTx)
	err = b.box.Run(ctx, zero.Subscriber("", nil), events.Define("", orderID, events.Config{}).Subscriber("x", nil),
		orders.Subscriber("", nil, events.Concurrency(0), events.VisibilityTimeout(1)))
	for _, text := range []string{"events.Define", "entity type must not be empty", "the name must not be empty",
		"handler is nil", "Concurrency: 0", "VisibilityTimeout: 1ns"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("Run: %v; want it to say %q", err, text)
		}
	}
}

// noX is a validator.
type noX struct{}

func (noX) Validate(_ context.Context, _, _ string, state json.RawMessage) (string, error) {
	if strings.Contains(string(state), "X") {
		return "", errors.New("no X please")
	}
	return "7.0", nil
}

// A publisher under the stricter isolation levels that loses to another gets PostgreSQL's own error, to try again by.
func TestConflictUnderStricterIsolation(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			tx := b.begin(pgx.TxOptions{IsoLevel: level})
			_, err := tx.Exec(ctx, `SELECT 1 FROM public.strunk_snapshots`)
			noError(t, err)
			b.publish(order{ID: "a"})
			_, err = orders.Publish(ctx, b.box.Tx(tx), order{ID: "a"})
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "40001" {
				t.Errorf("the loser's error is %v; want PostgreSQL's 40001", err)
			}
			noError(t, tx.Rollback(ctx))
			tx = b.begin(pgx.TxOptions{IsoLevel: level})
			b.publishIn(tx, order{ID: "a"})
			noError(t, tx.Commit(ctx))
			if v := value[int64](b, `SELECT version FROM public.strunk_snapshots`); v != 2 {
				t.Errorf("version %d; want 2", v)
			}
		})
	}
}

// SQL and Go are equal in effect, and so are the transactions of pgx and of database/sql.
func TestPublishFromSQLAndDatabaseSQL(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBed(t)
	var got record
	b.run(orders.Subscriber("all", got.handle, events.Concurrency(1)))
	opts := []events.PublishOption{events.SchemaVersion("1.0"), events.Metadata(map[string]string{"k": "v"}),
		events.Diff(json.RawMessage(`{"d":1}`))}
	b.in(func(tx *outbox.OwnedTx) error {
		_, err := orders.Publish(ctx, tx, order{ID: "go", N: 1}, opts...)
		return err
	})
	b.exec(`SELECT public.strunk_publish('order', 'sql', '{"id":"sql","n":1}', schema_version => '1.0', metadata
		=> '{"k":"v"}', diff => '{"d":1}')`)
	for _, driver := range []string{"pgx", "postgres"} {
		db, err := sql.Open(driver, outboxtest.DSN(b.pool))
		noError(t, err)
		tx, err := db.BeginTx(ctx, nil)
		noError(t, err)
		_, err = orders.PublishBatch(ctx, b.box.SQLTx(tx), []order{{ID: driver, N: 1}, {ID: driver, N: 2}}, opts...)
		noError(t, err)
		_, err = orders.Delete(ctx, b.box.SQLTx(tx), driver)
		noError(t, err)
		noError(t, tx.Commit())
		noError(t, db.Close())
	}
	b.exec(`SELECT public.strunk_publish('order', 'sql', deleted => true)`)
	all := got.await(t, 9)
	for i, e := range all[:2] {
		if e.State.N != 1 || e.Version != 1 || e.SchemaVersion != "1.0" || e.Metadata["k"] != "v" ||
			string(e.Diff) != `{"d":1}` {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if e := all[8]; e.EntityID != "sql" || !e.Deleted || e.Version != 2 {
		t.Errorf("the tombstone from SQL: %+v", e)
	}
	got.inOrder(t)
	for _, bad := range []string{
		`SELECT public.strunk_publish('', 'a',
			'{}')`, `SELECT public.strunk_publish('order', '', '{}')`, `SELECT public.strunk_publish('order', 'a')`,
		`SELECT public.strunk_publish('order', 'a', '{}', deleted =>
			true)`, `SELECT public.strunk_publish('order', repeat('x', 501), '{}')`,
	} {
		_, err := b.pool.Exec(ctx, bad)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "22023" {
			t.Errorf("%s: %v; want it refused", bad, err)
		}
	}
}
