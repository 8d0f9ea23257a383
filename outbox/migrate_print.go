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

// MigrationSQL prints the steps from one version to another, up or down, as a script for psql. It
// makes the same database as Migrate and MigrateDown, and stops where the database is not at the
// version that a step begins from.
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
	return m.script(from, to), nil
}

// MigrationFiles prints all migrations as files for another tool: FormatPlain, FormatGoose or
// FormatTern. The tool's own record decides what is to be done; strunk's is kept beside it.
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

func (m *migrator) script(from, to int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- strunk: schema %q, from version %d to %d. For psql.\n\\set ON_ERROR_STOP on\n\n",
		m.names.schema, from, to)
	for v := from; v < to; v++ {
		m.printStep(&b, m.all[v], true)
	}
	for v := from; v > to; v-- {
		m.printStep(&b, m.all[v-1], false)
	}
	return b.String()
}

// printStep prints one step with what keeps it from running at the wrong time, and twice.
func (m *migrator) printStep(b *strings.Builder, step migration, up bool) {
	text, from, to := m.names.expand(step.down), step.version, step.version-1
	if up {
		text, from, to = m.names.expand(step.up), to, from
	}
	fmt.Fprintf(b, "-- %d to %d: %s\nBEGIN;\nSET LOCAL lock_timeout = %d;\n", from, to, step.name,
		migrationPatience.Milliseconds())
	fmt.Fprintf(b, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('strunk_migrations:%s', "+
		"0));\n", m.names.schema)
	if up && from == 0 {
		b.WriteString(m.beginning())
	}
	fmt.Fprintf(b, "%s\n%s%sCOMMIT;\n\n", m.guard(from), text, m.bookkeeping(step, up))
}

// beginning makes the schema and the record of versions.
func (m *migrator) beginning() string {
	return m.names.expand("CREATE SCHEMA IF NOT EXISTS {schema};\n" + sqlMigrationsTable + ";\n")
}

// guard stops a script where the schema is at another version.
func (m *migrator) guard(from int) string {
	return m.names.expand(fmt.Sprintf(`DO $strunk$ BEGIN
    IF (SELECT coalesce(pg_catalog.max(version), 0) FROM {schema}.strunk_migrations) <> %d
        THEN RAISE EXCEPTION 'strunk: the schema is not at version %[1]d';
    END IF;
END $strunk$;`, from))
}

// bookkeeping records a step, and brings the functions with the last one on the way up.
func (m *migrator) bookkeeping(step migration, up bool) string {
	text := ""
	switch {
	case up && step.version == len(m.all):
		text = m.functionScript() + fmt.Sprintf("INSERT INTO {schema}.strunk_migrations (version, "+
			"compatible_since, name, functions) VALUES (%d, %d, '%s', '%s');\n",
			step.version, step.compatibleSince, step.name, m.functions.hash)
	case up:
		text = fmt.Sprintf("INSERT INTO {schema}.strunk_migrations (version, compatible_since, name) VALUES (%d, "+
			"%d, '%s');\n",
			step.version, step.compatibleSince, step.name)
	case step.version == 1:
		text = "DROP TABLE {schema}.strunk_migrations;\n"
	default:
		text = fmt.Sprintf("DELETE FROM {schema}.strunk_migrations WHERE version = %d;\n"+
			"UPDATE {schema}.strunk_migrations SET functions = '' WHERE version = %d;\n", step.version, step.version-1)
	}
	return m.names.expand(text)
}

func (m *migrator) files(step migration, format SQLFormat) ([]MigrationFile, error) {
	up, down := m.names.expand(step.up)+m.bookkeeping(step, true), m.names.expand(step.down)+m.bookkeeping(step, false)
	if step.version == 1 {
		up = m.beginning() + up
	}
	name := fmt.Sprintf("%04d_strunk_%s", step.version, step.name)
	switch format {
	case FormatPlain:
		return []MigrationFile{{name + ".up.sql", up}, {name + ".down.sql", down}}, nil
	case FormatGoose:
		return []MigrationFile{{name + ".sql", gooseFile(up, down)}}, nil
	case FormatTern:
		return []MigrationFile{{name + ".sql", up + "\n---- create above / drop below ----\n\n" + down}}, nil
	}
	return nil, fmt.Errorf("%q is no format for files; there are %s, %s and %s", format, FormatPlain, FormatGoose,
		FormatTern)
}

func gooseFile(up, down string) string {
	const begin, end = "-- +goose StatementBegin\n", "-- +goose StatementEnd\n"
	return "-- +goose Up\n" + begin + up + end + "\n-- +goose Down\n" + begin + down + end
}
