// Package events publishes the state of entities in the caller's own transaction, and delivers it to subscribers: at
// least once, in order per entity, nothing skipped.
//
// A stream is declared once, as a value that publishers and subscribers share:
//
//	var Orders = events.Define("order", func(o Order) string { return o.ID }, events.Config{})
//
// A publisher publishes within its transaction. If that rolls back, there was no event:
//
//	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
//		if err := save(ctx, tx.Pgx(), order); err != nil {
//			return err
//		}
//		_, err := Orders.Publish(ctx, tx, order)
//		return err
//	})
//
// A subscriber handles each event, in any process that runs it, one at a time per name:
//
//	err := box.Run(ctx, Orders.Subscriber("search-indexer", index))
//
// It is state that is published, not the steps that led to it: each event holds all that a
// subscriber needs, and an event replaces the ones before it. The current state of an entity is
// [Stream.Snapshot].
//
// # Guarantees
//
// An event that was committed reaches every subscriber at least once. The events of one entity come
// in the order of their versions; there is no order across entities. A handler whose effects are in
// the same database can have them exactly once: [Stream.SubscriberInTx]. For effects elsewhere,
// [Event].Version tells which of two states is newer. All of this holds when processes are killed,
// and when the database is restarted, fails over to a standby that was behind, or is restored: then
// events are repeated, and none is skipped.
//
// # Where to go on
//
// [From] says where a new subscriber begins, [OnFailure] what becomes of an event that fails,
// [Concurrency] how many entities are handled at once. [Replay], [Reset], [Pause], [Skip] and
// [Subscribers] are for operators. Streams and subscribers are safe for use by several goroutines.
package events

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Stream is a declared stream of states T of one entity type. Make it with Define; the zero value returns errors.
type Stream[T any] struct {
	decodable
	def *definition
	id  func(T) string
}

// Define declares a stream. id returns the entity's id, which is what order and snapshots are kept
// by. Define keeps what is wrong with its arguments and reports it on the first use and from
// outbox.Box.Run, so that it can stand in a package-level var. T may be anything that encoding/json
// can write and read, json.RawMessage included.
func Define[T any](entityType string, id func(T) string, cfg Config) *Stream[T] {
	return newStream(newDefinition(entityType, id == nil, cfg), id)
}

// EntityType returns the stream's entity type, which is the outbox row's key.
func (s *Stream[T]) EntityType() string { return s.definition().entityType }

// Publish publishes an entity's state in the transaction: it replaces the snapshot and adds an
// event with the entity's next version. Everything is checked before the transaction is touched.
// The entity stays locked until the transaction ends, so that its versions follow the order of the
// commits: publish late in long transactions.
//
// Errors: [ErrInvalid] for a state, id or option that cannot be stored, [outbox.ErrTxDone],
// [outbox.ErrInvalidTx], those of Config.Validator; the database's own are wrapped: 40001 under the
// stricter isolation levels, where another transaction has published the entity, and 40P01, where
// two publish the same entities one by one in different orders, ask for a retry of the whole
// transaction.
func (s *Stream[T]) Publish(ctx context.Context, tx outbox.Tx, state T, opts ...PublishOption) (Published, error) {
	return publishOne(ctx, tx, "publish", s.Item(state, opts...))
}

// PublishBatch publishes many states, with the same options, in one statement that locks the entities in one order
// everywhere. The answers are in the order of the states, and so are the versions of an entity that is there more than
// once. None is published if one is refused.
func (s *Stream[T]) PublishBatch(ctx context.Context, tx outbox.Tx, states []T, opts ...PublishOption) ([]Published,
	error) {
	items := make([]Item, len(states))
	for i, state := range states {
		items[i] = s.Item(state, opts...)
	}
	return publish(ctx, tx, "publish batch", items)
}

// Delete publishes that an entity is gone: a tombstone, an event with Deleted and no state. The
// snapshot keeps the version alone, so that an entity which comes back goes on from it. It need not
// have been published before.
func (s *Stream[T]) Delete(ctx context.Context, tx outbox.Tx, entityID string, opts ...PublishOption) (Published,
	error) {
	return publishOne(ctx, tx, "delete", s.Tombstone(entityID, opts...))
}

// Item prepares a state for PublishAll. What is wrong with it is reported there.
func (s *Stream[T]) Item(state T, opts ...PublishOption) Item { return newItem(s, state, opts) }

// Tombstone prepares a deletion for PublishAll.
func (s *Stream[T]) Tombstone(entityID string, opts ...PublishOption) Item {
	return Item{def: s.definition(), entityID: entityID, opts: applyPublish(opts)}
}

// PublishAll publishes states of any streams, each with options of its own, in one statement, as PublishBatch does.
func PublishAll(ctx context.Context, tx outbox.Tx, items ...Item) ([]Published, error) {
	return publish(ctx, tx, "publish all", items)
}

// Published is the answer to a publish.
type Published struct {
	// ID is the row's id in strunk_outbox.
	ID int64
	// EntityID is the entity's id.
	EntityID string
	// Version is the entity's version: 1, 2, 3 and so on, for ever.
	Version int64
}

// Snapshot is the current state of an entity.
type Snapshot[T any] struct {
	EntityID      string
	Version       int64
	State         T
	SchemaVersion string
	// UpdatedAt is when it was published, by the database's clock.
	UpdatedAt time.Time
}

// Snapshot reads the current state of an entity. Errors: [ErrNotFound] for one that was never published or is deleted,
// [ErrPoison] for a state that is not a T.
func (s *Stream[T]) Snapshot(ctx context.Context, box *outbox.Box, entityID string) (Snapshot[T], error) {
	return snapshot[T](ctx, box, s.definition(), entityID)
}

// Snapshots reads the current state of every entity that is not deleted, in order of the ids'
// bytes. It reads page by page, each as of its own moment: an entity that changes meanwhile is
// there once, in its old or its new state. After an error it ends.
func (s *Stream[T]) Snapshots(ctx context.Context, box *outbox.Box) iter.Seq2[Snapshot[T], error] {
	return snapshots[T](ctx, box, s.definition())
}

// Event is one event as a handler sees it: a plain struct that a test can write as a literal.
type Event[T any] struct {
	// Position is the event's place in the feed, which all entity types share; 0 for a state from the snapshots.
	Position int64
	// Version is the entity's version: what to compare with where effects outside the database must not go backwards.
	Version int64
	// ID is the row's id in strunk_outbox; 0 for a state from the snapshots.
	ID         int64
	EntityType string
	EntityID   string
	// State is the entity's state; zero where Deleted.
	State T
	// Deleted says that the entity is gone.
	Deleted bool
	// FromSnapshot says that this is what a new subscriber is given of an entity's past: its state, not an event.
	FromSnapshot bool
	// Redelivered says that the event is a delivery, kept for this subscriber alone: it has failed before, or
	// waited behind one that had.
	Redelivered bool
	// SchemaVersion is what the state was published with, or empty.
	SchemaVersion string
	// Metadata is what it was published with; nil where there was none. Do not change it.
	Metadata map[string]string
	// Diff is what it was published with: what has changed, in the publisher's words.
	Diff json.RawMessage
	// PublishedAt is by the database's clock.
	PublishedAt time.Time
	// Attempt is the number of this attempt, 1 for the first; those that a crash cut off count.
	Attempt int
}

// Handler handles one event. It returns nil when the event is handled; an error or a panic fails
// the attempt. Events are delivered at least once, so effects outside the database must be
// idempotent, best by Version. The context ends at the timeout, when the grace period of a shutdown
// is over, and when the subscriber is no longer this process's, or was rewound (its cause is then
// [ErrLeaseLost] or [ErrRewound]).
type Handler[T any] func(ctx context.Context, event Event[T]) error

// BatchHandler handles several events at once, in order. After an error all of them are handed to it again, one by one.
type BatchHandler[T any] func(ctx context.Context, events []Event[T]) error

// HandlerInTx handles one event in a transaction that the cursor moves in: what it writes with tx
// is there exactly once. It must neither commit nor roll back.
type HandlerInTx[T any] func(ctx context.Context, tx *outbox.OwnedTx, event Event[T]) error

// Subscriber makes a consumer of this stream for [outbox.Box.Run]. The name is its durable
// identity: its cursor outlives the process, and of all processes that run it one at a time has it.
// Events of different entities are handled side by side ([Concurrency]), those of one entity in
// order. It starts nothing.
func (s *Stream[T]) Subscriber(name string, handler Handler[T], opts ...SubscribeOption) *Subscriber[T] {
	return typedSubscriber[T](newSubscriber(s.definition(), name, typedWork(s.definition(), handler), opts))
}

// BatchSubscriber is Subscriber for a handler that takes several events at once, at most [BatchSize] of them.
func (s *Stream[T]) BatchSubscriber(name string, handler BatchHandler[T], opts ...SubscribeOption) *Subscriber[T] {
	return typedSubscriber[T](newSubscriber(s.definition(), name, typedBatch(s.definition(), handler), opts))
}

// SubscriberInTx is Subscriber for a handler whose writes commit together with the cursor:
// effectively once, for effects in this database. Its events are handled one after the other, at
// most [BatchSize] in a transaction.
func (s *Stream[T]) SubscriberInTx(name string, handler HandlerInTx[T], opts ...SubscribeOption) *Subscriber[T] {
	return typedSubscriber[T](newSubscriber(s.definition(), name, typedTx(s.definition(), handler), opts))
}

// Subscriber is a typed consumer of one stream. It is an outbox.Binding: hand it to outbox.Box.Run.
type Subscriber[T any] struct {
	bound
}

type bound = core.Bound

func typedSubscriber[T any](s *subscriber) *Subscriber[T] {
	return &Subscriber[T]{core.NewBound(func() core.Binding { return s })}
}
