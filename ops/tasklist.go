package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

const (
	// DefaultExamine is how many tasks a listing looks at where TaskFilter.Examine is zero.
	DefaultExamine = 10_000
	// MaxExamine bounds it.
	MaxExamine = 1_000_000
	// examinedAtOnce bounds the tasks that one statement looks at.
	examinedAtOnce = 10_000
)

// TaskFilter chooses tasks; the zero value chooses all that wait or run. Fields that are set must all match.
type TaskFilter struct {
	// Status is one of queue's; empty means scheduled, pending and claimed.
	Status queue.Status
	// Queue, CustomerKey and DedupKey match as a whole.
	Queue, CustomerKey, DedupKey string
	// Error is a text that the last error contains, Fingerprint the group of it: see ErrorGroup.
	Error, Fingerprint string
	// Metadata and Payload are JSON that those of the task contain, as jsonb's operator @> has it:
	// {"to":"ann"} matches what has that value, among others.
	Metadata, Payload json.RawMessage
	// OlderThan and YoungerThan say how long ago the task was enqueued, at least and at most.
	OlderThan, YoungerThan time.Duration
	// After is TaskList.Next of the page before.
	After string
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
	// Examine bounds how many tasks are looked at, at most MaxExamine; zero means DefaultExamine.
	Examine int
}

// ListedTask is a task in a list, without payload.
type ListedTask struct {
	ID          int64        `json:"id"`
	Queue       string       `json:"queue"`
	Status      queue.Status `json:"status"`
	Priority    int          `json:"priority"`
	Attempts    int          `json:"attempts"`
	MaxAttempts int          `json:"max_attempts"`
	CreatedAt   time.Time    `json:"created_at"`
	DueAt       *time.Time   `json:"due_at,omitempty"`
	ClaimedAt   *time.Time   `json:"claimed_at,omitempty"`
	FinishedAt  *time.Time   `json:"finished_at,omitempty"`
	CustomerKey string       `json:"customer_key,omitempty"`
	DedupKey    string       `json:"dedup_key,omitempty"`
	// Error is the first 1,000 characters of the last error.
	Error string `json:"error,omitempty"`
}

// TaskList is a page of tasks.
type TaskList struct {
	Tasks []ListedTask `json:"tasks"`
	// Examined is how many tasks were looked at.
	Examined int64 `json:"examined"`
	// Next is where to go on (TaskFilter.After): also where Examine has ended the page before it was
	// full. It is empty where there are no more.
	Next string `json:"next,omitempty"`
}

// sqlComparable fails where jsonb cannot hold one of the documents.
const sqlComparable = `SELECT count($1::text::jsonb) + count($2::text::jsonb) >= 0`

// Tasks lists tasks of any queue, newest first: by their ids, and of delivered tasks the days first. What it
// costs is bounded by TaskFilter.Examine whatever is asked for: a page may be short, or empty, and have a Next.
// Errors: [ErrInvalid].
func Tasks(ctx context.Context, box *outbox.Box, f TaskFilter) (TaskList, error) {
	walk, err := newTaskWalk(box, f)
	if err == nil && len(f.Metadata)+len(f.Payload) > 0 {
		var valid bool // asked first: in a window without tasks nothing is compared
		err = ask(ctx, box, one(sqlComparable, []any{orNull(string(f.Metadata)), orNull(string(f.Payload))}, &valid))
	}
	for err == nil && !walk.ended() {
		err = walk.step(ctx)
	}
	if err != nil {
		return TaskList{}, wrap("tasks", refusal(err))
	}
	return walk.list, nil
}

// taskWalk is a listing under way: it goes through windows of ids.
type taskWalk struct {
	box     *outbox.Box
	f       TaskFilter
	part    string // see outbox/sql/list.sql
	day     *string
	before  int64
	over    bool
	list    TaskList
	filters []any
}

func newTaskWalk(box *outbox.Box, f TaskFilter) (w *taskWalk, err error) {
	if f.Limit, err = limit(f.Limit); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	orDefault(&f.Examine, DefaultExamine)
	w = &taskWalk{box: box, f: f, part: string(f.Status), before: math.MaxInt64, list: TaskList{Tasks: []ListedTask{}}}
	var only *string
	switch f.Status {
	case queue.StatusScheduled, queue.StatusPending, queue.StatusClaimed:
		only, w.part = orNull(string(f.Status)), ""
	}
	if err := w.goOn(f.After); err != nil {
		return nil, err
	}
	w.filters = []any{only, orNull(f.CustomerKey), orNull(f.DedupKey), orNull(f.Error), orNull(f.Fingerprint),
		orNull(string(f.Metadata)), orNull(string(f.Payload)), microsOrNull(f.YoungerThan), microsOrNull(f.OlderThan)}
	return w, nil
}

func microsOrNull(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	n := d.Microseconds()
	return &n
}

func (f TaskFilter) check() error {
	switch f.Status {
	case "", queue.StatusScheduled, queue.StatusPending, queue.StatusClaimed, queue.StatusDead, queue.StatusCancelled,
		queue.StatusDiscarded, queue.StatusDelivered:
	default:
		return fmt.Errorf("TaskFilter.Status: %q is no status: %w", f.Status, ErrInvalid)
	}
	if f.Examine < 0 || f.Examine > MaxExamine {
		return fmt.Errorf("TaskFilter.Examine: %d is not from 1 to %d: %w", f.Examine, MaxExamine, ErrInvalid)
	}
	if f.OlderThan < 0 || f.YoungerThan < 0 {
		return fmt.Errorf("TaskFilter: OlderThan and YoungerThan cannot be negative: %w", ErrInvalid)
	}
	for name, doc := range map[string]json.RawMessage{"Metadata": f.Metadata, "Payload": f.Payload} {
		if len(doc) > 0 && !json.Valid(doc) {
			return fmt.Errorf("TaskFilter.%s: it is no JSON: %w", name, ErrInvalid)
		}
	}
	return texts(f.Queue, f.CustomerKey, f.DedupKey, f.Error, f.Fingerprint, string(f.Metadata), string(f.Payload))
}

// dayPrefix begins the names of the partitions of delivered tasks; the day follows.
const dayPrefix = "strunk_outbox_delivered_tasks_"

// goOn reads a position: an id, and for delivered tasks the day before it, as in 20260131/42.
func (w *taskWalk) goOn(after string) (err error) {
	if after == "" {
		return nil
	}
	day, id, delivered := strings.Cut(after, "/")
	if delivered {
		_, err = time.Parse("20060102", day)
		day = dayPrefix + day
		w.day = &day
	} else {
		id = after
	}
	var idErr error
	w.before, idErr = strconv.ParseInt(id, 10, 64)
	if err != nil || idErr != nil || delivered != (w.f.Status == queue.StatusDelivered) {
		return fmt.Errorf("TaskFilter.After: %q is no position of this list: %w", after, ErrInvalid)
	}
	return nil
}

// position is what goOn reads.
func (w *taskWalk) position(before int64) string {
	if w.day == nil {
		return strconv.FormatInt(before, 10)
	}
	return fmt.Sprintf("%s/%d", strings.TrimPrefix(*w.day, dayPrefix), before)
}

// ended reports whether the page is full, or may not look any further, and sets where to go on.
func (w *taskWalk) ended() bool {
	switch full := len(w.list.Tasks) == w.f.Limit; {
	case w.over:
		return true
	case full:
		w.list.Next = w.position(w.list.Tasks[w.f.Limit-1].ID)
		return true
	case w.list.Examined >= int64(w.f.Examine):
		w.list.Next = w.position(w.before)
		return true
	}
	return false
}

const (
	// sqlTaskWindow finds the next window of part $1 and queue $2 (null: any), in day $3, below id $4: $5 tasks.
	sqlTaskWindow = `SELECT w.day, w.low_id, w.examined, w.older_day
FROM {schema}.strunk_task_window($1::text, $2::text, $3::text, $4::bigint, $5::integer) w`
	// sqlListTasks lists at most $6 tasks of a window ($4 to $5) that the filters let through. It locks nothing.
	sqlListTasks = `SELECT t.id, t.queue, t.status, t.priority, t.attempts, t.max_attempts, t.created_at, t.due_at,
	t.claimed_at, t.finished_at, coalesce(t.customer_key, ''), coalesce(t.dedup_key, ''), coalesce(t.last_error, '')
FROM {schema}.strunk_list_tasks($1::text, $2::text, $3::text, $4::bigint, $5::bigint, $6::integer, $7::text, $8::text,
	$9::text, $10::text, $11::text, $12::text::jsonb, $13::text::jsonb,
	{schema}.strunk_now() - $14::bigint * interval '1 microsecond',
	{schema}.strunk_now() - $15::bigint * interval '1 microsecond') t`
)

// step looks at one window.
func (w *taskWalk) step(ctx context.Context) error {
	var low, examined int64
	var older *string
	n := min(examinedAtOnce, w.f.Examine-int(w.list.Examined))
	part, of := w.part, orNull(w.f.Queue)
	if err := ask(ctx, w.box, one(sqlTaskWindow, []any{part, of, w.day, w.before, n}, &w.day, &low, &examined,
		&older)); err != nil {
		return err
	}
	var found []ListedTask
	if examined > 0 {
		args := append([]any{part, of, w.day, low, w.before, w.f.Limit - len(w.list.Tasks)}, w.filters...)
		if err := ask(ctx, w.box, many(&found, sqlListTasks, args, scanListed)); err != nil {
			return err
		}
	}
	w.list.Tasks, w.list.Examined = append(w.list.Tasks, found...), w.list.Examined+examined
	switch w.before = low; {
	case examined == int64(n):
	case older != nil && len(w.list.Tasks) < w.f.Limit:
		w.day, w.before = older, math.MaxInt64
	case len(w.list.Tasks) < w.f.Limit:
		w.over = true
	}
	return nil
}

func scanListed(rows pgx.Rows) (t ListedTask, err error) {
	return t, rows.Scan(&t.ID, &t.Queue, &t.Status, &t.Priority, &t.Attempts, &t.MaxAttempts, &t.CreatedAt, &t.DueAt,
		&t.ClaimedAt, &t.FinishedAt, &t.CustomerKey, &t.DedupKey, &t.Error)
}
