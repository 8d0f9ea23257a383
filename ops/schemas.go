package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Package ops reads the registry's tables itself: package schema would link two libraries into every service.

// SchemaSubject is what the registry of contracts (package schema) knows under one name.
type SchemaSubject struct {
	Subject string `json:"subject"`
	// Mode says how new versions are compared with those before, Strict whether open objects are taken at their word.
	Mode   string `json:"mode"`
	Strict bool   `json:"strict"`
	// Versions are oldest first.
	Versions []string `json:"versions"`
}

// SchemaVersion is one version of a contract.
type SchemaVersion struct {
	Subject      string    `json:"subject"`
	Version      string    `json:"version"`
	RegisteredAt time.Time `json:"registered_at"`
	// Document is the JSON Schema; nil in lists.
	Document json.RawMessage `json:"document,omitempty"`
}

const (
	// sqlSchemas reads at most $2 subjects after the name $1. It locks nothing.
	sqlSchemas = `SELECT s.subject, s.mode, s.strict, coalesce((SELECT pg_catalog.array_agg(v.version ORDER BY v.parts)
	FROM {schema}.strunk_schemas v WHERE v.subject = s.subject), '{}'::text[])
FROM {schema}.strunk_schema_subjects s WHERE s.subject > $1::text COLLATE "C" ORDER BY s.subject LIMIT $2::integer`
	// parts are a version's numbers, by which versions are ordered.
	parts = `(pg_catalog.string_to_array($2::text, '.')::bigint[] OPERATOR(pg_catalog.||) '{0,0,0,0}'::bigint[])[1:4]`
	// sqlSchemaVersions reads at most $3 versions of subject $1 after version $2 (null: all), oldest first. It locks
	// nothing.
	sqlSchemaVersions = `SELECT s.subject, s.version, s.registered_at, NULL::text FROM {schema}.strunk_schemas s
	WHERE s.subject = $1::text AND ($2::text IS NULL OR s.parts > ` + parts + `) ORDER BY s.parts LIMIT $3::integer`
	// sqlSchemaVersion reads version $2 of subject $1, the newest where it is null. It locks nothing.
	sqlSchemaVersion = `SELECT s.subject, s.version, s.registered_at, s.document::text FROM {schema}.strunk_schemas s
	WHERE s.subject = $1::text AND ($2::text IS NULL OR s.parts = ` + parts + `) ORDER BY s.parts DESC LIMIT 1`
	// sqlSchemaBefore reads the newest version of subject $1 that comes before version $2. It locks nothing.
	sqlSchemaBefore = `SELECT s.subject, s.version, s.registered_at, s.document::text FROM {schema}.strunk_schemas s
	WHERE s.subject = $1::text AND s.parts < ` + parts + ` ORDER BY s.parts DESC LIMIT 1`
)

// Schemas returns the subjects that have contracts, in the order of their names. Errors: [ErrInvalid].
func Schemas(ctx context.Context, box *outbox.Box, page Page) (all []SchemaSubject, err error) {
	return paged(ctx, box, "schemas", page, func(into *[]SchemaSubject, after string, limit int) question {
		return many(into, sqlSchemas, []any{after, limit}, scanSubject)
	})
}

func scanSubject(rows pgx.Rows) (s SchemaSubject, err error) {
	return s, rows.Scan(&s.Subject, &s.Mode, &s.Strict, &s.Versions)
}

// SchemaVersions returns the versions of a subject without their documents, oldest first; page.After is a version.
// Errors: [ErrNotFound], [ErrInvalid].
func SchemaVersions(ctx context.Context, box *outbox.Box, subject string, page Page) (all []SchemaVersion, err error) {
	n, err := limit(page.Limit)
	if err == nil {
		err = checkSchema(subject, page.After)
	}
	if err == nil {
		err = ask(ctx, box, many(&all, sqlSchemaVersions, []any{subject, orNull(page.After), n}, scanSchema))
	}
	if err == nil && len(all) == 0 && page.After == "" {
		err = noSchema(subject, "")
	}
	return all, wrap("schema versions", err)
}

// Schema returns one version of a subject, the newest where version is empty; 1 and 1.0 are the same. Errors:
// [ErrNotFound], [ErrInvalid].
func Schema(ctx context.Context, box *outbox.Box, subject, version string) (v SchemaVersion, err error) {
	if err = checkSchema(subject, version); err == nil {
		v, err = oneSchema(ctx, box, sqlSchemaVersion, subject, version)
	}
	return v, wrap("schema", err)
}

func oneSchema(ctx context.Context, box *outbox.Box, sql, subject, version string) (v SchemaVersion, err error) {
	var found []SchemaVersion
	err = ask(ctx, box, many(&found, sql, []any{subject, orNull(version)}, scanSchema))
	if err == nil && len(found) == 0 {
		err = noSchema(subject, version)
	}
	if err == nil {
		v = found[0]
	}
	return v, err
}

func scanSchema(rows pgx.Rows) (v SchemaVersion, err error) {
	var document *string
	err = rows.Scan(&v.Subject, &v.Version, &v.RegisteredAt, &document)
	if document != nil {
		v.Document = json.RawMessage(*document)
	}
	return v, err
}

// aVersion is what schema.ParseVersion reads.
var aVersion = regexp.MustCompile(`^(0|[1-9]\d{0,9})(\.(0|[1-9]\d{0,9})){0,3}$`)

func checkSchema(subject, version string) error {
	if err := core.CheckName(subject); err != nil {
		return fmt.Errorf("the subject %w: %w", err, ErrInvalid)
	}
	if version != "" && !aVersion.MatchString(version) {
		return fmt.Errorf("the version %q is not one to four numbers with dots between them, such as 1.0: %w",
			core.CleanText(version, 100), ErrInvalid)
	}
	return nil
}

func noSchema(subject, version string) error {
	if version == "" {
		return fmt.Errorf("subject %q has no versions: %w", subject, ErrNotFound)
	}
	return fmt.Errorf("subject %q has no version %s: %w", subject, version, ErrNotFound)
}
