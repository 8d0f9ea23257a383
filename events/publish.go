package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// sqlPublish adds states to the caller's transaction in one statement; see strunk_publish_many for what it locks.
const sqlPublish = `SELECT ord, id, version FROM {schema}.strunk_publish_many($1::text[], $2::text[],
	$3::text[], $4::text[],
$5::text[], $6::text[], $7::boolean)`

// Item is a state or a deletion to be published, made by [Stream.Item] or [Stream.Tombstone].
type Item struct {
	def      *definition
	entityID string
	state    []byte // nil is a tombstone
	opts     publishOptions
	err      error
}

func newItem[T any](s *Stream[T], state T, opts []PublishOption) Item {
	item := Item{def: s.definition(), opts: applyPublish(opts)}
	if item.def.err != nil {
		return item
	}
	item.entityID, item.err = idOf(s.id, state)
	if item.err != nil {
		return item
	}
	item.state, item.err = encode(item.def, state)
	return item
}

// idOf calls the stream's id function, which is the user's code.
func idOf[T any](id func(T) string, state T) (entityID string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the id function panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return id(state), nil
}

// encode checks a state as far as PostgreSQL would refuse it later.
func encode(def *definition, state any) ([]byte, error) {
	doc, err := json.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("the state cannot be written as JSON: %w", err)
	}
	if err := core.CheckJSON(doc, def.cfg.MaxState); err != nil {
		return nil, fmt.Errorf("the state %w", err)
	}
	return doc, core.CheckStrings(state, doc)
}

// params are the arrays of one statement: of full length, of length one where all items agree, or nil.
type params struct {
	types, ids, states, versions, metadata, diffs []*string
	renamed                                       []*definition // of the items, those with previous names
}

func (p *params) add(item Item, version string) error {
	meta, err := metadataJSON(item.opts.metadata)
	if err != nil {
		return err
	}
	if len(item.def.cfg.Aliases) > 0 && !slices.Contains(p.renamed, item.def) {
		p.renamed = append(p.renamed, item.def)
	}
	p.types = append(p.types, &item.def.entityType)
	p.ids = append(p.ids, &item.entityID)
	p.states = append(p.states, text(item.state))
	p.versions = append(p.versions, orNil(version))
	p.metadata = append(p.metadata, meta)
	p.diffs = append(p.diffs, text(item.opts.diff))
	return nil
}

func text(doc []byte) *string {
	if doc == nil {
		return nil
	}
	s := string(doc)
	return &s
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// shrink makes an array of equal values one of length one, which stands for all, and one of nothing but nils nil.
func shrink(items []*string) []*string {
	for _, item := range items {
		if (item == nil) != (items[0] == nil) || (item != nil && *item != *items[0]) {
			return items
		}
	}
	if len(items) == 0 || items[0] == nil {
		return nil
	}
	return items[:1]
}

func metadataJSON(m map[string]string) (*string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	doc, err := json.Marshal(m)
	if err == nil {
		err = core.CheckJSON(doc, DefaultMaxState)
	}
	if err != nil {
		return nil, fmt.Errorf("Metadata: the document %w", err)
	}
	return text(doc), core.CheckStrings(m, doc)
}

// check returns why an item cannot be published, and the schema version to keep with it.
func (item *Item) check(ctx context.Context) (version string, err error) {
	if item.def == nil {
		return "", errors.New("the zero Item is unusable: make it with Stream.Item")
	}
	if item.err != nil {
		return "", item.err
	}
	if err := core.CheckKey(item.entityID); err != nil {
		return "", fmt.Errorf("the entity's id %w", err)
	}
	if err := item.opts.check(item.def.cfg.MaxState); err != nil {
		return "", err
	}
	version = item.opts.schemaVersion
	if version == "" {
		version = item.def.cfg.SchemaVersion
	}
	if item.def.cfg.Validator == nil || item.state == nil {
		return version, nil
	}
	return item.def.cfg.Validator.Validate(ctx, item.def.entityType, version, item.state)
}

func publishOne(ctx context.Context, tx outbox.Tx, what string, item Item) (Published, error) {
	done, err := publish(ctx, tx, what, []Item{item})
	if err != nil {
		return Published{}, err
	}
	return done[0], nil
}

func publish(ctx context.Context, tx outbox.Tx, what string, items []Item) ([]Published, error) {
	t, err := usable(ctx, tx, what)
	if err != nil {
		return nil, err
	}
	var p params
	var problems []error
	inBox := core.WithHost(ctx, t.Host())
	for i := range items {
		if err := addItem(inBox, &p, &items[i]); err != nil {
			problems = append(problems, itemError(what, i, len(items), items[i], err))
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if len(items) == 0 {
		return nil, nil
	}
	return send(ctx, t, what, p)
}

// usable returns the transaction, or why nothing can be published in it.
func usable(ctx context.Context, tx outbox.Tx, what string) (core.Tx, error) {
	if tx == nil {
		return nil, fmt.Errorf("strunk/events: %s: %w: pass one from Box.InTx, Box.Begin, Box.Tx or Box.SQLTx", what,
			outbox.ErrInvalidTx)
	}
	t := core.TxOf(tx)
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("strunk/events: %s: %w", what, err)
	}
	if err := ctx.Err(); err != nil { // a driver may break a transaction whose context has ended
		return nil, fmt.Errorf("strunk/events: %s: nothing was sent: %w", what, err)
	}
	return t, nil
}

func addItem(ctx context.Context, p *params, item *Item) error {
	if item.def != nil && item.def.err != nil {
		return item.def.err
	}
	version, err := item.check(ctx)
	if err == nil {
		err = p.add(*item, version)
	}
	var unchecked *core.NotChecked
	if err != nil && !errors.Is(err, ErrInvalid) && !errors.As(err, &unchecked) {
		err = fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	return err
}

func itemError(what string, i, n int, item Item, err error) error {
	name := ""
	if item.def != nil {
		name = clip(item.def.entityType)
	}
	if n > 1 {
		what = fmt.Sprintf("%s: item %d of %d", what, i+1, n)
	}
	return fmt.Errorf("strunk/events: %s: %q %q: %w", what, name, clip(item.entityID), err)
}

func send(ctx context.Context, t core.Tx, what string, p params) ([]Published, error) {
	done := make([]Published, len(p.ids))
	inside := t.NotifyInside()
	args := []any{shrink(p.types), p.ids, p.states, shrink(p.versions), shrink(p.metadata), allNil(p.diffs), inside}
	sql := sqlPublish
	if len(p.renamed) > 0 {
		aliases, names := aliasPairs(p.renamed)
		sql, args = sqlPublishRenamed, append(args, aliases, names)
	}
	err := t.Query(ctx, t.Host().SQL(sql), args, func(rows core.Rows) error {
		for rows.Next() {
			var ord int
			var one Published
			if err := rows.Scan(&ord, &one.ID, &one.Version); err != nil {
				return err
			}
			one.EntityID = *p.ids[ord-1]
			done[ord-1] = one
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("strunk/events: %s: %w", what, err)
	}
	core.Announce(t, inside, core.TopicRelay)
	return done, nil
}

// allNil makes an array of nothing but nils nil.
func allNil(items []*string) []*string {
	for _, item := range items {
		if item != nil {
			return items
		}
	}
	return nil
}
