package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// TypeSet is a binding for each entity type of a database, made by [EachType].
type TypeSet struct {
	bound
	name string
	bind func(*Stream[json.RawMessage]) outbox.Binding
}

// EachType makes a consumer of several entity types, or of all: bind is called once for each type
// that has ever been published, with its stream of raw states, and what it returns is run; nil
// leaves the type out. A type that comes later is found within the box's poll interval, and nothing
// of it is missed by a subscriber that starts from the beginning.
//
// Each type has a subscriber of its own, and so a cursor, an owner, a lag and a pause of its own:
// give it a name that holds the type. One type that is stuck stops no other. As everywhere, events
// are in order per entity; between types there is no order. A stream that was renamed counts under
// each of its names: return the binding of its declaration for the name now, and nil for the
// previous ones.
//
// The name tells this consumer from others in a Run. An invalid binding ends Run, also a later one.
func EachType(name string, bind func(stream *Stream[json.RawMessage]) outbox.Binding) *TypeSet {
	s := &TypeSet{name: name, bind: bind}
	s.bound = core.NewBound(func() core.Binding { return &typeSet{TypeSet: s, seen: map[string]bool{}} })
	return s
}

// typeSet is one Run of a TypeSet.
type typeSet struct {
	*TypeSet
	host core.Host
	seen map[string]bool

	mu   sync.Mutex
	errs []error
}

// Describe implements core.Binding.
func (s *typeSet) Describe() (kind, name string) { return "consumer of each entity type", s.name }

// Prepare implements core.Binding.
func (s *typeSet) Prepare(host core.Host) (problems []error) {
	s.host = host
	if err := core.CheckName(s.name); err != nil {
		problems = append(problems, fmt.Errorf("strunk/events: each type %q: the name %w: %w", clip(s.name), err,
			ErrInvalid))
	}
	if s.bind == nil {
		problems = append(problems, fmt.Errorf("strunk/events: each type %q: the function is nil: %w", clip(s.name),
			ErrInvalid))
	}
	return problems
}

// Run implements core.Binding. One type that fails for good ends all.
func (s *typeSet) Run(life core.Life, rt core.Runtime) error {
	soft, stop := context.WithCancel(life.Soft)
	defer stop()
	woken, unsubscribe := rt.Subscribe(core.TopicRelay)
	defer unsubscribe()
	var running sync.WaitGroup
	for soft.Err() == nil {
		types, err := entityTypes(soft, rt)
		if err != nil && soft.Err() == nil {
			rt.Logger().Warn("strunk: the entity types could not be read; trying again", "consumer", s.name,
				"error", err)
		}
		for _, entityType := range types {
			s.start(core.Life{Soft: soft, Hard: life.Hard, End: life.End}, rt, entityType, &running, stop)
		}
		core.Sleep(soft, rt.Settings().PollInterval)
		select {
		case <-woken: // events have been published
		case <-soft.Done():
		case <-time.After(10 * rt.Settings().PollInterval):
		}
	}
	running.Wait()
	return errors.Join(s.errs...)
}

// start runs the binding of a type that is new.
func (s *typeSet) start(life core.Life, rt core.Runtime, entityType string, running *sync.WaitGroup, stop func()) {
	if s.seen[entityType] {
		return
	}
	s.seen[entityType] = true
	running.Go(func() {
		if err := s.runType(life, rt, entityType); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.errs = append(s.errs, err)
			stop()
		}
	})
}

// runType is Box.Run for one type.
func (s *typeSet) runType(life core.Life, rt core.Runtime, entityType string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("strunk/events: each type %q: the entity type %q panicked: %v\n%s", s.name, entityType, p,
				debug.Stack())
		}
	}()
	bound := s.bind(rawStream(entityType))
	if bound == nil {
		return nil
	}
	binding, err := core.BindingOf(bound)
	if err != nil {
		return fmt.Errorf("strunk/events: each type %q: the binding of %q %w", s.name, entityType, err)
	}
	if err := errors.Join(binding.Prepare(s.host)...); err != nil {
		return fmt.Errorf("strunk/events: each type %q: %w", s.name, err)
	}
	return binding.Run(life, rt)
}

// rawStream is the stream of an entity type of which nothing but the name is known.
func rawStream(entityType string) *Stream[json.RawMessage] {
	return newStream(newDefinition(entityType, false, Config{}), func(json.RawMessage) string { return "" })
}

// sqlEntityTypes lists the types of all snapshots, the stubs of deleted entities included. It hops
// over the index from type to type.
const sqlEntityTypes = `WITH RECURSIVE types AS (
	(SELECT s.entity_type FROM {schema}.strunk_snapshots s ORDER BY s.entity_type LIMIT 1)
	UNION ALL
	SELECT (SELECT s.entity_type FROM {schema}.strunk_snapshots s WHERE s.entity_type > t.entity_type
		ORDER BY s.entity_type LIMIT 1)
	FROM types t WHERE t.entity_type IS NOT NULL)
SELECT entity_type FROM types WHERE entity_type IS NOT NULL`

func entityTypes(ctx context.Context, host core.Host) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	rows, err := host.Pool().Query(ctx, host.SQL(sqlEntityTypes))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
