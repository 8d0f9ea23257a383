package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/strunk-go/strunk/internal/core"
)

// DefaultMaxState bounds a state's JSON, in bytes.
const DefaultMaxState = 1 << 20

// Config holds a stream's defaults. The zero value is usable: each field says what zero means.
type Config struct {
	// SchemaVersion is kept with each event, for subscribers that know several; an option of a publish goes before it.
	SchemaVersion string
	// MaxState bounds a state's JSON, in bytes; zero means DefaultMaxState.
	MaxState int
	// Validator checks each state before the transaction is touched; nil means none.
	Validator Validator
	// Aliases are previous names of a renamed entity type, under which older processes may still
	// publish. Subscribers receive the events under all of its names, in order per entity; an
	// entity has one line of versions under all of them; and the newest version is its snapshot.
	// Publishes use the name, and lock and count the entity under the previous ones as well.
	// Declare them with the rename and not later, the oldest first; AdoptSnapshots ends it.
	Aliases []string
}

// Validator checks states; package schema has one: schema.Validator. It is called by several goroutines.
type Validator interface {
	// Validate returns why state cannot be published under a version of the entity type's schema
	// (empty: the newest), and otherwise the version that it was checked against, which is kept
	// with the event.
	Validate(ctx context.Context, entityType, version string, state json.RawMessage) (used string, err error)
}

// definition is a stream without its type.
type definition struct {
	entityType string
	cfg        Config
	err        error
}

type decodable = core.Decodable

func newStream[T any](def *definition, id func(T) string) *Stream[T] {
	return &Stream[T]{core.NewDecodable(payloads[T]{def: def}.decoder), def, id}
}

// definition of a zero Stream is one that reports what to do.
func (s *Stream[T]) definition() *definition {
	if s == nil || s.def == nil {
		return &definition{err: errZeroStream}
	}
	return s.def
}

func newDefinition(entityType string, noID bool, cfg Config) *definition {
	if cfg.MaxState == 0 {
		cfg.MaxState = DefaultMaxState
	}
	cfg.Aliases = slices.Clone(cfg.Aliases)
	d := &definition{entityType: entityType, cfg: cfg}
	var problems []error
	report := func(err error) {
		problems = append(problems, fmt.Errorf("strunk/events: define %q: %w: %w", clip(entityType), err, ErrInvalid))
	}
	if err := core.CheckName(entityType); err != nil {
		report(fmt.Errorf("the entity type %w", err))
	}
	if noID {
		report(errors.New("the id function is nil"))
	}
	if cfg.MaxState < 0 {
		report(fmt.Errorf("Config.MaxState: %d is negative", cfg.MaxState))
	}
	if err := checkVersion(cfg.SchemaVersion); err != nil {
		report(fmt.Errorf("Config.SchemaVersion %w", err))
	}
	for _, err := range core.CheckAliases(entityType, "the entity type itself", cfg.Aliases, clip) {
		report(fmt.Errorf("Config.Aliases: %w", err))
	}
	d.err = errors.Join(problems...)
	return d
}

func checkVersion(version string) error {
	if version == "" {
		return nil
	}
	return core.CheckName(version)
}

// clip keeps an overlong name out of an error text.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
