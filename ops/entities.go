package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/outbox"
)

// Entity is the latest state of an entity, its versions as far as the feed was looked through, and what has become of
// them at each subscriber.
type Entity struct {
	Type    string `json:"entity_type"`
	ID      string `json:"entity_id"`
	Version int64  `json:"version"`
	// UpdatedAt is when the latest version was published.
	UpdatedAt     time.Time `json:"updated_at"`
	Deleted       bool      `json:"deleted"`
	SchemaVersion string    `json:"schema_version,omitempty"`
	// State is the latest state; nil where the entity is deleted.
	State json.RawMessage `json:"state,omitempty"`
	// Versions are those in the feed, newest first.
	Versions []EntityVersion `json:"versions"`
	// Examined is how many events of the type were looked at, down to position From; Older says that there may be
	// more versions before it.
	Examined int64 `json:"examined"`
	From     int64 `json:"from"`
	Older    bool  `json:"older"`
	// Subscribers are those of the type, by name, at most MaxEntitySubscribers.
	Subscribers []EntityProgress `json:"subscribers"`
}

// EntityVersion is one version of an entity, as the feed has it.
type EntityVersion struct {
	Version       int64     `json:"version"`
	Position      int64     `json:"position"`
	PublishedAt   time.Time `json:"published_at"`
	SchemaVersion string    `json:"schema_version,omitempty"`
	Deleted       bool      `json:"deleted"`
	// State is nil where the version is a tombstone, or larger than 256 KiB as it is stored: TooLarge.
	State    json.RawMessage `json:"state,omitempty"`
	TooLarge bool            `json:"too_large,omitempty"`
}

// EntityProgress says how far one subscriber is with an entity.
type EntityProgress struct {
	Subscriber string `json:"subscriber"`
	Cursor     int64  `json:"cursor"`
	// Bootstrapping says that the cursor does not tell: the subscriber is given the snapshots.
	Bootstrapping bool `json:"bootstrapping"`
	// Failing is the first version that is parked or tried again; later ones wait behind it. Zero means none.
	Failing int64 `json:"failing_version,omitempty"`
	// DeliveryID is its row in strunk_outbox.
	DeliveryID int64 `json:"delivery_id,omitempty"`
	// Dead is the newest version that is a dead letter, among the subscriber's newest dead letters.
	Dead int64 `json:"dead_version,omitempty"`
	// DeadID is its row in strunk_outbox.
	DeadID int64 `json:"dead_id,omitempty"`
	// Error is the first 1,000 characters of the last error of the failing version, or of the dead one.
	Error string `json:"error,omitempty"`
}

// Has reports whether the subscriber has handled a version: it is behind the cursor, and neither fails, waits behind
// one that fails, nor is the dead letter.
func (p EntityProgress) Has(v EntityVersion) bool {
	return !p.Bootstrapping && v.Position <= p.Cursor && (p.Failing == 0 || v.Version < p.Failing) &&
		v.Version != p.Dead
}

// EntityFilter chooses which versions of an entity are looked for.
type EntityFilter struct {
	Type, ID string
	// Before is the position before which the feed is looked through, backwards; zero means from its head.
	Before int64
	// Limit is how many versions to return at most; zero means DefaultVersions, MaxVersions is the most.
	Limit int
}

const (
	// DefaultVersions is how many versions of an entity are returned where EntityFilter.Limit is zero.
	DefaultVersions = 20
	// MaxVersions bounds it.
	MaxVersions = 100
	// MaxEntitySubscribers is for how many subscribers it is said how far they are with an entity.
	MaxEntitySubscribers = 50
	// examinedEvents is how many events of a type one look for an entity's versions reads.
	examinedEvents = 1_000
	// comparedBytes is up to which size, as it is stored, a state is read.
	comparedBytes = 256 << 10
	// examinedDead is how many of a subscriber's dead letters are looked through for an entity.
	examinedDead = 100
)

const (
	// sqlSnapshot reads the latest state of entity $2 of type $1. It locks nothing.
	sqlSnapshot = `SELECT s.version, s.updated_at, s.deleted, coalesce(s.schema_version, ''), s.state
FROM {schema}.strunk_snapshots s WHERE s.entity_type = $1::text AND s.entity_id = $2::text`
	// sqlVersions reads at most $5 versions of entity $2 of type $1 before position $3, newest first, among the $4
	// events of the type before it, with how many were looked at and the first of their positions. States over $6
	// bytes are left out. The feed has no index of entities: that would cost every publication.
	// It locks nothing.
	sqlVersions = `WITH looked AS MATERIALIZED (
	SELECT l.pos AS position, l.entity_id FROM {schema}.strunk_latest_events($1::text, $3::bigint, $4::integer) l)
SELECT l.n, coalesce(l.first, 0), v.version, v.position, v.created_at, coalesce(v.schema_version, ''),
	v.payload IS NULL, v.payload IS NOT NULL AND v.bytes > $6::integer,
	CASE WHEN v.bytes <= $6::integer THEN v.payload END
FROM (SELECT count(*) AS n, min(w.position) AS first FROM looked w) l
LEFT JOIN LATERAL (SELECT e.*, pg_catalog.pg_column_size(e.payload) AS bytes
	FROM (SELECT w.position FROM looked w WHERE w.entity_id = $2::text ORDER BY w.position DESC LIMIT $5::integer) w
	JOIN {schema}.strunk_outbox_delivered_events e ON e.key = $1::text AND e.position = w.position) v ON true
ORDER BY v.position DESC`
	// sqlEntityProgress reads how far at most $3 subscribers of type $1 are with entity $2, looking at the $4 newest
	// dead letters of each. It locks nothing.
	sqlEntityProgress = `SELECT s.name, s.cursor, s.bootstrap <> 'done', coalesce(d.version, 0), coalesce(d.id, 0),
	coalesce(x.version, 0), coalesce(x.id, 0),
	pg_catalog.left(coalesce(d.last_error, x.last_error, ''), 1000)
FROM (SELECT * FROM {schema}.strunk_subscribers t
	WHERE t.entity_type = $1::text OR $1::text = ANY (t.previous_types) ORDER BY t.name LIMIT $3::integer) s
LEFT JOIN LATERAL (SELECT v.version, v.id, v.last_error FROM {schema}.strunk_outbox_deliveries v
	WHERE v.subscriber = s.name AND v.key = $1::text AND v.entity_id = $2::text
	ORDER BY v.subscriber, v.key, v.entity_id, v.version, v.id LIMIT 1) d ON true
LEFT JOIN LATERAL (SELECT v.version, v.id, v.last_error FROM (
	SELECT * FROM {schema}.strunk_outbox_dead a WHERE a.subscriber = s.name
	ORDER BY a.subscriber DESC, a.id DESC LIMIT $4::integer) v
	WHERE v.key = $1::text AND v.entity_id = $2::text ORDER BY v.id DESC LIMIT 1) x ON true
ORDER BY s.name`
)

// ReadEntity returns an entity: its latest state, its versions among the last 1,000 events of its type in the feed
// (before f.Before), and how far its subscribers are. Errors: [ErrNotFound] where no version of it was ever
// published, [ErrInvalid].
func ReadEntity(ctx context.Context, box *outbox.Box, f EntityFilter) (e Entity, err error) {
	if err := f.check(); err != nil {
		return e, wrap("entity", err)
	}
	if f.Before == 0 {
		f.Before = 1<<63 - 1
	}
	e.Type, e.ID = f.Type, f.ID
	var state []byte
	err = ask(ctx, box,
		one(sqlSnapshot, []any{f.Type, f.ID}, &e.Version, &e.UpdatedAt, &e.Deleted, &e.SchemaVersion, &state),
		e.versionsQuestion(f),
		many(&e.Subscribers, sqlEntityProgress, []any{f.Type, f.ID, MaxEntitySubscribers, examinedDead}, scanProgress))
	e.State = state
	return e, wrap("entity", notFoundWithout(err, "entity %q of type %q", f.ID, f.Type))
}

func (f *EntityFilter) check() error {
	orDefault(&f.Limit, DefaultVersions)
	switch {
	case f.Type == "" || f.ID == "":
		return fmt.Errorf("EntityFilter: give Type and ID: %w", ErrInvalid)
	case f.Limit < 0 || f.Limit > MaxVersions || f.Before < 0:
		return fmt.Errorf("EntityFilter: Limit (%d) is not from 0 to %d, or Before (%d) is negative: %w", f.Limit,
			MaxVersions, f.Before, ErrInvalid)
	}
	return texts(f.Type, f.ID)
}

// versionsQuestion asks for the versions. Where there are more than f.Limit, the look goes on before the last.
func (e *Entity) versionsQuestion(f EntityFilter) question {
	args := []any{f.Type, f.ID, f.Before, examinedEvents, f.Limit, comparedBytes}
	return question{sql: sqlVersions, args: args, scan: func(rows pgx.Rows) error {
		e.Versions = []EntityVersion{}
		for rows.Next() {
			var v EntityVersion
			var version, position *int64
			var at *time.Time
			var state []byte
			err := rows.Scan(&e.Examined, &e.From, &version, &position, &at, &v.SchemaVersion, &v.Deleted, &v.TooLarge,
				&state)
			if err != nil {
				return err
			}
			if version != nil {
				v.Version, v.Position, v.PublishedAt, v.State = *version, *position, *at, state
				e.Versions = append(e.Versions, v)
			}
		}
		e.Older = e.Examined == examinedEvents
		if n := len(e.Versions); n == f.Limit {
			e.Older, e.From = true, e.Versions[n-1].Position
		}
		return nil
	}}
}

func scanProgress(rows pgx.Rows) (p EntityProgress, err error) {
	return p, rows.Scan(&p.Subscriber, &p.Cursor, &p.Bootstrapping, &p.Failing, &p.DeliveryID, &p.Dead, &p.DeadID,
		&p.Error)
}
