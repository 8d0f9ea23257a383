package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlPublishRenamed is sqlPublish for entity types $9 with previous names $8; see
	// strunk_publish_renamed for what it locks.
	sqlPublishRenamed = `SELECT ord, id, version FROM {schema}.strunk_publish_renamed($8::text[], $9::text[],
		$1::text[], $2::text[], $3::text[], $4::text[],
$5::text[], $6::text[], $7::boolean)`
	// sqlAdopt moves up to $3 snapshots from the previous name $1 to the name $2; see
	// strunk_adopt_snapshots for what it locks.
	sqlAdopt = `SELECT {schema}.strunk_adopt_snapshots($1::text, $2::text, $3::integer)`

	// adoptChunk bounds the snapshots of one transaction.
	adoptChunk = 500
)

// errOutdated ends a subscriber of a process that knows its entity type by a previous name alone.
var errOutdated = errors.New("its entity type was renamed")

// previousNames are the previous names of the entity type; never nil, which would be SQL's NULL.
func (d *definition) previousNames() []string { return append([]string{}, d.cfg.Aliases...) }

// names are the entity type and its previous names.
func (d *definition) names() []string { return append([]string{d.entityType}, d.cfg.Aliases...) }

// topics announce the events of the stream.
func (d *definition) topics() []string {
	topics := d.names()
	for i, name := range topics {
		topics[i] = core.TopicFeed(name)
	}
	return topics
}

// PreviousNames implements core.Renamed.
func (s *subscriber) PreviousNames() (kind, name string, previous []string) {
	return "entity type", s.def.entityType, s.def.cfg.Aliases
}

// aliasPairs lists the previous names of renamed types, each with the name now, in the order in
// which every process locks them, whichever of the names it knows: by the oldest, and from the
// oldest on.
func aliasPairs(renamed []*definition) (aliases, names []string) {
	slices.SortFunc(renamed, func(a, b *definition) int { return strings.Compare(a.cfg.Aliases[0], b.cfg.Aliases[0]) })
	for _, def := range renamed {
		for _, alias := range def.cfg.Aliases {
			if !slices.Contains(aliases, alias) { // a type may be defined twice
				aliases, names = append(aliases, alias), append(names, def.entityType)
			}
		}
	}
	return aliases, names
}

// AdoptSnapshots ends the renaming of an entity type: it gives what was last published under the
// previous name to the name, where that is the newer version, and removes the previous name's
// snapshots. Call it when no process publishes under the previous name any more, before
// Config.Aliases forgets it; and once again after that, for the stubs that publishes have left in
// between. It returns how many entities it has moved; those that were moved before an error stay
// moved.
func AdoptSnapshots(ctx context.Context, box *outbox.Box, previous, entityType string) (moved int64, err error) {
	fail := func(err error) error {
		return fmt.Errorf("strunk/events: adopt snapshots: from %q to %q: %w", clip(previous), clip(entityType), err)
	}
	err = errors.Join(core.CheckName(previous), core.CheckName(entityType))
	switch {
	case err != nil:
		return 0, fail(fmt.Errorf("the name %w: %w", err, ErrInvalid))
	case previous == entityType:
		return 0, fail(fmt.Errorf("the names are one: %w", ErrInvalid))
	case box == nil:
		return 0, fail(fmt.Errorf("the box is nil: %w", ErrInvalid))
	}
	host := core.BoxHost(box)
	for {
		n, err := core.WriteValue[int64](ctx, host.Pool(), host.SQL(sqlAdopt), previous, entityType, adoptChunk)
		moved += n
		if err != nil {
			return moved, fail(err)
		}
		if n == 0 {
			return moved, nil
		}
	}
}
