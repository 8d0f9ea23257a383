package schema

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// topic announces that something was registered.
const topic = "schema"

const (
	// sqlLock locks subject $1 until the transaction ends.
	sqlLock = `SELECT {schema}.strunk_schema_lock($1::text)`
	// sqlRules reads how the versions of subject $1 are compared.
	sqlRules = `SELECT mode, strict FROM {schema}.strunk_schema_subjects WHERE subject = $1::text`
	// sqlVersions reads all versions of subject $1, oldest first.
	sqlVersions = `SELECT subject, version, document::text, registered_at FROM {schema}.strunk_schemas
		WHERE subject = $1::text ORDER BY parts`
	// sqlVersion reads version $2 of subject $1, the newest where it is null. The four numbers are written out so that
	// roles that only read need no function.
	sqlVersion = `SELECT subject, version, document::text, registered_at FROM {schema}.strunk_schemas
WHERE subject = $1::text AND ($2::text IS NULL
	OR parts = (pg_catalog.string_to_array($2::text, '.')::bigint[] OPERATOR(pg_catalog.||) '{0,0,0,0}'::bigint[])[1:4])
ORDER BY parts DESC LIMIT 1`
	// sqlPut adds a version; see strunk_schema_put.
	sqlPut = `SELECT {schema}.strunk_schema_put($1::text, $2::text, $3::text, $4::text, $5::boolean)`
	// sqlSubjects reads all subjects.
	sqlSubjects = `SELECT s.subject, s.mode, s.strict,
	(SELECT pg_catalog.array_agg(v.version ORDER BY v.parts) FROM {schema}.strunk_schemas v WHERE v.subject = s.subject)
FROM {schema}.strunk_schema_subjects s ORDER BY s.subject`
)

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

var errNoBox = errors.New("strunk/schema: the registry has no box: make it with schema.NewRegistry, from an open Box")

func (r *Registry) usable() error {
	if r == nil || r.host == nil {
		return errNoBox
	}
	return nil
}

// begin checks what can be checked without the database, and returns the document's text.
func (r *Registry) begin(subject, version string, document any) ([]byte, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	if err := core.CheckName(subject); err != nil {
		return nil, fmt.Errorf("%w: the subject's name %w", ErrInvalid, err)
	}
	if _, err := FileName(subject, version); err != nil {
		return nil, err
	}
	text, err := documentText(document)
	if err != nil {
		return nil, err
	}
	if _, err = Compile(text); err != nil && reflect.Indirect(reflect.ValueOf(document)).Kind() == reflect.Struct {
		err = fmt.Errorf("%w; where this %[2]T is a payload and no schema, register that of its type: "+
			"schema.MustFor[%[2]T]()", err, document)
	}
	return text, err
}

func documentText(document any) ([]byte, error) {
	switch text := document.(type) {
	case []byte:
		return text, nil
	case string:
		return []byte(text), nil
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("%w: the document cannot be written as JSON: %w", ErrInvalidSchema, err)
	}
	return text, nil
}

// register compares without a lock, which may take a while, and adds the version under the subject's lock if nothing
// has changed since; else it compares again.
func (r *Registry) register(ctx context.Context, subject string, next Revision, options []RegisterOption) error {
	for {
		seen, err := r.history(ctx, r.host.Pool(), subject, options)
		if err == nil {
			err = seen.check(next)
		}
		if err != nil {
			return err
		}
		if added, err := r.put(ctx, subject, next, seen, options); added || err != nil {
			return err
		}
	}
}

// put adds a version that was held to a history, and reports whether that history still was all there is.
func (r *Registry) put(ctx context.Context, subject string, next Revision, seen history,
	options []RegisterOption) (added bool, err error) {
	err = core.RetryConflicts(ctx, func() error {
		return pgx.BeginTxFunc(ctx, r.host.Pool(), core.PlainTx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, r.host.SQL(sqlLock), subject); err != nil {
				return err
			}
			now, err := r.history(ctx, tx, subject, options)
			if added = err == nil && now.equal(seen); !added {
				return err
			}
			_, err = tx.Exec(ctx, r.host.SQL(sqlPut), subject, next.Version, string(next.Document), now.mode,
				now.strict)
			return err
		})
	})
	if added && err == nil {
		r.host.Wake(topic)
	}
	return added, err
}

func (r *Registry) check(ctx context.Context, subject string, next Revision, options []RegisterOption) error {
	seen, err := r.history(ctx, r.host.Pool(), subject, options)
	if err != nil {
		return err
	}
	return seen.check(next)
}

// history is what a new version of a subject is held to: the versions before it, and the rules.
type history struct {
	rules
	revisions []Revision
}

func (r *Registry) history(ctx context.Context, db querier, subject string, options []RegisterOption) (h history,
	err error) {
	if h.rules, err = r.rules(ctx, db, subject, options); err != nil {
		return h, err
	}
	all, err := r.readFrom(ctx, db, sqlVersions, subject)
	for _, v := range all {
		h.revisions = append(h.revisions, Revision{v.Version, v.Document})
	}
	return h, err
}

// equal: versions never change, so their names tell.
func (h history) equal(other history) bool {
	return h.rules == other.rules && slices.EqualFunc(h.revisions, other.revisions,
		func(a, b Revision) bool { return a.Version == b.Version })
}

func (h history) check(next Revision) error {
	var asked []CheckOption
	if h.strict {
		asked = append(asked, Strict())
	}
	return CheckHistory(h.revisions, next, h.mode, asked...)
}

// rules are those of the subject, changed by the options.
func (r *Registry) rules(ctx context.Context, db querier, subject string, options []RegisterOption) (to rules,
	err error) {
	rows, err := db.Query(ctx, r.host.SQL(sqlRules), subject)
	if err != nil {
		return to, err
	}
	to, err = pgx.CollectOneRow(rows, func(row pgx.CollectableRow) (to rules, err error) {
		return to, row.Scan(&to.mode, &to.strict)
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return to, err
	}
	for _, option := range options {
		if option != nil {
			option.applyRegister(&to)
		}
	}
	to.mode = cmp.Or(to.mode, Backward)
	return to, to.mode.check()
}

func (r *Registry) read(ctx context.Context, sql string, args ...any) ([]Registered, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	return r.readFrom(ctx, r.host.Pool(), sql, args...)
}

func (r *Registry) readFrom(ctx context.Context, db querier, sql string, args ...any) ([]Registered, error) {
	rows, err := db.Query(ctx, r.host.SQL(sql), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (v Registered, err error) {
		var text string
		err = row.Scan(&v.Subject, &v.Version, &text, &v.RegisteredAt)
		v.Document = Document(text)
		return v, err
	})
}

func (r *Registry) subjects(ctx context.Context) ([]Subject, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	rows, err := r.host.Pool().Query(ctx, r.host.SQL(sqlSubjects))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Subject, err error) {
		return s, row.Scan(&s.Name, &s.Mode, &s.Strict, &s.Versions)
	})
}

// spare is how long a question waits for a connection of the pool before it takes one beside it.
const spare = 500 * time.Millisecond

// ask reads without relying on the pool: callers may hold all of its connections while they wait for the answer.
func (r *Registry) ask(ctx context.Context, sql string, args ...any) ([]Registered, error) {
	soon, cancel := context.WithTimeout(ctx, spare)
	conn, err := r.host.Pool().Acquire(soon)
	cancel()
	if err == nil {
		defer conn.Release()
		return r.readFrom(ctx, conn, sql, args...)
	}
	beside, err := r.host.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = beside.Close(context.WithoutCancel(ctx)) }() // nothing was written on it
	return r.readFrom(ctx, beside, sql, args...)
}
