package queuetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// table is a table whose rows are compared.
type table struct {
	name    string
	columns string // those to compare; empty for those that the database does not fill
}

// newTable reads "name" or "name (column, column)".
func newTable(text string) (table, error) {
	name, columns, listed := strings.Cut(strings.TrimSpace(text), "(")
	t := table{name: strings.TrimSpace(name)}
	if listed {
		inner, rest, closed := strings.Cut(columns, ")")
		if t.columns = strings.TrimSpace(inner); !closed || t.columns == "" || strings.TrimSpace(rest) != "" {
			return t, fmt.Errorf("table %q: name columns as in \"orders (id, status)\"", text)
		}
	}
	if t.name == "" {
		return t, fmt.Errorf("table %q has no name", text)
	}
	return t, nil
}

// sqlColumns names the columns of table $1 that are not filled by the database: those that are no identity, and whose
// default calls no function. Null where there are none, or no such table.
const sqlColumns = `SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
	AND regexp_replace(coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
		'''([^'']|'''')*''|::[a-z ]+(\([0-9,]+\))?', '', 'g') !~ '[[:alnum:]_"]\(|CURRENT_|LOCALTIME'`

// read returns the rows of the table.
func (t table) read(ctx context.Context, pool *pgxpool.Pool) (contents, error) {
	c := contents{table: t.name}
	columns := &t.columns
	if t.columns == "" {
		if err := pool.QueryRow(ctx, sqlColumns, t.name).Scan(&columns); err != nil {
			return c, fmt.Errorf("table %q: %w", t.name, err)
		}
		if columns == nil {
			return c, fmt.Errorf("there is no table %q in the search_path that has columns to compare", t.name)
		}
	}
	rows, err := pool.Query(ctx, `SELECT row_to_json(r)::text FROM (SELECT `+*columns+` FROM `+t.name+`) r`)
	if err == nil {
		c.rows, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return c, fmt.Errorf("table %q: %w", t.name, err)
	}
	slices.Sort(c.rows)
	return c, nil
}

// contents are the rows of a table, each as its JSON, sorted.
type contents struct {
	table string
	rows  []string
}

// maxRows bounds the rows of a table in an error.
const maxRows = 20

// differences says which rows the other contents lack and which they have besides; empty for none.
func (c contents) differences(other contents) string {
	var lines []string
	i, j := 0, 0
	for i < len(c.rows) || j < len(other.rows) {
		switch {
		case i < len(c.rows) && j < len(other.rows) && c.rows[i] == other.rows[j]:
			i, j = i+1, j+1
		case j == len(other.rows) || i < len(c.rows) && c.rows[i] < other.rows[j]:
			lines = append(lines, "  - "+short(c.rows[i]))
			i++
		default:
			lines = append(lines, "  + "+short(other.rows[j]))
			j++
		}
	}
	if len(lines) == 0 {
		return ""
	}
	more := ""
	if left := len(lines) - maxRows; left > 0 {
		lines, more = lines[:maxRows], fmt.Sprintf("  and %d more\n", left)
	}
	return fmt.Sprintf("table %s\n%s\n%s", c.table, strings.Join(lines, "\n"), more)
}
