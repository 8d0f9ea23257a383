package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// PayloadDedup makes the dedup keys of a queue's tasks from their payloads: see [DedupByPayload].
type PayloadDedup struct {
	on     bool
	fields []string
	mode   DedupMode
}

// DedupByPayload is for [Config].Dedup. A task that is enqueued without a dedup key is given one made
// of its payload's JSON, or of the fields of it that are named, so that a second task with an equal
// payload is a duplicate of the first. The key is made before middleware changes the payload (encrypts
// it, say), and is the same in every release of strunk and on every platform: the order of the
// members, the way in which a number is written, and members that are null make no difference.
//
// Fields are named as in the JSON, on its top level. Name them where the type may gain others: a new
// field with a value makes another payload. What is enqueued by SQL or by a schedule has the dedup
// key that it is given there.
func DedupByPayload(fields ...string) PayloadDedup {
	return PayloadDedup{on: true, fields: slices.Sorted(slices.Values(fields)), mode: UntilDone}
}

// In sets the mode of the keys; without it UntilDone.
func (p PayloadDedup) In(mode DedupMode) PayloadDedup {
	p.mode = mode
	return p
}

// problems says what is wrong with a declaration for payloads of a type.
func (p PayloadDedup) problems(payload reflect.Type) (errs []error) {
	if !p.on {
		return nil
	}
	if p.mode == nil {
		errs = append(errs, errors.New("Dedup: the mode is nil"))
	} else if err := p.mode.dedupMode().err; err != nil {
		errs = append(errs, fmt.Errorf("Dedup: %w", err))
	}
	if len(slices.Compact(slices.Clone(p.fields))) < len(p.fields) {
		errs = append(errs, errors.New("Dedup: a field is named twice"))
	}
	known, fixed := jsonFields(payload)
	for _, name := range p.fields {
		if fixed && !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("Dedup: the JSON of %v has no field %q; it has %s", payload, name,
				strings.Join(known, ", ")))
		}
	}
	return errs
}

// checkDedup keeps what is wrong with Config.Dedup for payloads of a type.
func (d *definition) checkDedup(payload reflect.Type) {
	for _, err := range d.cfg.Dedup.problems(payload) {
		d.err = errors.Join(d.err, fmt.Errorf("strunk/queue: define %q: Config.%w: %w", clip(d.name), err, ErrInvalid))
	}
}

var marshalerType = reflect.TypeFor[json.Marshaler]()

// jsonFields are the names in a type's JSON; fixed is false where they are not known from the type.
func jsonFields(t reflect.Type) (names []string, fixed bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.Implements(marshalerType) || reflect.PointerTo(t).Implements(marshalerType) {
		return nil, false
	}
	for _, field := range reflect.VisibleFields(t) {
		tag := field.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-" || !field.IsExported() || field.Anonymous && name == "":
		case name == "":
			names = append(names, field.Name)
		default:
			names = append(names, name)
		}
	}
	return names, true
}

// prefix begins the keys of a declaration, and no others. It tells workers what a producer has declared.
func (p PayloadDedup) prefix() string { return payloadKeyPrefix + payloadDigest(p.fields, 8) + ":" }

const payloadKeyPrefix = "payload:"

// key is the dedup key of a payload.
func (p PayloadDedup) key(doc []byte) (string, error) {
	digest, err := digestOfPayload(doc, p.fields)
	if err != nil {
		return "", fmt.Errorf("Dedup: %w", err)
	}
	return p.prefix() + digest, nil
}

// declaration is what is compared between programs; empty for none.
func (p PayloadDedup) declaration() string {
	if !p.on {
		return ""
	}
	m := p.mode.dedupMode()
	of := "all fields"
	if len(p.fields) > 0 {
		of = "fields " + strings.Join(p.fields, ", ")
	}
	if m.name == "" {
		return of + ", until done"
	}
	return strings.TrimSuffix(fmt.Sprintf("%s, %s %v %v", of, m.name, m.window, m.most), " 0s")
}

// apply gives a task without a dedup key one of its payload.
func (p PayloadDedup) apply(item *Item) {
	if !p.on || p.mode == nil || item.err != nil || item.opts.dedupKey != nil {
		return
	}
	key, err := p.key(item.doc)
	item.opts.dedupKey, item.opts.dedupMode, item.err = &key, p.mode.dedupMode(), err
}

// sqlDeclareDedup notes what a worker of queue $1 declares ($2), and returns what was noted before
// where that is something else.
const sqlDeclareDedup = `SELECT coalesce({schema}.strunk_declare_dedup($1::text, $2::text), '')`

// dedupDeclaration compares what this program declares with what the last one declared, and stores that in before where
// it is something else.
func dedupDeclaration(host core.Host, def *definition, before *string) core.Statement {
	return core.Statement{SQL: host.SQL(sqlDeclareDedup), Args: []any{def.name, def.cfg.Dedup.declaration()},
		Scan: func(rows pgx.Rows) (err error) {
			*before, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
			return err
		}}
}

// warnOfDedup says that the last program has declared something else; before is empty where it has not.
func warnOfDedup(host core.Host, def *definition, before string) {
	if before != "" {
		host.Logger().Warn("strunk: this program declares another Config.Dedup than the last one that worked the "+
			"queue; while both run, equal payloads may be enqueued twice", "queue", def.name, "declared",
			def.cfg.Dedup.declaration(), "before", before)
	}
}

// watchDedup says once when a task comes whose producer has named other fields than this worker.
func watchDedup(host core.Host, def *definition, next work) work {
	if !def.cfg.Dedup.on {
		return next
	}
	prefix := def.cfg.Dedup.prefix()
	var once sync.Once
	return func(ctx context.Context, j *job) error {
		if strings.HasPrefix(j.dedupKey, payloadKeyPrefix) && !strings.HasPrefix(j.dedupKey, prefix) {
			once.Do(func() {
				host.Logger().Warn("strunk: a program that enqueues names other fields in Config.Dedup than this "+
					"worker; equal payloads of the two are no duplicates", "queue", def.name, "task", j.id,
					"declared", def.cfg.Dedup.declaration())
			})
		}
		return next(ctx, j)
	}
}
