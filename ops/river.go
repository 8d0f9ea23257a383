package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// DefaultRiverSchema is the PostgreSQL schema in which River's tables are looked for.
const DefaultRiverSchema = "public"

// RiverImport says which jobs of River, in the same database, become tasks. The role needs the rights of the owner of
// both systems' tables.
type RiverImport struct {
	// Schema is the PostgreSQL schema of river_job; empty means DefaultRiverSchema. Its migrations must be those of
	// version 6 (River 0.12) or a later one.
	Schema string
	// Queues names the queue that takes the jobs of each kind.
	Queues map[string]string
	// SkipUnmapped leaves jobs of other kinds where they are. Without it, one that waits refuses the import.
	SkipUnmapped bool
	// Trigger leaves a trigger on river_job that moves what old producers insert, and what running jobs of River give
	// back, from then on.
	Trigger bool
}

// RiverKind is what river_job holds of one kind, and what an import has moved of it.
type RiverKind struct {
	Kind string `json:"kind"`
	// Queue takes its jobs; empty where there is none.
	Queue     string `json:"queue"`
	Available int64  `json:"available"`
	Scheduled int64  `json:"scheduled"`
	Retryable int64  `json:"retryable"`
	// Running jobs are River's, and stay there.
	Running int64 `json:"running"`
	// Moved have become tasks.
	Moved int64 `json:"moved"`
	// Duplicates were dropped: a task that waits in the queue has their unique key.
	Duplicates int64 `json:"duplicates"`
}

// waiting is how many an import would move.
func (k RiverKind) waiting() int64 { return k.Available + k.Scheduled + k.Retryable }

// PlanRiver says what [ImportRiver] would move, and changes nothing: all kinds of which something waits or runs, and
// those of Queues, in the order of their names. Kinds without a queue are no error here. Errors: [ErrInvalid].
func PlanRiver(ctx context.Context, box *outbox.Box, r RiverImport) (kinds []RiverKind, err error) {
	err = inRiver(ctx, box, r.Schema, func(tx pgx.Tx, sql func(string) string) error {
		kinds, err = r.plan(ctx, tx, sql)
		return err
	})
	return kinds, wrap("plan of an import from River", err)
}

// ImportRiver makes tasks of the jobs that wait in river_job (available, scheduled and retryable), all of them in one
// transaction, in the order in which River would take them. A task has the job's arguments as its payload, its due
// time, attempts and last error; the priority is 4 less River's, so that the order stays; the dedup key stands for the
// unique key, where that binds the job. The metadata has what River's has, each value as a text, beside "river_id",
// "river_kind", "river_queue" and "river_tags". Jobs that a worker of River takes meanwhile are left to it.
//
// The jobs are kept as they were in river_job_moved, a table beside river_job, for [ExportRiver].
//
// With Trigger, it is installed before, in a transaction of its own, and stays also where the import is then refused.
//
// Errors: [ErrInvalid] also names kinds that have no queue, and jobs that no task can hold.
func ImportRiver(ctx context.Context, box *outbox.Box, r RiverImport) (kinds []RiverKind, err error) {
	err = r.check(ctx, box)
	if err == nil && r.Trigger {
		err = r.installTrigger(ctx, box)
	}
	if err != nil {
		return nil, wrap("import from River", err)
	}
	err = inRiver(ctx, box, r.Schema, func(tx pgx.Tx, sql func(string) string) error {
		if kinds, err = r.plan(ctx, tx, sql); err != nil {
			return err
		}
		if err := r.prepare(ctx, tx, sql); err != nil {
			return err
		}
		return move(ctx, tx, sql, kinds)
	})
	if err != nil {
		return nil, wrap("import from River", err)
	}
	return kinds, nil
}

// RiverExport says what [ExportRiver] has done.
type RiverExport struct {
	// Returned are the jobs that are River's again.
	Returned int64 `json:"returned"`
	// Dropped would have been duplicates of jobs that River has by now.
	Dropped int64 `json:"dropped"`
	// Stayed are the tasks that run, or have ended.
	Stayed int64 `json:"stayed"`
}

// ExportRiver is the way back: it removes the trigger, and gives River the jobs whose tasks still wait, as they were,
// with the attempts and the due time of the task. Tasks that run or have ended stay, and so do those that River never
// had. Errors: [ErrInvalid].
func ExportRiver(ctx context.Context, box *outbox.Box, schema string) (done RiverExport, err error) {
	err = inRiver(ctx, box, schema, func(tx pgx.Tx, sql func(string) string) error {
		if _, err := tx.Exec(ctx, sql(sqlRiverNoTrigger)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sql(sqlRiverTables)); err != nil {
			return err
		}
		var taken int64
		if err := tx.QueryRow(ctx, sql(sqlRiverBack)).Scan(&taken, &done.Returned); err != nil {
			return err
		}
		done.Dropped = taken - done.Returned
		return tx.QueryRow(ctx, sql(sqlRiverStayed)).Scan(&done.Stayed)
	})
	return done, wrap("export to River", err)
}

// check refuses an import that is wrong in itself, or for which a queue is missing.
func (r RiverImport) check(ctx context.Context, box *outbox.Box) error {
	for kind, queue := range r.Queues {
		if err := core.CheckName(queue); err != nil {
			return fmt.Errorf("kind %q: the queue %w: %w", kind, err, ErrInvalid)
		}
	}
	kinds, err := PlanRiver(ctx, box, r)
	if err != nil || r.SkipUnmapped {
		return err
	}
	var without []string
	for _, k := range kinds {
		if n := k.waiting(); k.Queue == "" && n > 0 {
			without = append(without, fmt.Sprintf("%s (%d)", k.Kind, n))
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("no queue is named for jobs of %s: name one, or leave them out on purpose: %w",
			strings.Join(without, ", "), ErrInvalid)
	}
	return nil
}

// inRiver runs fn in a transaction, with what replaces the names of both schemas in a statement.
func inRiver(ctx context.Context, box *outbox.Box, schema string,
	fn func(tx pgx.Tx, sql func(string) string) error) error {
	if box == nil {
		return fmt.Errorf("the box is nil: %w", ErrInvalid)
	}
	if schema == "" {
		schema = DefaultRiverSchema
	}
	river := pgx.Identifier{schema}.Sanitize()
	sql := func(text string) string {
		return strings.ReplaceAll(core.BoxHost(box).SQL(text), "{river}", river)
	}
	return box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		var there bool
		if err := tx.Pgx().QueryRow(ctx, sqlRiverThere, river+".river_job").Scan(&there); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("there is no table %s.river_job with the column unique_states (River's migration 6): %w",
				river, ErrInvalid)
		}
		return fn(tx.Pgx(), sql)
	})
}

func (r RiverImport) plan(ctx context.Context, tx pgx.Tx, sql func(string) string) ([]RiverKind, error) {
	queues, err := r.queues()
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql(sqlRiverPlan), queues)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k RiverKind, err error) {
		return k, row.Scan(&k.Kind, &k.Queue, &k.Available, &k.Scheduled, &k.Retryable, &k.Running)
	})
}

// queues are the names of the queues as a JSON object.
func (r RiverImport) queues() (string, error) {
	if r.Queues == nil {
		return "{}", nil
	}
	doc, err := json.Marshal(r.Queues)
	return string(doc), err
}

// prepare makes the tables beside river_job, and writes down which queue takes which kind.
func (r RiverImport) prepare(ctx context.Context, tx pgx.Tx, sql func(string) string) error {
	queues, err := r.queues()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sql(sqlRiverTables)); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sql(sqlRiverQueues), queues)
	return err
}

func (r RiverImport) installTrigger(ctx context.Context, box *outbox.Box) error {
	return inRiver(ctx, box, r.Schema, func(tx pgx.Tx, sql func(string) string) error {
		if err := r.prepare(ctx, tx, sql); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sql(sqlRiverTrigger))
		return err
	})
}

// move makes the tasks and counts them.
func move(ctx context.Context, tx pgx.Tx, sql func(string) string, kinds []RiverKind) error {
	var large int64
	if err := tx.QueryRow(ctx, sql(sqlRiverLarge)).Scan(&large); err != nil {
		return err
	}
	if large > 0 {
		return fmt.Errorf("%d jobs have arguments of more than 1 MiB, which no task holds; delete them, or name no "+
			"queue for their kind: %w", large, ErrInvalid)
	}
	at := map[string]int{}
	for i, k := range kinds {
		at[k.Kind] = i
	}
	rows, err := tx.Query(ctx, sql(sqlRiverMove))
	if err != nil {
		return err
	}
	var kind string
	var moved, duplicates, failed int64
	_, err = pgx.ForEachRow(rows, []any{&kind, &moved, &duplicates, &failed}, func() error {
		if failed > 0 {
			return fmt.Errorf("the dedup keys of %q are being enqueued by transactions that wait for this one; try "+
				"again", kind)
		}
		if i, ok := at[kind]; ok {
			kinds[i].Moved, kinds[i].Duplicates = moved, duplicates
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sql(sqlRiverPast))
	return err
}
