package suite

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/queue"
)

// sqlTasksLeft names the first tasks of each queue that have not ended.
const sqlTasksLeft = `SELECT t.key, t.id FROM (SELECT key, id,
		row_number() OVER (PARTITION BY key, status ORDER BY id) AS n FROM public.strunk_outbox_tasks) t WHERE t.n <= 2`

// sqlSmallTables names the tables whose rows are few, which say who has what: workers, subscribers, limits, loops.
const sqlSmallTables = `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'public' AND c.relkind = 'r' AND NOT c.relispartition AND c.relname LIKE 'strunk%'
		AND c.relname !~ '^strunk_(count|failure|migrations)'
	ORDER BY 1`

const sqlSessions = `SELECT concat_ws(' ', a.pid, a.application_name, a.state, a.wait_event_type, a.wait_event,
		now() - a.xact_start, 'blocked by', pg_blocking_pids(a.pid), left(a.query, 200))
	FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()`

// evidence says what a round that does not come to rest waits for: the tasks that are left and why each waits, the rows
// of all small tables, the sessions and what blocks them, what doctor finds, and the stacks and warnings of each
// process. With it stands how much of the machine all this was given.
func (r *round) evidence(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	var b strings.Builder
	r.whyTasksWait(ctx, &b)
	for _, table := range r.texts(ctx, sqlSmallTables) {
		for _, row := range r.texts(ctx, `SELECT to_jsonb(t)::text FROM `+table+` t LIMIT 20`) {
			fmt.Fprintln(&b, table, row)
		}
	}
	for _, session := range r.texts(ctx, sqlSessions) {
		fmt.Fprintln(&b, "session", session)
	}
	findings, err := ops.Doctor(ctx, r.box)
	for _, f := range findings {
		if f.Status != ops.StatusOK {
			fmt.Fprintln(&b, "doctor:", f.Check, f.Status, f.Found)
		}
	}
	fmt.Fprintf(&b, "doctor's error: %v; all this took %v; here %s\n", err, time.Since(began), beats.String())
	for i := range r.children {
		r.child(i).Tell(tellOfYourself)
		r.child(i).Stacks()
	}
	time.Sleep(time.Second) // their answers go to standard error
	return b.String()
}

// whyTasksWait writes what keeps the first tasks of each queue.
func (r *round) whyTasksWait(ctx context.Context, to io.Writer) {
	rows, err := r.pool.Query(ctx, sqlTasksLeft)
	if err != nil {
		fmt.Fprintln(to, "tasks:", err)
		return
	}
	var name string
	var id int64
	type task struct {
		queue string
		id    int64
	}
	var all []task
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		all = append(all, task{name, id})
		return nil
	})
	for _, t := range all {
		reasons, err := queue.Why(ctx, r.box, t.queue, t.id)
		row := r.texts(ctx, fmt.Sprint(`SELECT to_jsonb(t)::text FROM public.strunk_outbox_tasks t WHERE id = `, t.id))
		fmt.Fprintln(to, "task", row, "why:", reasons, err)
	}
	if err != nil {
		fmt.Fprintln(to, "tasks:", err)
	}
}

// texts are the answers to a query, or its error.
func (r *round) texts(ctx context.Context, sql string) []string {
	rows, err := r.pool.Query(ctx, sql)
	if err != nil {
		return []string{err.Error()}
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		all = append(all, err.Error())
	}
	return all
}

// pulse counts how often a process got the processor that it asked for.
type pulse struct {
	mu    sync.Mutex
	times []time.Time // of the last beats
}

const (
	beatEvery = 50 * time.Millisecond
	beatsKept = 1200
)

var beats pulse

// run counts until the tests have ended.
func (p *pulse) run(end <-chan struct{}) {
	for {
		p.mu.Lock()
		p.times = append(p.times, time.Now())
		p.times = p.times[max(0, len(p.times)-beatsKept):]
		p.mu.Unlock()
		select {
		case <-time.After(beatEvery):
		case <-end:
			return
		}
	}
}

// String says how many of the last beats came, and the longest time between two.
func (p *pulse) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.times) == 0 {
		return "no beat"
	}
	var longest time.Duration
	for i := 1; i < len(p.times); i++ {
		longest = max(longest, p.times[i].Sub(p.times[i-1]))
	}
	within := time.Since(p.times[0])
	return fmt.Sprintf("%d beats in %v, where an idle machine has %d; the longest time between two was %v",
		len(p.times), within.Round(time.Millisecond), within/beatEvery, longest.Round(time.Millisecond))
}

// lastLines keeps the last lines of a process's log.
type lastLines struct {
	mu    sync.Mutex
	lines []string
}

const linesKept = 300

func (l *lastLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	l.lines = l.lines[max(0, len(l.lines)-linesKept):]
	return len(line), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}

var (
	childLog    lastLines
	childLogger = slog.New(slog.NewTextHandler(&childLog, &slog.HandlerOptions{Level: slog.LevelWarn}))
)

// tellOfYourself has a process say how much of the machine it was given, and its last warnings.
const tellOfYourself = "tell of yourself"

func childTells() {
	fmt.Fprintf(os.Stderr, "process %d: %s\nits last warnings:\n%s", os.Getpid(), &beats, &childLog)
}
