package ops

import (
	"context"
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ReplayPreview says what a replay of a subscriber would do.
type ReplayPreview struct {
	Subscriber string `json:"subscriber"`
	// From is the first position that would be handled again, Cursor how far the subscriber is now.
	From   int64 `json:"from"`
	Cursor int64 `json:"cursor"`
	// Head and Earliest are the last and the first position that are kept.
	Head     int64 `json:"head"`
	Earliest int64 `json:"earliest"`
	// Again counts the events that the subscriber has passed and that would be handled again, to MaxPreviewed.
	Again Count `json:"again"`
	// Deliveries counts the copies of failing events, and of those behind them, that would be dropped, since the
	// events come again; those before From stay.
	Deliveries Count `json:"deliveries"`
}

// MaxPreviewed is up to where the events of a replay are counted.
const MaxPreviewed = 100_000

// sqlReplayPreview reads what a replay of subscriber $1 from position $2 would do, counting to $3. It locks nothing.
const sqlReplayPreview = `SELECT s.cursor, f.head, l.floor + 1, least(a.n, $3::bigint), a.n > $3::bigint,
	least(d.n, $3::bigint), d.n > $3::bigint
FROM {schema}.strunk_subscribers s
CROSS JOIN (SELECT x.head FROM {schema}.strunk_feed x ORDER BY x.slot DESC LIMIT 1) f
CROSS JOIN {schema}.strunk_feed_floor l
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
	SELECT 1 FROM unnest(s.entity_type || s.previous_types) AS t(type)
	CROSS JOIN LATERAL (SELECT 1 FROM {schema}.strunk_outbox_delivered_events e
		WHERE e.key = t.type AND e.position >= greatest($2::bigint, l.floor + 1) AND e.position <= s.cursor
		LIMIT $3::bigint + 1) y LIMIT $3::bigint + 1) z) a
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (
	SELECT 1 FROM {schema}.strunk_outbox_deliveries v WHERE v.subscriber = s.name AND v.position >= $2::bigint
	LIMIT $3::bigint + 1) z) d
WHERE s.name = $1::text`

// PreviewReplay returns what events.Replay of a subscriber from a position on would do, and does nothing; 0 is the
// earliest that is kept. Errors: [ErrNotFound], [ErrInvalid].
func PreviewReplay(ctx context.Context, box *outbox.Box, name string, from int64) (p ReplayPreview, err error) {
	if err := core.CheckName(name); err != nil {
		return p, fmt.Errorf("strunk/ops: preview replay: the name %w: %w", err, ErrInvalid)
	}
	if from < 0 {
		return p, fmt.Errorf("strunk/ops: preview replay: the position %d is negative: %w", from, ErrInvalid)
	}
	var more, moreDeliveries bool
	err = ask(ctx, box, one(sqlReplayPreview, []any{name, from, MaxPreviewed}, &p.Cursor, &p.Head, &p.Earliest,
		&p.Again.N, &more, &p.Deliveries.N, &moreDeliveries))
	p.Subscriber, p.From = name, max(from, p.Earliest)
	p.Again.Precision, p.Deliveries.Precision = exactUnless(more), exactUnless(moreDeliveries)
	return p, wrap("preview replay", notFoundWithout(err, "subscriber %q", name))
}

func exactUnless(more bool) Precision {
	if more {
		return AtLeast
	}
	return Exact
}
