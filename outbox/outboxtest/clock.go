package outboxtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox"
)

// Advance turns the clock of the box's schema ahead by d, which is more than zero, and wakes what runs on it: what is
// due within d, as delays, backoffs, schedules, holds and dedup periods, is due at once. Later calls add up. Leases are
// not measured by that clock, and stay. Rows that are there keep their times.
//
// Only strunk's own functions see the new time, and only in a database that New or Empty has made: anywhere else, and
// while a transaction of the test's has used strunk's tables and is open, Advance fails the test. [outbox.Check] says
// of such a database that its functions are different.
func Advance(t testing.TB, box *outbox.Box, d time.Duration) {
	t.Helper()
	if err := advance(t.Context(), box, d); err != nil {
		t.Fatalf("strunk/outboxtest: advance: %v", err)
	}
}

var (
	errNoBox       = errors.New("the box is nil")
	errNoTestsBase = errors.New("only the clock of a database that New or Empty has made can be turned")
)

// advancing orders those who prepare the clock of one schema.
var advancing sync.Mutex

func advance(ctx context.Context, box *outbox.Box, d time.Duration) error {
	if box == nil {
		return errNoBox
	}
	if d <= 0 {
		return fmt.Errorf("%v is not more than zero: a clock that goes back is no clock", d)
	}
	advancing.Lock()
	defer advancing.Unlock()
	host := core.BoxHost(box)
	conn, err := host.Pool().Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if !strings.HasPrefix(conn.Conn().Config().Database, pgserver.NamePrefix) {
		return errNoTestsBase
	}
	c := testClock{conn: conn.Conn(), host: host, schema: pgx.Identifier{host.Schema() + "_test_clock"}.Sanitize()}
	return c.advance(ctx, d)
}

// testClock is a schema in which the function clock_timestamp is ahead of the one of PostgreSQL. Functions that have it
// in front of pg_catalog in their search_path go by it.
type testClock struct {
	conn   *pgx.Conn
	host   core.Host
	schema string // quoted
}

const (
	// sqlClock makes the schema {clock}, if need be.
	sqlClock = `CREATE SCHEMA IF NOT EXISTS {clock};
CREATE TABLE IF NOT EXISTS {clock}.ahead (id integer PRIMARY KEY, span interval NOT NULL);
INSERT INTO {clock}.ahead VALUES (1, '0') ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION {clock}.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS 'SELECT clock_timestamp() + span FROM {clock}.ahead';
GRANT USAGE ON SCHEMA {clock} TO PUBLIC`
	// sqlFollow lists the statements that have strunk's functions, and the defaults of its tables, go by the
	// clock. Those that do so already are left out.
	sqlFollow = `SELECT pg_catalog.format('ALTER FUNCTION %s SET search_path = {clock}, pg_catalog, pg_temp',
	p.oid::regprocedure)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND p.proname LIKE 'strunk\_%' AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig)
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s ALTER %I SET DEFAULT {clock}.clock_timestamp()', a.attrelid::regclass,
	a.attname)
FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
JOIN pg_catalog.pg_class c ON c.oid = f.adrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname LIKE 'strunk\_%'
	AND pg_catalog.pg_get_expr(f.adbin, f.adrelid) = 'clock_timestamp()'`
	// sqlTurn adds $1 microseconds.
	sqlTurn = `UPDATE {clock}.ahead SET span = span + $1::bigint * interval '1 microsecond'`
	// sqlWorked lists the queues that have workers.
	sqlWorked = `SELECT DISTINCT queue FROM {schema}.strunk_workers`
)

func (c testClock) sql(text string) string { return strings.ReplaceAll(text, "{clock}", c.schema) }

func (c testClock) advance(ctx context.Context, d time.Duration) error {
	if _, err := c.conn.Exec(ctx, c.sql(sqlClock)); err != nil {
		return err
	}
	if err := c.follow(ctx); err != nil {
		return err
	}
	if _, err := c.conn.Exec(ctx, c.sql(sqlTurn), d.Microseconds()); err != nil {
		return err
	}
	return c.wake(ctx)
}

// follow has strunk go by the clock. Each statement is a transaction of its own: the locks of all, taken together,
// would be a deadlock with workers that run.
func (c testClock) follow(ctx context.Context) error {
	rows, err := c.conn.Query(ctx, c.sql(sqlFollow), c.host.Schema())
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, statement := range statements {
		if err == nil {
			_, err = c.conn.Exec(ctx, "SET LOCAL lock_timeout = '30s'; "+statement)
		}
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.LockNotAvailable {
		return fmt.Errorf("an open transaction uses strunk's tables; end it first: %w", err)
	}
	return err
}

// wake has everything that sleeps until some time look again.
func (c testClock) wake(ctx context.Context) error {
	rows, err := c.conn.Query(ctx, c.host.SQL(sqlWorked))
	if err != nil {
		return err
	}
	queues, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	topics := []string{core.TopicDue, core.TopicRelay, core.TopicSchedule}
	for _, queue := range queues {
		topics = append(topics, core.TopicQueue(queue), core.TopicControl(queue))
	}
	c.host.Wake(topics...)
	return nil
}
