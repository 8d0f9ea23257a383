package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/queue/queuetest"
)

// The kinds of a small application on River.
type (
	mail   struct{ To string }
	resize struct{ Image int }
	audit  struct{ Note string }
)

func (mail) Kind() string   { return "mail" }
func (resize) Kind() string { return "resize" }
func (audit) Kind() string  { return "audit" }

// resizer fails each attempt, and wants the next one in an hour.
type resizer struct{ river.WorkerDefaults[resize] }

func (resizer) Work(context.Context, *river.Job[resize]) error { return errors.New("no such image") }
func (resizer) NextRetry(*river.Job[resize]) time.Time         { return time.Now().Add(time.Hour) }

// mails is the queue that takes over the kind mail.
var mails = queue.Define[mail]("mails", queue.Config{})

// riverApp is the application: its database and River's client.
type riverApp struct {
	t      *testing.T
	pool   *pgxpool.Pool
	box    *outbox.Box
	client *river.Client[pgx.Tx]
}

func newRiverApp(t *testing.T) *riverApp {
	pool := outboxtest.New(t)
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	driver, quiet := riverpgxv5.New(pool), slog.New(slog.DiscardHandler)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, resizer{})
	client, err := river.NewClient(driver, &river.Config{Logger: quiet, Workers: workers, SkipUnknownJobCheck: true,
		Queues: map[string]river.QueueConfig{"images": {MaxWorkers: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return &riverApp{t: t, pool: pool, box: box, client: client}
}

func (a *riverApp) insert(args river.JobArgs, opts *river.InsertOpts) int64 {
	a.t.Helper()
	done, err := a.client.Insert(a.t.Context(), args, opts)
	if err != nil {
		a.t.Fatal(err)
	}
	return done.Job.ID
}

// failOnce has River make the first attempt of the jobs of the queue images.
func (a *riverApp) failOnce(id int64) {
	a.t.Helper()
	if err := a.client.Start(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
	for job := a.job(id); job.State != rivertype.JobStateRetryable; job = a.job(id) {
		time.Sleep(20 * time.Millisecond) // until the test's deadline
	}
	if err := a.client.Stop(context.WithoutCancel(a.t.Context())); err != nil {
		a.t.Fatal(err)
	}
}

func (a *riverApp) job(id int64) *rivertype.JobRow {
	a.t.Helper()
	job, err := a.client.JobGet(a.t.Context(), id)
	if err != nil {
		a.t.Fatal(err)
	}
	return job
}

func text(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (s string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// left are the kinds of the jobs that River has.
func (a *riverApp) left() string {
	a.t.Helper()
	return text(a.t, a.pool, `SELECT coalesce(string_agg(kind, ' ' ORDER BY kind), '') FROM public.river_job`)
}

// tasks are the tasks that wait, each on a line.
func (a *riverApp) tasks() string {
	a.t.Helper()
	return text(a.t, a.pool, `SELECT coalesce(string_agg(format('%s %s %s attempts %s/%s priority %s%s%s', key, status,
			payload, attempts, max_attempts, priority, ' ' || last_error, CASE WHEN dedup_key IS NOT NULL THEN ' unique'
			END), E'\n' ORDER BY id), '') FROM public.strunk_outbox WHERE status IN ('pending', 'scheduled')`)
}

// TestImportRiver moves a small application of River's, whose jobs River's own client has written, and back.
func TestImportRiver(t *testing.T) {
	t.Parallel()
	a := newRiverApp(t)
	failed := a.insert(resize{7}, &river.InsertOpts{Queue: "images", MaxAttempts: 5})
	a.failOnce(failed)
	unique := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	a.insert(mail{"a@example.com"}, nil)
	a.insert(mail{"b@example.com"}, unique)
	later := a.insert(mail{"c@example.com"}, &river.InsertOpts{Priority: 3, Tags: []string{"slow", "big"},
		ScheduledAt: time.Now().Add(24 * time.Hour), Metadata: []byte(`{"trace": "t1", "deep": {"n": 1}}`)})
	a.insert(audit{"stays"}, nil)
	before := a.job(later)

	plan := ops.RiverImport{Queues: map[string]string{"mail": "mails", "resize": "images"}}
	a.refused(plan)
	plan.SkipUnmapped, plan.Trigger = true, true
	a.imported(plan)
	a.carried(unique)
	a.worked()
	a.returned(before, failed)
}

// refused imports without a queue for each kind: nothing happens, and the counts are those of the dry run.
func (a *riverApp) refused(plan ops.RiverImport) {
	a.t.Helper()
	if _, err := ops.ImportRiver(a.t.Context(), a.box, plan); !errors.Is(err, ops.ErrInvalid) ||
		!strings.Contains(err.Error(), "audit (1)") {
		a.t.Errorf("an import without a queue for a kind: %v", err)
	}
	kinds, err := ops.PlanRiver(a.t.Context(), a.box, plan)
	want := []ops.RiverKind{{Kind: "audit", Available: 1}, {Kind: "mail", Queue: "mails", Available: 2, Scheduled: 1},
		{Kind: "resize", Queue: "images", Retryable: 1}}
	if err != nil || !slices.Equal(kinds, want) {
		a.t.Errorf("the dry run: %+v, %v; want %+v", kinds, err, want)
	}
	if got := a.left(); got != "audit mail mail mail resize" || a.tasks() != "" {
		a.t.Errorf("River has %q, and there are tasks:\n%s", got, a.tasks())
	}
}

const fromRiver = `mails pending {"To": "a@example.com"} attempts 0/25 priority 3
mails pending {"To": "b@example.com"} attempts 0/25 priority 3 unique
images scheduled {"Image": 7} attempts 1/5 priority 3 no such image
mails scheduled {"To": "c@example.com"} attempts 0/25 priority 1`

func (a *riverApp) imported(plan ops.RiverImport) {
	a.t.Helper()
	kinds, err := ops.ImportRiver(a.t.Context(), a.box, plan)
	var moved []string
	for _, k := range kinds {
		moved = append(moved, fmt.Sprint(k.Kind, " ", k.Moved))
	}
	if err != nil || strings.Join(moved, ", ") != "audit 0, mail 3, resize 1" {
		a.t.Fatalf("the import: %v, %v", moved, err)
	}
	if got := a.tasks(); got != fromRiver || a.left() != "audit" {
		a.t.Errorf("River has %q, and the tasks are\n%s\nwant\n%s", a.left(), got, fromRiver)
	}
	metadata := text(a.t, a.pool, `SELECT (metadata::jsonb - 'river_id')::text FROM public.strunk_outbox
		WHERE priority = 1`)
	for _, want := range []string{`"trace": "t1"`, `"deep": "{\"n\": 1}"`, `"river_kind": "mail"`,
		`"river_tags": "slow,big"`, `"river_queue": "default"`} {
		if !strings.Contains(metadata, want) {
			a.t.Errorf("the metadata %s has no %s", metadata, want)
		}
	}
}

// carried inserts as an old producer does: the trigger moves it, in the producer's transaction.
func (a *riverApp) carried(unique *river.InsertOpts) {
	a.t.Helper()
	a.insert(mail{"b@example.com"}, unique) // its task waits
	many := []river.InsertManyParams{{Args: mail{"d@example.com"}}, {Args: audit{"stays too"}}}
	if _, err := a.client.InsertMany(a.t.Context(), many); err != nil {
		a.t.Fatal(err)
	}
	tx, err := a.pool.Begin(a.t.Context())
	if err == nil {
		_, err = a.client.InsertTx(a.t.Context(), tx, mail{"never@example.com"}, nil)
		err = errors.Join(err, tx.Rollback(a.t.Context()))
	}
	if err != nil {
		a.t.Fatal(err)
	}
	want := fromRiver + "\nmails pending {\"To\": \"d@example.com\"} attempts 0/25 priority 3"
	if got := a.tasks(); got != want || a.left() != "audit audit" {
		a.t.Errorf("River has %q, and the tasks are\n%s\nwant\n%s", a.left(), got, want)
	}
}

// worked has the new application handle what is due.
func (a *riverApp) worked() {
	a.t.Helper()
	sent := make(chan string, 10)
	queuetest.Drain(a.t, a.box, mails.Worker(func(_ context.Context, task queue.Task[mail]) error {
		sent <- task.Payload.To + " " + task.Metadata["river_kind"]
		return nil
	}, queue.Concurrency(1)))
	close(sent)
	var all []string
	for s := range sent {
		all = append(all, s)
	}
	slices.Sort(all)
	if got := strings.Join(all, ", "); got != "a@example.com mail, b@example.com mail, d@example.com mail" {
		a.t.Errorf("handled: %s", got)
	}
}

// returned is the way back: what waits is River's again, as it was, and new jobs stay there.
func (a *riverApp) returned(before *rivertype.JobRow, failed int64) {
	a.t.Helper()
	done, err := ops.ExportRiver(a.t.Context(), a.box, "")
	if err != nil || done != (ops.RiverExport{Returned: 2, Stayed: 3}) {
		a.t.Fatalf("the export: %+v, %v", done, err)
	}
	after := a.job(before.ID)
	if got, want := fmt.Sprintf("%+v", *after), fmt.Sprintf("%+v", *before); got != want {
		a.t.Errorf("the job is\n%s\nwant\n%s", got, want)
	}
	if job := a.job(failed); job.State != rivertype.JobStateRetryable || job.Attempt != 1 || len(job.Errors) != 1 {
		a.t.Errorf("the failed job: %+v", job)
	}
	a.insert(mail{"e@example.com"}, nil)
	if got := a.left(); got != "audit audit mail mail resize" || a.tasks() != "" {
		a.t.Errorf("River has %q, and there are tasks:\n%s", got, a.tasks())
	}
}
