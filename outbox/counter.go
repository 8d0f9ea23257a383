package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// countEvery is how often one process counts at most.
	countEvery = 15 * time.Second
	// countShare bounds the time that counting takes: one in countShare, of one connection.
	countShare = 50
	// countTimeout bounds one pass; PostgreSQL cancels it, and the numbers stay those of the pass before.
	countTimeout = 8 * time.Second
	// keepFailures is how long failed attempts are counted by their group.
	keepFailures = 30 * 24 * time.Hour
	// compactChunk bounds the rows that one compaction of the failures takes together.
	compactChunk = 20_000
	// keepCounters is how long counters are kept by the minute.
	keepCounters = 48 * time.Hour
	// countBound is up to where delivered tasks, and the events before one subscriber, are counted.
	countBound = 1_000_000
)

const (
	// sqlCountBegin takes the turn to count every $1 ms, within one in $2 of the time, for process $3.
	sqlCountBegin = `SELECT {schema}.strunk_count_begin($1::bigint, $2::integer, $3::text)`
	// sqlLimitCount makes PostgreSQL cancel what takes longer than $1 (milliseconds) in this transaction.
	sqlLimitCount = `SELECT pg_catalog.set_config('statement_timeout', $1, true)`
	// sqlCount counts everything up to the bound $1.
	sqlCount = `SELECT {schema}.strunk_count($1::bigint)`
	// sqlCompactFailures makes one row of up to $2 failures of a group in a minute, and forgets those older than $1 ms.
	sqlCompactFailures = `SELECT {schema}.strunk_compact_failures($1::bigint * interval '1 millisecond', $2::integer)`
	// sqlFoldCounters makes one row of up to $2 rows of counters of a minute, and forgets minutes older than $1 ms.
	sqlFoldCounters = `SELECT {schema}.strunk_fold_counters($1::bigint * interval '1 millisecond', $2::integer)`
	// sqlCountGaveUp notes that a pass was given up after $1 ms.
	sqlCountGaveUp = `SELECT {schema}.strunk_count_gave_up($1::bigint)`
)

// counter counts now and then what is too much to be counted for each question, and takes failures
// and counters together. It shares the reaper's connection: nothing that has to be quick waits for it.
type counter struct {
	box  *Box
	conn *control
}

func (c *counter) run(ctx context.Context) {
	for ctx.Err() == nil {
		mine, err := queryControl[bool](ctx, c.conn, c.box.sql(sqlCountBegin), countEvery.Milliseconds(), countShare,
			processName())
		if err == nil && mine {
			err = errors.Join(c.pass(ctx), c.compact(ctx), c.fold(ctx))
			if ctx.Err() == nil {
				c.box.loopRan(ctx, c.conn, string(LoopCounter), countEvery, err)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.box.cfg.Logger.Warn("strunk: counting failed; trying again", "error", err)
		}
		core.Sleep(ctx, countEvery)
	}
}

// compact keeps the failures few: see strunk_compact_failures.
func (c *counter) compact(ctx context.Context) error {
	return c.conn.autocommit(ctx, core.Statement{SQL: c.box.sql(sqlCompactFailures),
		Args: []any{keepFailures.Milliseconds(), compactChunk}})
}

// fold keeps the rows of counters few: see strunk_fold_counters.
func (c *counter) fold(ctx context.Context) error {
	return c.conn.autocommit(ctx, core.Statement{SQL: c.box.sql(sqlFoldCounters),
		Args: []any{keepCounters.Milliseconds(), compactChunk}})
}

// pass counts once. What it takes too long for is left to a pass much later.
func (c *counter) pass(ctx context.Context) error {
	began := time.Now()
	err := c.conn.use(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return core.OneMessage(ctx, conn,
			core.Statement{SQL: c.box.sql(sqlLimitCount), Args: []any{fmt.Sprint(countTimeout.Milliseconds())}},
			core.Statement{SQL: c.box.sql(sqlCount), Args: []any{countBound}})
	})
	if err != nil && ctx.Err() == nil {
		_, _ = queryControl[any](ctx, c.conn, c.box.sql(sqlCountGaveUp), time.Since(began).Milliseconds())
	}
	return err
}
