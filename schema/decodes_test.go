package schema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/encrypt"
	"github.com/strunk-go/strunk/schema"
)

// mail is what the new program takes: an old program wrote the recipient as a number.
type mail struct{ To string }

const (
	goodMail = `{"To": "ada"}`
	badMail  = `{"To": 7}`
)

// putMails enqueues payloads as an old program did, which knew another type.
func putMails(t *testing.T, box *outbox.Box, name string, payloads []string, opts ...queue.EnqueueOption) []int64 {
	t.Helper()
	docs := make([]json.RawMessage, len(payloads))
	for i, p := range payloads {
		docs[i] = json.RawMessage(p)
	}
	ids := make([]int64, len(docs))
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		done, err := queue.Define[json.RawMessage](name, queue.Config{}).EnqueueBatch(t.Context(), tx, docs, opts...)
		for i, d := range done {
			ids[i] = d.ID
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func check(t *testing.T, box *outbox.Box, limit int, of ...outbox.Payloads) outbox.PayloadReport {
	t.Helper()
	report, err := outbox.CheckPayloads(t.Context(), box, limit, of...)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func execSQL(t *testing.T, box *outbox.Box, sql string, args ...any) {
	t.Helper()
	if _, err := box.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Every place of a task is looked at, under every name of its queue, and each poison is named.
func TestCheckPayloadsOfTasks(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	mails := queue.Define[mail]("mail", queue.Config{Aliases: []string{"old-mail"}})
	pending := putMails(t, box, "mail", []string{goodMail, badMail})[1]
	scheduled := putMails(t, box, "mail", []string{goodMail, badMail}, queue.Delay(time.Hour))[1]
	renamed := putMails(t, box, "old-mail", []string{badMail})[0]
	dead := putMails(t, box, "mail", []string{badMail})[0]
	backlog := putMails(t, box, "mail", []string{badMail}, queue.CustomerKey("c"))[0]
	metadata := putMails(t, box, "mail", []string{goodMail})[0]
	putMails(t, box, "another", []string{badMail})
	execSQL(t, box, `UPDATE public.strunk_outbox SET status = 'dead', finished_at = now() WHERE id = $1`, dead)
	execSQL(t, box, `UPDATE public.strunk_outbox SET metadata = '{"a": 1}' WHERE id = $1`, metadata)
	before := fingerprint(t, box)

	report := check(t, box, 0, mails)
	found := map[int64]string{}
	for _, p := range report.Poison {
		found[p.ID] = p.Name + " " + p.Status
		if !errors.Is(p.Err, queue.ErrPoison) || p.Kind != "task" {
			t.Errorf("%+v is no poison of a task", p)
		}
	}
	want := map[int64]string{pending: "mail pending", scheduled: "mail scheduled", renamed: "old-mail pending",
		dead: "mail dead", backlog: "mail pending", metadata: "mail pending"}
	if fmt.Sprint(found) != fmt.Sprint(want) || report.Checked != 8 || report.Poisoned != 6 || !report.Complete {
		t.Errorf("found %v, %+v; want %v of 8", found, report, want)
	}
	letter := fmt.Sprintf("task %d of \"mail\" (dead)", dead)
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), letter) {
		t.Errorf("the error names no dead letter: %v", err)
	}
	if after := fingerprint(t, box); after != before {
		t.Errorf("the check has changed rows:\n%s\n%s", before, after)
	}
}

// relayAll runs the box until no event waits for the relay.
func relayAll(t *testing.T, box *outbox.Box) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	for waiting := 1; waiting > 0 && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if err := box.Pool().QueryRow(t.Context(), `SELECT count(*) FROM public.strunk_outbox_events`).
			Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// fingerprint changes with every version of a row.
func fingerprint(t *testing.T, box *outbox.Box) (sum string) {
	t.Helper()
	err := box.Pool().QueryRow(t.Context(), `SELECT string_agg(tableoid || ' ' || ctid || ' ' || xmin || ' ' || xmax,
		',' ORDER BY id) FROM public.strunk_outbox`).Scan(&sum)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// The walk goes on from page to page, stops at its limit and says so, and lists a bounded number.
func TestCheckPayloadsIsBounded(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	mails := queue.Define[mail]("mail", queue.Config{})
	payloads := make([]string, 1201) // three pages
	for i := range payloads {
		payloads[i] = badMail
	}
	ids := putMails(t, box, "mail", payloads)
	for _, c := range []struct {
		limit    int
		checked  int
		complete bool
	}{{0, 1201, true}, {1201, 1201, true}, {1200, 1200, false}, {500, 500, false}, {1, 1, false}} {
		report := check(t, box, c.limit, mails)
		listed := min(c.checked, outbox.MaxPoisonListed)
		if report.Checked != c.checked || report.Poisoned != c.checked || report.Complete != c.complete ||
			len(report.Poison) != listed || report.Poison[0].ID != ids[0] {
			t.Errorf("limit %d: checked %d, poisoned %d, complete %v, listed %d from %d on", c.limit, report.Checked,
				report.Poisoned, report.Complete, len(report.Poison), report.Poison[0].ID)
		}
	}
	if text := check(t, box, 0, mails).Err().Error(); !strings.Contains(text, "and 1101 more") || len(text) > 30_000 {
		t.Errorf("the error has %d bytes and doesn't say that there are more", len(text))
	}
}

// Middleware undoes what it did to a payload; a key that the new program lacks is found out.
func TestCheckPayloadsThroughMiddleware(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	old, err := encrypt.NewRing(encrypt.NewKey("2025"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := encrypt.NewRing(encrypt.NewKey("2026"))
	if err != nil {
		t.Fatal(err)
	}
	define := func(r *encrypt.Ring) *queue.Queue[mail] {
		return queue.Define[mail]("mail", queue.Config{Middleware: []queue.Middleware{r.Middleware()}})
	}
	err = box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := define(old).Enqueue(t.Context(), tx, mail{"ada"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	outboxtest.RequireDecodes(t, box, define(old))
	report := check(t, box, 0, define(other))
	if report.Poisoned != 1 || !errors.Is(report.Poison[0].Err, encrypt.ErrUnknownKey) {
		t.Errorf("a lost key: %+v", report)
	}
}

// Events that wait for the relay, events of the feed, and deliveries are looked at, the newest events first; an upcast
// takes part; tombstones have nothing to decode.
func TestCheckPayloadsOfEvents(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	raw := events.Define("customer", func(json.RawMessage) string { return "1" }, events.Config{})
	upcast := raw.Decoding(func(e events.Event[json.RawMessage]) error {
		if e.Deleted {
			return nil
		}
		_, err := customers.Decode(e.SchemaVersion, e.State)
		return err
	})
	publish := func(items ...events.Item) {
		t.Helper()
		err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
			_, err := events.PublishAll(t.Context(), tx, items...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(raw.Item(json.RawMessage(`{"Name": "Ada Lovelace"}`), events.SchemaVersion("1.0")),
		raw.Item(json.RawMessage(`{"First": 1}`), events.SchemaVersion("2.0")), raw.Tombstone("1"))
	waiting := check(t, box, 0, upcast)
	relayAll(t, box)
	inFeed := check(t, box, 0, upcast)
	for name, report := range map[string]outbox.PayloadReport{"waiting": waiting, "in the feed": inFeed} {
		if report.Checked != 3 || report.Poisoned != 1 || !errors.Is(report.Poison[0].Err, events.ErrPoison) ||
			!errors.Is(report.Poison[0].Err, schema.ErrUndecodable) || report.Poison[0].SchemaVersion != "2.0" {
			t.Errorf("%s: %+v", name, report)
		}
	}
	execSQL(t, box, `INSERT INTO public.strunk_outbox (id, seq, version, created_at, status, kind, key, entity_id,
			subscriber, schema_version, payload)
		SELECT nextval('public.strunk_outbox_id_seq'), 0, 2, now(), s, 'delivery', 'customer', '1', 'index', '2.0', '[]'
		FROM unnest('{pending,dead}'::text[]) s`)
	if kept := check(t, box, 0, upcast); kept.Checked != 5 || kept.Poisoned != 3 ||
		kept.Poison[0].Kind != "delivery" || kept.Poison[1].Status != "dead" {
		t.Errorf("with deliveries: %+v", kept)
	}
	execSQL(t, box, `DELETE FROM public.strunk_outbox WHERE kind = 'delivery'`)
	if newest := check(t, box, 1, upcast); newest.Checked != 1 || newest.Poisoned != 0 || newest.Complete {
		t.Errorf("the newest event alone is the tombstone: %+v", newest)
	}
	typed := events.Define("customer", func(c CustomerV1) string { return c.Name }, events.Config{})
	if report := check(t, box, 0, typed); report.Poisoned != 0 {
		t.Errorf("a type that takes all: %+v", report)
	}
}

// A payload's own code that panics, and a declaration that is wrong.
func TestCheckPayloadsErrors(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	putMails(t, box, "mail", []string{goodMail})
	mails := queue.Define[mail]("mail", queue.Config{})
	report := check(t, box, 0, mails.Decoding(func(queue.Task[mail]) error { panic("oh") }))
	if report.Poisoned != 1 || !strings.Contains(report.Err().Error(), "panic: oh") {
		t.Errorf("a panic: %+v", report)
	}
	for name, of := range map[string]outbox.Payloads{
		"no name": queue.Define[mail]("", queue.Config{}), "zero queue": &queue.Queue[mail]{},
		"zero stream": &events.Stream[mail]{}, "nil": nil,
	} {
		if _, err := outbox.CheckPayloads(t.Context(), box, 0, mails, of); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
	if _, err := outbox.CheckPayloads(t.Context(), nil, 0, mails); err == nil {
		t.Error("a nil box is no error")
	}
}

// told is a test that only takes down why it was ended.
type told struct {
	testing.TB
	fatal string
}

func (f *told) Helper() {}

func (f *told) Fatal(args ...any) {
	f.fatal = fmt.Sprint(args...)
	panic(f)
}

// requireDecodes returns what RequireDecodes ends a test with, and nothing where it lets the test go on.
func requireDecodes(t *testing.T, box *outbox.Box, of ...outbox.Payloads) (fatal string) {
	f := &told{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(f) {
			panic(r)
		}
		fatal = f.fatal
	}()
	outboxtest.RequireDecodes(f, box, of...)
	return ""
}

func TestRequireDecodesFailsTheTest(t *testing.T) {
	t.Parallel()
	box := openBox(t, outboxtest.New(t))
	mails := queue.Define[mail]("mail", queue.Config{})
	putMails(t, box, "mail", []string{goodMail})
	if said := requireDecodes(t, box, mails); said != "" {
		t.Errorf("a test without poison was ended: %s", said)
	}
	bad := putMails(t, box, "mail", []string{badMail})[0]
	if said := requireDecodes(t, box, mails); !strings.Contains(said, fmt.Sprintf("task %d of \"mail\"", bad)) {
		t.Errorf("the poison is not named: %q", said)
	}
	if said := requireDecodes(t, box, queue.Define[mail]("", queue.Config{})); said == "" {
		t.Error("a declaration without a name does not end the test")
	}
}
