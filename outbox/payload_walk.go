package outbox

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

const (
	// payloadPage is how many rows one statement of a walk reads.
	payloadPage = 500
	// payloadPageBytes ends a page early, so that large payloads do not fill the memory.
	payloadPageBytes = 16 << 20
)

// payloadColumns are those of a core.StoredPayload, in its order.
const payloadColumns = `SELECT id, seq, coalesce(position, 0), coalesce(version, 0), created_at, attempts::integer,
	max_attempts::integer, kind, status, key, coalesce(entity_id, ''), coalesce(schema_version, ''), payload, metadata
`

// The places where payloads are stored. Each statement reads the next $3 rows of name $1 after $2 and locks nothing.
const (
	sqlHotTasks = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'task' AND status IN ('scheduled', 'pending', 'claimed') AND key = $1::text AND id > $2::bigint
ORDER BY id LIMIT $3::integer`
	sqlDeadTasks = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'task' AND status = 'dead' AND key = $1::text AND id < $2::bigint
ORDER BY id DESC LIMIT $3::integer`
	sqlHotDeliveries = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'delivery' AND status IN ('scheduled', 'pending', 'claimed') AND key = $1::text AND id > $2::bigint
ORDER BY id LIMIT $3::integer`
	sqlDeadDeliveries = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'delivery' AND status = 'dead' AND key = $1::text AND id < $2::bigint
ORDER BY id DESC LIMIT $3::integer`
	sqlNewEvents = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'event' AND status IN ('scheduled', 'pending', 'claimed') AND key = $1::text AND seq < $2::bigint
ORDER BY seq DESC LIMIT $3::integer`
	sqlFeedEvents = payloadColumns + `FROM {schema}.strunk_outbox
WHERE kind = 'event' AND status = 'delivered' AND key = $1::text AND position < $2::bigint
ORDER BY position DESC LIMIT $3::integer`
)

// payloadPlace is one place and how it is walked.
type payloadPlace struct {
	sql   string
	start int64
	mark  func(core.StoredPayload) int64
}

func byID(p core.StoredPayload) int64       { return p.ID }
func bySeq(p core.StoredPayload) int64      { return p.Seq }
func byPosition(p core.StoredPayload) int64 { return p.Position }

var (
	taskPlaces  = []payloadPlace{{sqlHotTasks, 0, byID}, {sqlDeadTasks, math.MaxInt64, byID}}
	eventPlaces = []payloadPlace{
		{sqlHotDeliveries, 0, byID}, {sqlDeadDeliveries, math.MaxInt64, byID},
		{sqlNewEvents, math.MaxInt64, bySeq}, {sqlFeedEvents, math.MaxInt64, byPosition},
	}
)

// payloadWalk decodes stored payloads and keeps the report.
type payloadWalk struct {
	host   core.Host
	limit  int
	report PayloadReport
}

// all walks every place of every name of the declarations.
func (w *payloadWalk) all(ctx context.Context, decoders []core.PayloadDecoder) error {
	for _, d := range decoders {
		places := eventPlaces
		if d.Tasks {
			places = taskPlaces
		}
		for _, name := range d.Names {
			for _, place := range places {
				if err := w.place(ctx, d, name, place); err != nil {
					return fmt.Errorf("strunk/outbox: check payloads: %q: %w", name, err)
				}
			}
		}
	}
	return nil
}

// place walks one place of one name, page by page.
func (w *payloadWalk) place(ctx context.Context, d core.PayloadDecoder, name string, place payloadPlace) error {
	for left, mark := w.limit, place.start; ; {
		// One row more than is decoded tells whether the place has more.
		page, err := w.page(ctx, place.sql, name, mark, min(payloadPage, left+1))
		if err != nil || len(page) == 0 {
			return err
		}
		for _, stored := range page {
			if left == 0 {
				w.report.Complete = false
				return nil
			}
			left--
			w.check(ctx, d, stored)
			mark = place.mark(stored)
		}
	}
}

// page reads the next rows of a place, at least one where there is one.
func (w *payloadWalk) page(ctx context.Context, sql, name string, mark int64, limit int) ([]core.StoredPayload, error) {
	rows, err := w.host.Pool().Query(ctx, w.host.SQL(sql), name, mark, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []core.StoredPayload
	for bytes := 0; bytes < payloadPageBytes && rows.Next(); {
		stored, err := pgx.RowToStructByPos[core.StoredPayload](rows)
		if err != nil {
			return nil, err
		}
		page = append(page, stored)
		bytes += len(stored.Payload) + len(stored.Metadata)
	}
	rows.Close()
	return page, rows.Err()
}

// check decodes one payload and keeps what is wrong with it.
func (w *payloadWalk) check(ctx context.Context, d core.PayloadDecoder, p core.StoredPayload) {
	w.report.Checked++
	err := decodeStored(ctx, w.host, d, p)
	if err == nil {
		return
	}
	w.report.Poisoned++
	if len(w.report.Poison) < MaxPoisonListed {
		w.report.Poison = append(w.report.Poison, PoisonPayload{ID: p.ID, Kind: p.Kind, Name: p.Key, Status: p.Status,
			EntityID: p.EntityID, SchemaVersion: p.SchemaVersion, Err: err})
	}
}

// decodeStored turns a panic of a payload's own code into an error.
func decodeStored(ctx context.Context, host core.Host, d core.PayloadDecoder, p core.StoredPayload) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return d.Decode(ctx, host, p)
}
