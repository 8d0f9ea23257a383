package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
)

// bareRows is no library: SQL alone, in a transaction of pgx. Nothing that writes those rows can cost less.
type bareRows struct {
	pool     *pgxpool.Pool
	settings string
	// alone writes the rows of a transaction that holds nothing else, besides those after the application's row.
	alone, besides func(ctx context.Context, tx pgx.Tx, j job) error
}

var (
	errNoBatches = errors.New("bare rows are not added in batches")
	errNoWorker  = errors.New("bare rows have no worker")
)

func newPlainRow() library {
	return &bareRows{alone: insertRow, besides: func(context.Context, pgx.Tx, job) error { return nil },
		settings: "the floor: BEGIN, one INSERT into a table of the application, COMMIT, by pgx"}
}

func newBareTask() library {
	return &bareRows{alone: insertTask, besides: insertTask,
		settings: "the floor of strunk's table: the same with its row of a task, and no function"}
}

func newBareEvent() library {
	return &bareRows{alone: insertEvent, settings: "the floor of strunk's tables: the snapshot and the event by two " +
		"bare statements in one message, without what puts them in order"}
}

func (r *bareRows) describe() (module, settings string) { return "github.com/jackc/pgx/v5", r.settings }

func (*bareRows) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return outbox.Migrate(ctx, pool, outbox.MigrateConfig{})
}

func (r *bareRows) open(_ context.Context, pool *pgxpool.Pool) error {
	r.pool = pool
	return nil
}

func (r *bareRows) addOne(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error { return r.alone(ctx, tx, j) })
}

func (r *bareRows) addIn(ctx context.Context, tx pgx.Tx, j job) error { return r.besides(ctx, tx, j) }
func (*bareRows) addMany(context.Context, []job) error                { return errNoBatches }

func (*bareRows) work(context.Context, manner, func(job)) (worker, error) {
	return worker{}, errNoWorker
}

func insertTask(ctx context.Context, tx pgx.Tx, j job) error {
	doc, err := json.Marshal(j)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO public.strunk_outbox_tasks (id, seq, created_at, status, kind, key, payload)
		VALUES (nextval('public.strunk_outbox_id_seq'), currval('public.strunk_outbox_id_seq'), clock_timestamp(),
			'pending', 'task', 'bench', $1)`, string(doc))
	return err
}

func insertEvent(ctx context.Context, tx pgx.Tx, j job) error {
	doc, err := json.Marshal(j)
	if err != nil {
		return err
	}
	entity, state := strconv.Itoa(j.N), string(doc)
	var both pgx.Batch
	both.Queue(`INSERT INTO public.strunk_snapshots AS s (version, updated_at, deleted, entity_type, entity_id, state)
		VALUES (1, clock_timestamp(), false, 'state', $1, $2)
		ON CONFLICT (entity_type, entity_id) DO UPDATE SET version = s.version + 1, state = excluded.state`,
		entity, state)
	both.Queue(`INSERT INTO public.strunk_outbox_events (id, seq, version, created_at, status, kind, key, entity_id,
			payload)
		VALUES (nextval('public.strunk_outbox_id_seq'), nextval('public.strunk_events_seq'), 1, clock_timestamp(),
			'pending', 'event', 'state', $1, $2)`, entity, state)
	return tx.SendBatch(ctx, &both).Close()
}
