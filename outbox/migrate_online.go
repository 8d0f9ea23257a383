package outbox

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// indexStatement is CREATE INDEX CONCURRENTLY as an online migration writes it, on one line.
var indexStatement = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX CONCURRENTLY (strunk_\w+) ON \{schema\}\.(strunk_\w+) (.+)$`)

// onlineStatement is one statement of an online migration: plain SQL, or an index that is built without blocking writers,
// on a partitioned table leaf by leaf.
type onlineStatement struct {
	text                      string
	index, table, unique, def string // of an index: "" otherwise; def is what follows the table
}

// splitOnline reads an online migration: statements end with a semicolon at the end of a line. They must bear being run
// again, for a migration that was cut off begins anew; of an index, what is left of a failed attempt is dropped first.
func splitOnline(script string) (all []onlineStatement) {
	var text strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "--") {
			continue
		}
		text.WriteString(line)
		statement, ended := strings.CutSuffix(strings.TrimSpace(text.String()), ";")
		if !ended {
			continue
		}
		text.Reset()
		s := onlineStatement{text: statement}
		if m := indexStatement.FindStringSubmatch(statement); m != nil {
			s.unique, s.index, s.table, s.def = m[1], m[2], m[3], m[4]
		}
		all = append(all, s)
	}
	return all
}

// applyOnline runs an online migration to a version, unless the schema is there already, and records it. It has a
// connection of its own, whose end gives its lock free.
func (m *migrator) applyOnline(ctx context.Context, script string, to, from int, record func(pgx.Tx) error) error {
	conn, err := pgx.ConnectConfig(ctx, m.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if err := m.lockSession(ctx, conn); err != nil {
		return err
	}
	var at int
	if err := conn.QueryRow(ctx, m.names.expand(sqlVersion)).Scan(&at); err != nil {
		return err
	}
	if at != from {
		return nil // another process was quicker
	}
	for _, s := range splitOnline(script) {
		if err := m.runOnline(ctx, conn, s); err != nil {
			return err
		}
	}
	return pgx.BeginTxFunc(ctx, conn, core.PlainTx, record)
}

func (m *migrator) lockSession(ctx context.Context, conn *pgx.Conn) error {
	return m.untilLocked(ctx, func() error {
		var locked bool
		err := conn.QueryRow(ctx, sqlTryLockSession, m.names.schema).Scan(&locked)
		if err == nil && !locked {
			err = errLocked
		}
		return err
	})
}

func (m *migrator) runOnline(ctx context.Context, conn *pgx.Conn, s onlineStatement) error {
	if s.index == "" {
		_, err := conn.Exec(ctx, m.names.expand(s.text))
		return err
	}
	return m.buildIndex(ctx, conn, s, s.table, s.index)
}

// sqlKind tells how a table ($2 in schema $1) is kept: r plain, p partitioned.
const sqlKind = `SELECT c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2`

// buildIndex builds an index on a table, or on a partitioned one: an empty index on the whole, which new leaves take part
// in at once, then one on each leaf, concurrently, which is then attached. The whole's is valid when the last is.
func (m *migrator) buildIndex(ctx context.Context, conn *pgx.Conn, s onlineStatement, table, index string) error {
	var kind string
	if err := conn.QueryRow(ctx, sqlKind, m.names.schema, table).Scan(&kind); err != nil {
		return fmt.Errorf("index %s: table %s: %w", index, table, err)
	}
	if kind != "p" {
		return m.buildConcurrently(ctx, conn, s, table, index)
	}
	whole := fmt.Sprintf("CREATE %sINDEX IF NOT EXISTS %s ON ONLY {schema}.%s %s", s.unique, quote(index), quote(table), s.def)
	if err := m.execBriefly(ctx, conn, whole); err != nil {
		return err
	}
	parts, err := m.unattached(ctx, conn, table, index)
	if err != nil {
		return err
	}
	for _, part := range parts {
		name := partIndexName(part, s.index)
		if err := m.buildIndex(ctx, conn, s, part, name); err != nil {
			return err
		}
		if err := m.execBriefly(ctx, conn, fmt.Sprintf("ALTER INDEX {schema}.%s ATTACH PARTITION {schema}.%s", quote(index), quote(name))); err != nil {
			return err
		}
	}
	return nil
}

// partIndexName names an index on a part of a table: it must fit into PostgreSQL's limit beside the part's name.
func partIndexName(part, index string) string {
	sum := md5.Sum([]byte(index)) // as SQL can, where the migration is printed
	return part + "_" + hex.EncodeToString(sum[:])[:8]
}

// sqlUnattached lists the parts of a table ($2 in schema $1) that have no index attached to the index $3.
const sqlUnattached = `SELECT c.relname::text FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = $1 AND p.relname = $2 AND NOT i.inhdetachpending AND NOT EXISTS (
	SELECT 1 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_inherits xi ON xi.inhrelid = x.indexrelid
	JOIN pg_catalog.pg_class xp ON xp.oid = xi.inhparent
	WHERE x.indrelid = c.oid AND xp.relname = $3 AND xp.relnamespace = n.oid)
ORDER BY c.relname`

func (m *migrator) unattached(ctx context.Context, conn *pgx.Conn, table, index string) ([]string, error) {
	rows, err := conn.Query(ctx, sqlUnattached, m.names.schema, table, index)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// sqlInvalid tells whether an index ($2 in schema $1) is what a failed attempt has left.
const sqlInvalid = `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND NOT x.indisvalid)`

func (m *migrator) buildConcurrently(ctx context.Context, conn *pgx.Conn, s onlineStatement, table, index string) error {
	var invalid bool
	if err := conn.QueryRow(ctx, sqlInvalid, m.names.schema, index).Scan(&invalid); err != nil {
		return err
	}
	if invalid {
		if _, err := conn.Exec(ctx, m.names.expand("DROP INDEX CONCURRENTLY {schema}."+quote(index))); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, m.names.expand(fmt.Sprintf("CREATE %sINDEX CONCURRENTLY IF NOT EXISTS %s ON {schema}.%s %s",
		s.unique, quote(index), quote(table), s.def)))
	return err
}

// execBriefly runs a statement that needs a lock for a moment, and lets others pass while it is not to be had.
func (m *migrator) execBriefly(ctx context.Context, conn *pgx.Conn, text string) error {
	return m.untilLocked(ctx, func() error {
		return pgx.BeginTxFunc(ctx, conn, core.PlainTx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, migrationPatience.Milliseconds())); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, m.names.expand(text))
			return err
		})
	})
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
