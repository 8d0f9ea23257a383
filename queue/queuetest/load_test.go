package queuetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/cli"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

// versions is a validator that knows some versions, and takes the last for what names none.
type versions []string

func (v versions) Validate(_ context.Context, _, version string, _ json.RawMessage) (string, error) {
	for _, known := range v {
		if version == known {
			return version, nil
		}
	}
	if version == "" {
		return v[len(v)-1], nil
	}
	return "", errors.New("nobody has registered it")
}

// hidden hides payloads in the table.
var hidden = queue.Middleware{
	Enqueue: func(ctx context.Context, tasks []*queue.Outgoing, next func(context.Context) error) error {
		for _, task := range tasks {
			doc, err := json.Marshal(task.Payload())
			if err != nil {
				return err
			}
			task.SetPayload(fmt.Appendf(nil, `{"hidden":%s}`, doc))
		}
		return next(ctx)
	},
	Work: func(ctx context.Context, task *queue.Incoming, next func(context.Context) error) error {
		if err := reveal(task); err != nil {
			return err
		}
		return next(ctx)
	},
	Read: func(_ context.Context, task *queue.Incoming) error { return reveal(task) },
}

func reveal(task *queue.Incoming) error {
	var doc struct{ Hidden json.RawMessage }
	if err := json.Unmarshal(task.Payload(), &doc); err != nil || doc.Hidden == nil {
		return fmt.Errorf("not hidden: %s", task.Payload())
	}
	task.SetPayload(doc.Hidden)
	return nil
}

func letters(known ...string) *queue.Queue[order] {
	return queue.Define[order]("letters", queue.Config{Validator: versions(known),
		Middleware: []queue.Middleware{hidden}, Retry: queue.Backoff{First: time.Millisecond}})
}

// shownDead returns what strunk show prints of a dead letter of the queue, and the task as its handler saw it last.
func shownDead(t *testing.T, box *outbox.Box, q *queue.Queue[order], flags ...string) (string, queue.Task[order]) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := q.Enqueue(t.Context(), tx, order{42}, queue.CustomerKey("ada"), queue.DedupKey("forty-two"),
			queue.Priority(4), queue.MaxAttempts(2), queue.Metadata(map[string]string{"from": "web"}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var last queue.Task[order]
	queuetest.Drain(t, box, q.Worker(func(_ context.Context, task queue.Task[order]) error {
		last = task
		return errors.New("no")
	}))
	return show(t, box, last.ID, flags...), last
}

func show(t *testing.T, box *outbox.Box, id int64, flags ...string) string {
	t.Helper()
	var out bytes.Buffer
	words := append([]string{"strunk", "--database-url", outboxtest.DSN(box.Pool()), "show", "--json"}, flags...)
	if code := cli.Run(t.Context(), append(words, fmt.Sprint(id)), cli.Streams{In: strings.NewReader(""), Out: &out,
		Err: &out}); code != cli.ExitDone {
		t.Fatalf("strunk show ends with %d: %s", code, &out)
	}
	return out.String()
}

// What strunk show prints of a dead letter is its task again, of the version that it was enqueued under, and handlers
// that are tested with it see that version.
func TestLoadMakesATestCaseOfADeadLetter(t *testing.T) {
	t.Parallel()
	box, pool := shop(t)
	doc, want := shownDead(t, box, letters("1.0"), "--payload")
	want.Fence = 0 // there is none in a test
	q := letters("1.0", "2.0")
	got := queuetest.Load(t, box, q, []byte(doc))
	// The database's time has microseconds, and the time zone differs.
	if !got.CreatedAt.Equal(want.CreatedAt) || got.DueAt.IsZero() {
		t.Errorf("created at %v and due at %v; want %v", got.CreatedAt, got.DueAt, want.CreatedAt)
	}
	got.CreatedAt, got.DueAt = want.CreatedAt, want.DueAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the loaded task differs from the one that the handler saw (-want +got):\n%s", diff)
	}
	if got.Metadata[queue.MetadataSchemaVersion] != "1.0" || got.Payload.ID != 42 || got.Attempt != 2 {
		t.Errorf("not the task: %+v", got)
	}
	path := filepath.Join(t.TempDir(), "dead.json")
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	got = queuetest.LoadFile(t, box, q, path)

	check := func(task queue.Task[order]) error {
		if v := task.Metadata[queue.MetadataSchemaVersion]; v != "1.0" || task.Payload.ID != 42 || task.Priority != 4 {
			return fmt.Errorf("version %q: %+v", v, task)
		}
		return nil
	}
	tx := queuetest.RollBack(t, box)
	if o := queuetest.Work(t, tx, q.Worker(func(_ context.Context, task queue.Task[order]) error {
		return check(task)
	}), got.Payload, queue.Metadata(got.Metadata), queue.Priority(got.Priority)); o.Err != nil {
		t.Errorf("Work: %v", o.Err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	queuetest.RequireIdempotent(t, box, q.Worker(func(ctx context.Context, task queue.Task[order]) error {
		_, err := pool.Exec(ctx, sqlPaid)
		return errors.Join(err, check(task))
	}), got, "public.accounts")
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	box := open(t)
	q := letters("1.0")
	doc, task := shownDead(t, box, q, "--payload")
	load := func(q *queue.Queue[order], doc string) string {
		return said(t, func(t testing.TB) { queuetest.Load(t, box, q, []byte(doc)) })
	}
	if got := load(q, doc); got != "" {
		t.Fatal(got)
	}
	replaced := func(from, to string) string {
		if !strings.Contains(doc, from) {
			t.Fatalf("the document does not hold %s: %s", from, doc)
		}
		return strings.Replace(doc, from, to, 1)
	}
	id := fmt.Sprint("task ", task.ID)
	for _, c := range []struct {
		name, doc string
		queue     *queue.Queue[order]
		want      []string
	}{
		{"a table", "FIELD  VALUE", q, []string{"not the JSON that strunk show --json --payload prints"}},
		{"a list", `[` + doc + `]`, q, []string{"not the JSON that strunk show --json --payload prints"}},
		{"other JSON", `{}`, q, []string{"no kind"}},
		{"another queue", doc, orders, []string{id, `queue "letters", not of "orders"`}},
		{"a delivery", `{"id":3,"kind":"delivery","subscriber":"search"}`, q, []string{"3 is a copy of an event",
			`"search"`}},
		{"no payload", show(t, box, task.ID), q, []string{id + " has no payload", "strunk show --json --payload"}},
		{"another version", doc, letters("2.0"), []string{id, "version 1.0 of the queue's schema: nobody has"}},
		{"redacted", replaced(`"ID": 42`, `"ID": "***"`), q, []string{id, "was replaced by a redaction"}},
		{"redacted before it was revealed", replaced(`"hidden"`, `"gone"`), q, []string{id, "not hidden"}},
		{"no queue", doc, &queue.Queue[order]{}, []string{"declare it with queue.Define"}},
	} {
		got := load(c.queue, c.doc)
		wantSaid(t, c.name+": "+got, append(c.want, "queuetest.Load: ")...)
	}
	wantSaid(t, said(t, func(t testing.TB) { queuetest.Load(t, nil, q, []byte(doc)) }), "the box is nil")
	wantSaid(t, said(t, func(t testing.TB) { queuetest.LoadFile(t, box, q, "nowhere.json") }),
		"queuetest.LoadFile: open nowhere.json")
}

// No field of a task is forgotten where its payload is decoded.
func TestEnqueuedShowsAllOfATask(t *testing.T) {
	t.Parallel()
	tx := queuetest.RollBack(t, open(t))
	q := letters("1.0")
	if _, err := q.Enqueue(t.Context(), tx, order{42}, queue.CustomerKey("ada"), queue.DedupKey("k"), queue.Priority(4),
		queue.Delay(time.Hour)); err != nil {
		t.Fatal(err)
	}
	task := queuetest.Enqueued(t, tx, q)[0]
	for i, v := 0, reflect.ValueOf(task); i < v.NumField(); i++ {
		switch name := v.Type().Field(i).Name; {
		case name == "Attempt", name == "Fence": // nobody has claimed it
		case v.Field(i).IsZero():
			t.Errorf("%s is missing: %+v", name, task)
		}
	}
	if task.Metadata[queue.MetadataSchemaVersion] != "1.0" {
		t.Errorf("the version of the schema is missing: %v", task.Metadata)
	}
}
