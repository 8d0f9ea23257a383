package outbox

import (
	"fmt"
	"strings"
)

// SQLFormat is a tool that printed migrations are for.
type SQLFormat string

// The formats of printed migrations.
const (
	// FormatPsql is a script for psql, with transactions of its own.
	FormatPsql SQLFormat = "psql"
	// FormatPlain leaves transactions to the tool, as atlas and golang-migrate do, with a file for each direction.
	FormatPlain SQLFormat = "plain"
	// FormatGoose is for pressly/goose.
	FormatGoose SQLFormat = "goose"
	// FormatTern is for jackc/tern.
	FormatTern SQLFormat = "tern"
)

// MigrationFile is one file for another migration tool.
type MigrationFile struct{ Name, Text string }

// MigrationSQL prints the steps from one version to another, up or down, as a script for psql. It makes the same database
// as Migrate and MigrateDown, and stops where the database is not at the version that a step begins from.
func MigrationSQL(cfg MigrateConfig, from, to int) (string, error) {
	m, err := newMigrator(nil, cfg)
	if err != nil {
		return "", err
	}
	if err := m.checkTarget(from); err != nil {
		return "", err
	}
	if err := m.checkTarget(to); err != nil {
		return "", err
	}
	return m.script(from, to)
}

// MigrationFiles prints all migrations as files for another tool: FormatPlain, FormatGoose or FormatTern. The tool's own
// record decides what is to be done; strunk's is kept beside it.
func MigrationFiles(cfg MigrateConfig, format SQLFormat) ([]MigrationFile, error) {
	m, err := newMigrator(nil, cfg)
	if err != nil {
		return nil, err
	}
	var files []MigrationFile
	for _, step := range m.all {
		more, err := m.files(step, format)
		if err != nil {
			return nil, fmt.Errorf("strunk/outbox: print migrations: %04d %s: %w", step.version, step.name, err)
		}
		files = append(files, more...)
	}
	return files, nil
}

func (m *migrator) script(from, to int) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "-- strunk: schema %q, from version %d to %d. For psql.\n\\set ON_ERROR_STOP on\n\n", m.names.schema, from, to)
	for v := from; v < to; v++ {
		if err := m.printStep(&b, m.all[v], true); err != nil {
			return "", err
		}
	}
	for v := from; v > to; v-- {
		if err := m.printStep(&b, m.all[v-1], false); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// printStep prints one step with what keeps it from running at the wrong time, and twice.
func (m *migrator) printStep(b *strings.Builder, step migration, up bool) error {
	text, from, to := step.up, step.version-1, step.version
	if !up {
		text, from, to = step.down, to, from
	}
	fmt.Fprintf(b, "-- %d to %d: %s\n", from, to, step.name)
	if online(text) {
		fmt.Fprintf(b, "%s\n", m.guard(from))
		if err := m.printOnline(b, text, FormatPsql); err != nil {
			return err
		}
		fmt.Fprintf(b, "BEGIN;\n%sCOMMIT;\n\n", m.bookkeeping(step, up))
		return nil
	}
	fmt.Fprintf(b, "BEGIN;\nSET LOCAL lock_timeout = %d;\n", migrationPatience.Milliseconds())
	fmt.Fprintf(b, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('strunk_migrations:%s', 0));\n", m.names.schema)
	if up && from == 0 {
		b.WriteString(m.beginning())
	}
	fmt.Fprintf(b, "%s\n%s%sCOMMIT;\n\n", m.guard(from), m.names.expand(text), m.bookkeeping(step, up))
	return nil
}

// beginning makes the schema and the record of versions.
func (m *migrator) beginning() string {
	return m.names.expand("CREATE SCHEMA IF NOT EXISTS {schema};\n" + sqlMigrationsTable + ";\n")
}

// guard stops a script where the schema is at another version.
func (m *migrator) guard(from int) string {
	return m.names.expand(fmt.Sprintf(`DO $strunk$ BEGIN
    IF (SELECT coalesce(pg_catalog.max(version), 0) FROM {schema}.strunk_migrations) <> %d THEN
        RAISE EXCEPTION 'strunk: the schema is not at version %[1]d';
    END IF;
END $strunk$;`, from))
}

func (m *migrator) bookkeeping(step migration, up bool) string {
	switch {
	case up:
		return m.names.expand(fmt.Sprintf("INSERT INTO {schema}.strunk_migrations (version, name) VALUES (%d, '%s');\n%s;\n", step.version, step.name, sqlNoPublic))
	case step.version == 1:
		return m.names.expand("DROP TABLE {schema}.strunk_migrations;\n")
	}
	return m.names.expand(fmt.Sprintf("DELETE FROM {schema}.strunk_migrations WHERE version = %d;\n", step.version))
}

func (m *migrator) files(step migration, format SQLFormat) ([]MigrationFile, error) {
	up, err := m.body(step, step.up, true, format)
	if err != nil {
		return nil, err
	}
	down, err := m.body(step, step.down, false, format)
	if err != nil {
		return nil, err
	}
	outside := online(step.up) || online(step.down)
	name := fmt.Sprintf("%04d_strunk_%s", step.version, step.name)
	switch format {
	case FormatPlain:
		return []MigrationFile{{name + ".up.sql", plainHeader(online(step.up)) + up}, {name + ".down.sql", plainHeader(online(step.down)) + down}}, nil
	case FormatGoose:
		return []MigrationFile{{name + ".sql", gooseFile(up, down, outside)}}, nil
	case FormatTern:
		return []MigrationFile{{name + ".sql", ternFile(up, down, outside)}}, nil
	}
	return nil, fmt.Errorf("%q is no format for files; there are %s, %s and %s", format, FormatPlain, FormatGoose, FormatTern)
}

// body is a step without the frame of a tool.
func (m *migrator) body(step migration, text string, up bool, format SQLFormat) (string, error) {
	var b strings.Builder
	if up && step.version == 1 {
		b.WriteString(m.beginning())
	}
	if online(text) {
		if err := m.printOnline(&b, text, format); err != nil {
			return "", err
		}
	} else {
		b.WriteString(m.names.expand(text))
	}
	b.WriteString(m.bookkeeping(step, up))
	return b.String(), nil
}

func plainHeader(outside bool) string {
	if outside {
		return "-- atlas:txmode none\n"
	}
	return ""
}

func gooseFile(up, down string, outside bool) string {
	head := ""
	if outside {
		head = "-- +goose NO TRANSACTION\n"
	}
	return head + "-- +goose Up\n-- +goose StatementBegin\n" + up + "-- +goose StatementEnd\n\n-- +goose Down\n-- +goose StatementBegin\n" + down + "-- +goose StatementEnd\n"
}

func ternFile(up, down string, outside bool) string {
	head := ""
	if outside {
		head = "---- tern: disable-tx ----\n"
	}
	return head + up + "\n---- create above / drop below ----\n\n" + down
}

// printOnline prints the statements of an online migration. What an index of a partitioned table takes is known only where
// the leaves are: psql makes the statements on the spot.
func (m *migrator) printOnline(b *strings.Builder, text string, format SQLFormat) error {
	for _, s := range splitOnline(text) {
		switch {
		case s.index == "" || !partitionedTables[s.table]:
			fmt.Fprintf(b, "%s;\n", m.names.expand(s.text))
		case format != FormatPsql:
			return fmt.Errorf("index %s is built leaf by leaf, which takes psql (MigrationSQL) or Migrate", s.index)
		default:
			b.WriteString(m.names.expand(printPartitioned(s)))
		}
	}
	return nil
}

// partitionedTables are those whose indexes are built leaf by leaf. Their parts' parts are not: name the table above the
// leaves.
var partitionedTables = map[string]bool{"strunk_outbox_delivered_tasks": true, "strunk_outbox_delivered_events": true}

func printPartitioned(s onlineStatement) string {
	leaves := fmt.Sprintf(`FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = '{schema}.%s'::regclass AND NOT i.inhdetachpending ORDER BY c.relname \gexec
`, s.table)
	name := fmt.Sprintf("c.relname || '_' || pg_catalog.left(pg_catalog.md5('%s'), 8)", s.index)
	def := strings.ReplaceAll(strings.ReplaceAll(s.def, "'", "''"), "%", "%%")
	return fmt.Sprintf("CREATE %sINDEX IF NOT EXISTS %s ON ONLY {schema}.%s %s;\n", s.unique, s.index, s.table, s.def) +
		fmt.Sprintf("SELECT pg_catalog.format('CREATE %sINDEX CONCURRENTLY IF NOT EXISTS %%I ON {schema}.%%I %s', %s, c.relname)\n", s.unique, def, name) + leaves +
		fmt.Sprintf("SELECT pg_catalog.format('ALTER INDEX {schema}.%s ATTACH PARTITION {schema}.%%I', %s)\n", s.index, name) + leaves
}
