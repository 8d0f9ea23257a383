package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Act is what a bulk job does to tasks.
type Act string

// The acts of bulk jobs.
const (
	// ActRetry gives dead letters, or cancelled or discarded tasks, all their attempts again.
	ActRetry Act = "retry"
	// ActRunNow makes tasks that wait due now; ActReschedule due at NewJob.DueAt.
	ActRunNow     Act = "run_now"
	ActReschedule Act = "reschedule"
	// ActSetPriority gives tasks that wait the priority NewJob.Priority.
	ActSetPriority Act = "set_priority"
	// ActCancel cancels tasks that wait or run, ActDiscard gives up those that wait; both for NewJob.Reason.
	ActCancel  Act = "cancel"
	ActDiscard Act = "discard"
	// ActDelete deletes tasks for good that wait, or (Filter.Status) have ended without success.
	ActDelete Act = "delete"
)

// NewJob is a bulk job to be started.
type NewJob struct {
	Act Act
	// Filter chooses the tasks; its zero value chooses all that the act is for: dead letters for ActRetry, tasks
	// that wait for the others, and for ActCancel those that run as well. After, Limit and Examine must be zero.
	Filter TaskFilter
	// DueAt is for ActReschedule, Priority for ActSetPriority; nil for the others.
	DueAt    *time.Time
	Priority *int
	// Reason is kept as the last error of cancelled and discarded tasks, and with the job.
	Reason string
	// PerSecond bounds how many tasks the job tries in a second, 0.001 to 1,000,000; zero means as many as it can.
	PerSecond float64
	// OneFirst stops the job after the first task that it changes, until ResumeJob.
	OneFirst bool
	// By is who starts it; empty means the role and what its connection calls itself.
	By string
}

// JobState is the state of a bulk job.
type JobState string

// The states of a bulk job.
const (
	// JobRunning says that a process works it, or will.
	JobRunning JobState = "running"
	// JobStopped waits for ResumeJob, because of StopJob or NewJob.OneFirst.
	JobStopped JobState = "stopped"
	// JobDone has looked at everything.
	JobDone JobState = "done"
	// JobFailed could not go on ten times in a row, Job.LastError says why; ResumeJob has it try again.
	JobFailed JobState = "failed"
)

// Job is a bulk job. Done, Failed and Skipped count tasks: those that it has changed, those that the database
// refused (LastError is of the last), and those that began or ended before their turn.
type Job struct {
	ID        int64           `json:"id"`
	State     JobState        `json:"state"`
	Act       Act             `json:"act"`
	Filter    json.RawMessage `json:"filter"`
	DueAt     *time.Time      `json:"due_at,omitempty"`
	Priority  *int            `json:"priority,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	StartedBy string          `json:"started_by"`
	StartedAt time.Time       `json:"started_at"`
	// ChangedAt is the time of the last slice, or change of state.
	ChangedAt time.Time `json:"changed_at"`
	// PerSecond is nil where there is no rate.
	PerSecond *float64 `json:"per_second,omitempty"`
	OneFirst  bool     `json:"one_first,omitempty"`
	Done      int64    `json:"done"`
	Failed    int64    `json:"failed"`
	Skipped   int64    `json:"skipped"`
	// Examined is how many tasks the job has looked at. It goes by their ids, from Position to UntilID.
	Examined int64 `json:"examined"`
	Position int64 `json:"position"`
	UntilID  int64 `json:"until_id"`
	// Process has done the last slice; empty where nobody has.
	Process   string `json:"process,omitempty"`
	LastError string `json:"last_error,omitempty"`
}

const (
	jobColumns = `SELECT j.id, j.state, j.act, j.filter, j.due_at, j.priority, j.reason, j.started_by, j.started_at,
	j.changed_at, j.per_second, j.one_first, j.done, j.failed, j.skipped, j.examined, j.position, j.until_id,
	coalesce(j.last_process, ''), coalesce(j.last_error, '')
FROM {schema}.strunk_bulk_jobs j `
	// sqlJob reads job $1. It locks nothing.
	sqlJob = jobColumns + `WHERE j.id = $1::bigint`
	// sqlJobs reads at most $2 jobs below id $1 (0: the newest), in state $3 (empty: any). It locks nothing.
	sqlJobs = jobColumns + `WHERE ($1::bigint = 0 OR j.id < $1) AND ($3::text = '' OR j.state = $3)
ORDER BY j.id DESC LIMIT $2::integer`
	// sqlStartJob starts a job: act $1, filter $2, due time $3, priority $4, reason $5, rate $6, one first $7, by $8.
	sqlStartJob = `SELECT {schema}.strunk_start_job($1::text, $2::text::jsonb, $3::timestamptz, $4::integer, $5::text,
	$6::double precision, $7::boolean, $8::text)`
	sqlStopJob   = `SELECT {schema}.strunk_stop_job($1::bigint)`
	sqlResumeJob = `SELECT {schema}.strunk_resume_job($1::bigint)`
	// sqlSetJobRate gives job $1 the rate $2 in a second; null is none.
	sqlSetJobRate = `SELECT {schema}.strunk_set_job_rate($1::bigint, $2::double precision)`
)

// StartJob starts a bulk job: the loops of whichever process runs (outbox.LoopJobs) do the act to every task that the
// filter chooses, oldest first, in slices of a transaction each. The job survives its starter and the
// process that works it; no task is acted on twice. It leaves alone what is enqueued after its start. A task that was
// there and begins to match meanwhile is acted on unless the job has passed its id. A job that does not run is
// kept for a week. Errors: [ErrInvalid].
func StartJob(ctx context.Context, box *outbox.Box, n NewJob) (Job, error) {
	filter, err := n.filter()
	var id int64
	if err == nil {
		id, err = writeJob[int64](ctx, box, sqlStartJob, string(n.Act), filter, n.DueAt, n.Priority,
			core.CleanText(n.Reason, core.MaxErrorBytes), rate(n.PerSecond), n.OneFirst,
			core.CleanText(n.By, core.MaxErrorBytes))
	}
	if err != nil {
		return Job{}, wrap("start job", err)
	}
	return ReadJob(ctx, box, id)
}

func rate(perSecond float64) *float64 {
	if perSecond == 0 {
		return nil
	}
	return &perSecond
}

// ReadJob returns a bulk job. Errors: [ErrNotFound].
func ReadJob(ctx context.Context, box *outbox.Box, id int64) (Job, error) {
	var found []Job
	err := ask(ctx, box, many(&found, sqlJob, []any{id}, scanJob))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Job{}, wrap("job", err)
	}
	return found[0], nil
}

// JobFilter chooses bulk jobs; the zero value chooses the newest DefaultLimit of all.
type JobFilter struct {
	// State is empty for all.
	State JobState
	// After is the id of the last job of the page before; zero begins with the newest.
	After int64
	// Limit is how many to return: at most MaxLimit; zero means DefaultLimit.
	Limit int
}

// Jobs returns bulk jobs, the newest first. Errors: [ErrInvalid].
func Jobs(ctx context.Context, box *outbox.Box, f JobFilter) (all []Job, err error) {
	n, err := limit(f.Limit)
	if err == nil {
		err = texts(string(f.State))
	}
	if err == nil {
		err = ask(ctx, box, many(&all, sqlJobs, []any{f.After, n, string(f.State)}, scanJob))
	}
	return all, wrap("jobs", err)
}

func scanJob(rows pgx.Rows) (j Job, err error) {
	return j, rows.Scan(&j.ID, &j.State, &j.Act, &j.Filter, &j.DueAt, &j.Priority, &j.Reason, &j.StartedBy,
		&j.StartedAt, &j.ChangedAt, &j.PerSecond, &j.OneFirst, &j.Done, &j.Failed, &j.Skipped, &j.Examined, &j.Position,
		&j.UntilID, &j.Process, &j.LastError)
}

// StopJob stops a bulk job that runs, after the slice under way, and returns it. Errors: [ErrNotFound].
func StopJob(ctx context.Context, box *outbox.Box, id int64) (Job, error) {
	return changeJob(ctx, box, "stop job", id, sqlStopJob)
}

// ResumeJob has a bulk job that was stopped, or has failed, go on where it was, and returns it. Errors: [ErrNotFound].
func ResumeJob(ctx context.Context, box *outbox.Box, id int64) (Job, error) {
	return changeJob(ctx, box, "resume job", id, sqlResumeJob)
}

// SetJobRate bounds from its next slice on how many tasks a bulk job tries in a second, zero: not at all, and
// returns the job. Errors: [ErrInvalid], [ErrNotFound].
func SetJobRate(ctx context.Context, box *outbox.Box, id int64, perSecond float64) (Job, error) {
	return changeJob(ctx, box, "set job rate", id, sqlSetJobRate, rate(perSecond))
}

// changeJob changes a job, if its state lets it, and returns the job.
func changeJob(ctx context.Context, box *outbox.Box, what string, id int64, sql string, args ...any) (Job, error) {
	if _, err := writeJob[bool](ctx, box, sql, append([]any{id}, args...)...); err != nil {
		return Job{}, wrap(what, err)
	}
	return ReadJob(ctx, box, id)
}

// writeJob runs a statement that changes jobs, and has this process's loop look.
func writeJob[V any](ctx context.Context, box *outbox.Box, sql string, args ...any) (v V, err error) {
	if box == nil {
		return v, fmt.Errorf("the box is nil: %w", ErrInvalid)
	}
	host := core.BoxHost(box)
	if v, err = core.WriteValue[V](ctx, host.Pool(), host.SQL(sql), args...); err != nil {
		return v, refusal(err)
	}
	host.WakeLocal(core.TopicJobs)
	return v, nil
}

// refusal says ErrInvalid of what the database calls an invalid argument, and of JSON that no jsonb can hold: a NUL,
// half of a surrogate pair, a number that is too large.
func refusal(err error) error {
	switch core.SQLState(err) {
	case pgerrcode.InvalidParameterValue, pgerrcode.UntranslatableCharacter, pgerrcode.InvalidTextRepresentation,
		pgerrcode.NumericValueOutOfRange:
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return err
}
