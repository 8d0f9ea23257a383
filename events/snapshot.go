package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

const (
	// sqlSnapshot reads the state of entity $2 of a type, under whichever of its names ($1) has the
	// newest version: where a previous one has the same, it is a stub. It locks nothing.
	sqlSnapshot = `SELECT entity_id, version, updated_at, coalesce(schema_version, ''), state
FROM (SELECT s.* FROM {schema}.strunk_snapshots s WHERE s.entity_type = ANY ($1::text[]) AND s.entity_id = $2
ORDER BY s.version DESC, s.deleted LIMIT 1) s
WHERE NOT deleted`
	// sqlSnapshots reads the next $3 states of a type, bounded by $4 bytes, under its names $1,
	// after id $2. It locks nothing.
	sqlSnapshots = `SELECT entity_id, version, updated_at, coalesce(schema_version, ''), state
FROM {schema}.strunk_live_snapshots($1::text[], $2::text, $3::integer, $4::bigint)`

	snapshotPage = 1000
)

type snapshotRow struct {
	EntityID      string
	Version       int64
	UpdatedAt     time.Time
	SchemaVersion string
	State         []byte
}

func typedSnapshot[T any](entityType string, row snapshotRow) (snap Snapshot[T], err error) {
	snap = Snapshot[T]{EntityID: row.EntityID, Version: row.Version, SchemaVersion: row.SchemaVersion,
		UpdatedAt: row.UpdatedAt}
	if err := decode(row.State, &snap.State); err != nil {
		return snap, fmt.Errorf("strunk/events: snapshot: %q %q: %w", entityType, row.EntityID, err)
	}
	return snap, nil
}

func snapshot[T any](ctx context.Context, box *outbox.Box, def *definition, entityID string) (none Snapshot[T],
	err error) {
	if err := checkUse(box, def, "snapshot"); err != nil {
		return none, err
	}
	host := core.BoxHost(box)
	rows, err := host.Pool().Query(ctx, host.SQL(sqlSnapshot), def.names(), entityID)
	if err != nil {
		return none, fmt.Errorf("strunk/events: snapshot: %w", err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[snapshotRow])
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return none, fmt.Errorf("strunk/events: snapshot: %q %q: %w", def.entityType, clip(entityID), err)
	}
	return typedSnapshot[T](def.entityType, row)
}

func snapshots[T any](ctx context.Context, box *outbox.Box, def *definition) iter.Seq2[Snapshot[T], error] {
	return func(yield func(Snapshot[T], error) bool) {
		if err := checkUse(box, def, "snapshots"); err != nil {
			yield(Snapshot[T]{}, err)
			return
		}
		for after := ""; ; {
			page, err := snapshotsAfter(ctx, core.BoxHost(box), def, after)
			if err != nil {
				yield(Snapshot[T]{}, fmt.Errorf("strunk/events: snapshots: %w", err))
				return
			}
			for _, row := range page {
				snap, err := typedSnapshot[T](def.entityType, row)
				if !yield(snap, err) || err != nil {
					return
				}
				after = row.EntityID
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func snapshotsAfter(ctx context.Context, host core.Host, def *definition, after string) ([]snapshotRow, error) {
	rows, err := host.Pool().Query(ctx, host.SQL(sqlSnapshots), def.names(), after, snapshotPage, maxReadBytes)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[snapshotRow])
}

func checkUse(box *outbox.Box, def *definition, what string) error {
	if def.err != nil {
		return def.err
	}
	if box == nil {
		return fmt.Errorf("strunk/events: %s: the box is nil: %w", what, ErrInvalid)
	}
	return nil
}

func decode(doc []byte, into any) error {
	if doc == nil {
		return nil
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return fmt.Errorf("%w into %s: %w", ErrPoison, strings.TrimPrefix(fmt.Sprintf("%T", into), "*"), err)
	}
	return nil
}
