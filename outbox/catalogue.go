package outbox

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// catalogue is what a schema holds: object ("index strunk_outbox_tasks_id") to definition. Partitions
// stand together under the name of their table with a star: they come and go, and are alike.
type catalogue map[string][]string

// sqlCatalogue lists the objects of a schema ($1, quoted $2) that are strunk's or belong to its
// tables: kind, the table they belong to, the table's parent where it is a partition, name and
// definition. The search_path must hold the schema and nothing else, so that definitions name no
// schema; bodies of functions do, and are cleaned.
const sqlCatalogue = `WITH ours AS (
	SELECT c.oid, c.relname::text AS name, c.relkind, c.relpersistence, c.reloptions, c.relpartbound,
	c.relreplident AS replident,
		CASE WHEN pp.partstrat = 'r' THEN p.relname::text END AS whole
	FROM pg_catalog.pg_class c
	LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND c.relkind IN ('r', 'p')
	LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
	LEFT JOIN pg_catalog.pg_partitioned_table pp ON pp.partrelid = p.oid
	WHERE c.relnamespace = $1::pg_catalog.regnamespace AND pg_catalog.starts_with(c.relname::text, 'strunk_')
	AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
		AND NOT coalesce(i.inhdetachpending, false)
		AND NOT (i.inhrelid IS NULL AND c.relname ~ '^strunk_outbox_delivered_(tasks|events)_[0-9]+$'))
SELECT 'table' AS kind, o.name AS owner, o.whole, '' AS name,
	pg_catalog.concat_ws(' ', o.relkind::text, o.relpersistence::text, pg_catalog.pg_get_partkeydef(o.oid),
	(SELECT pg_catalog.string_agg(r, ',' ORDER BY r) FROM pg_catalog.unnest(o.reloptions) r),
		CASE WHEN o.whole IS NULL THEN pg_catalog.pg_get_expr(o.relpartbound, o.oid) END,
		CASE o.replident WHEN 'f' THEN 'REPLICA IDENTITY FULL' WHEN 'n' THEN 'REPLICA IDENTITY NOTHING' WHEN 'i'
		THEN 'REPLICA IDENTITY USING INDEX' END,
		CASE WHEN o.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(o.oid) END) AS def FROM ours o
UNION ALL
SELECT 'column', o.name, o.whole, a.attname::text, pg_catalog.concat_ws(' ', pg_catalog.format_type(a.atttypid,
a.atttypmod),
	(SELECT 'COLLATE ' || l.collname FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation AND l.collname
	<> 'default'),
	CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid))
FROM ours o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum WHERE o.relkind <> 'S'
UNION ALL
SELECT 'index', o.name, o.whole, c.relname::text, pg_catalog.pg_get_indexdef(x.indexrelid, 0, true) ||
CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
FROM ours o JOIN pg_catalog.pg_index x ON x.indrelid = o.oid JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
UNION ALL
SELECT 'constraint', o.name, o.whole, c.conname::text,
pg_catalog.pg_get_constraintdef(c.oid) || CASE WHEN c.convalidated THEN '' ELSE ' NOT VALID' END
FROM ours o JOIN pg_catalog.pg_constraint c ON c.conrelid = o.oid WHERE c.contype <> 'n'
UNION ALL
SELECT 'trigger', o.name, o.whole, t.tgname::text, t.tgenabled::text || ' ' || pg_catalog.pg_get_triggerdef(t.oid, true)
FROM ours o JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'sequence', o.name, NULL, '', pg_catalog.concat_ws(' ', pg_catalog.format_type(s.seqtypid, NULL),
s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
FROM ours o JOIN pg_catalog.pg_sequence s ON s.seqrelid = o.oid
UNION ALL
SELECT 'function', p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', NULL, '',
	pg_catalog.concat_ws(' ', pg_catalog.pg_get_function_arguments(p.oid), 'RETURNS',
	pg_catalog.pg_get_function_result(p.oid), l.lanname::text, p.provolatile::text, p.proparallel::text,
		p.proisstrict, p.prosecdef, pg_catalog.array_to_string(p.proconfig, ','), E'\n',
		pg_catalog.replace(p.prosrc, $2, '{schema}'))
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = $1::pg_catalog.regnamespace AND pg_catalog.starts_with(p.proname::text, 'strunk_')
UNION ALL
SELECT 'privilege', 'PUBLIC may execute ' || p.proname, NULL, '', ''
FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
WHERE p.pronamespace = $1::pg_catalog.regnamespace AND pg_catalog.starts_with(p.proname::text, 'strunk_')
AND a.grantee = 0`

// readCatalogue reads a schema within a transaction, whose search_path it changes.
func readCatalogue(ctx context.Context, tx pgx.Tx, schema string) (catalogue, error) {
	quoted := quote(schema)
	if _, err := tx.Exec(ctx, `SELECT pg_catalog.set_config('search_path', $1, true)`, quoted); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sqlCatalogue, quoted, quoted)
	if err != nil {
		return nil, err
	}
	found := catalogue{}
	var kind, owner, name, def string
	var whole *string
	_, err = pgx.ForEachRow(rows, []any{&kind, &owner, &whole, &name, &def}, func() error {
		found.add(kind, owner, whole, name, def)
		return nil
	})
	return found, err
}

// indexName is the name of an index in its definition.
var indexName = regexp.MustCompile(`INDEX \S+ ON`)

func (c catalogue) add(kind, owner string, whole *string, name, def string) {
	if whole != nil {
		star := *whole + "_*"
		name, def = strings.ReplaceAll(name, owner, star), strings.ReplaceAll(def, owner, star)
		if owner = star; kind == "index" || kind == "constraint" {
			name = indexName.ReplaceAllString(def, "INDEX ON") // what it is named depends on how it was made
			def = ""
		}
	}
	object := kind + " " + owner
	if name != "" {
		object += " " + name
	}
	if !slices.Contains(c[object], def) {
		c[object] = append(c[object], def)
	}
}
