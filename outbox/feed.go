package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// DefaultEventRetention is how long events are kept in the feed.
const DefaultEventRetention = 7 * 24 * time.Hour

const (
	// sqlRaiseFloor raises the floor of the feed: retention $1 and lag cap $2 (null: none) in milliseconds.
	sqlRaiseFloor = `SELECT partition_name, marked FROM {schema}.strunk_raise_floor($1::bigint, $2::bigint)`
	// sqlPendingDetach names the partitions of the feed whose detaching was begun and not ended.
	sqlPendingDetach = `SELECT c.relname::text FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid
		= i.inhrelid
WHERE i.inhparent = '{schema}.strunk_outbox_delivered_events'::pg_catalog.regclass AND i.inhdetachpending`
	// sqlAttached tells whether a partition ($1) is part of the feed.
	sqlAttached = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c
		ON c.oid = i.inhrelid
WHERE i.inhparent = '{schema}.strunk_outbox_delivered_events'::pg_catalog.regclass AND c.relname = $1)`
	// sqlForgetPartition drops a detached partition ($1).
	sqlForgetPartition = `SELECT {schema}.strunk_forget_feed_partition($1::text)`
)

// feedKeeper makes the feed's partitions ahead and drops those past retention.
type feedKeeper struct {
	box         *Box
	maintenance *control
}

// keep does one round: partitions ahead, then retention. The floor is raised first, whatever keeps the
// partitions below it. A partition is dropped in two steps, so that one open report does not stop every
// insert into the feed: it is detached concurrently, in a statement of its own, and then dropped.
func (k *feedKeeper) keep(ctx context.Context) error {
	if err := k.maintenance.autocommit(ctx, core.Statement{SQL: k.box.sql(sqlEnsureFeed)}); err != nil {
		return fmt.Errorf("strunk/outbox: partitions of the feed: %w", err)
	}
	partitions, err := k.raiseFloor(ctx)
	if err == nil {
		err = k.finalize(ctx)
	}
	if err != nil {
		return fmt.Errorf("strunk/outbox: retention of events: %w", err)
	}
	for _, partition := range partitions {
		if err := k.drop(ctx, partition); err != nil {
			return fmt.Errorf("strunk/outbox: retention of events: partition %s: %w", partition, err)
		}
	}
	return nil
}

func (k *feedKeeper) raiseFloor(ctx context.Context) (partitions []string, err error) {
	var lagCap *int64
	if d := k.box.cfg.EventLagCap; d > 0 {
		ms := d.Milliseconds()
		lagCap = &ms
	}
	var marked []string
	err = k.maintenance.autocommit(ctx, core.Statement{SQL: k.box.sql(sqlRaiseFloor),
		Args: []any{k.box.cfg.EventRetention.Milliseconds(), lagCap},
		Scan: func(rows pgx.Rows) error {
			partitions, marked = nil, nil
			var partition, subscriber *string
			_, err := pgx.ForEachRow(rows, []any{&partition, &subscriber}, func() error {
				if partition != nil {
					partitions = append(partitions, *partition)
				} else {
					marked = append(marked, *subscriber)
				}
				return nil
			})
			return err
		}})
	for _, name := range marked {
		k.box.cfg.Logger.Error("strunk: a subscriber was further behind than EventLagCap allows: events that it "+
			"has not had are dropped, and it stops until it is replayed or reset",
			"subscriber", name, "lag_cap", k.box.cfg.EventLagCap)
	}
	return partitions, err
}

// finalize ends what a detaching that was cut off has begun.
func (k *feedKeeper) finalize(ctx context.Context) error {
	return k.maintenance.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, k.box.sql(sqlPendingDetach))
		if err != nil {
			return err
		}
		partitions, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, partition := range partitions {
			if err := k.alter(ctx, conn, partition, "FINALIZE"); err != nil {
				return err
			}
		}
		return err
	})
}

func (k *feedKeeper) drop(ctx context.Context, partition string) error {
	return k.maintenance.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var attached bool
		if err := conn.QueryRow(ctx, k.box.sql(sqlAttached), partition).Scan(&attached); err != nil {
			return err
		}
		if attached {
			if err := k.alter(ctx, conn, partition, "CONCURRENTLY"); err != nil {
				return err
			}
		}
		return inTheWay(core.OneMessage(ctx, conn, core.Statement{SQL: k.box.sql(sqlForgetPartition),
			Args: []any{partition}}))
	})
}

// alter detaches a partition.
func (k *feedKeeper) alter(ctx context.Context, conn *pgx.Conn, partition, how string) error {
	return patiently(ctx, conn, k.box.sql(`ALTER TABLE {schema}.strunk_outbox_delivered_events DETACH PARTITION
		{schema}.`)+quote(partition)+" "+how)
}
