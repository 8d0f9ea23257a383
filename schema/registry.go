package schema

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// ErrNotRegistered says that the registry has no such subject, or no such version of it.
var ErrNotRegistered = errors.New("strunk/schema: not registered")

// LatestMaxAge is how long a [Registry] may take to notice that another process has registered a
// newer version. A process in which Box.Run runs is told at once.
const LatestMaxAge = 5 * time.Second

// Registry keeps contracts in the database (strunk_schemas), shared by all processes. A subject is
// the name of an entity type or a queue, or any other; each has versions, which are never changed.
// All registries of one Box share a cache.
type Registry struct {
	box   *outbox.Box
	host  core.Host
	cache *cache
}

// NewRegistry returns the registry of a Box. It asks the database nothing yet.
func NewRegistry(box *outbox.Box) *Registry {
	if box == nil {
		return &Registry{}
	}
	return registryOf(core.BoxHost(box))
}

// Registered is a version of a subject in the registry.
type Registered struct {
	Subject      string
	Version      string // as it was registered
	Document     Document
	RegisteredAt time.Time
}

// Subject is what the registry knows under one name.
type Subject struct {
	Name     string
	Mode     Mode     // how new versions are compared with those before
	Strict   bool     // whether they are compared as [Strict] says
	Versions []string // oldest first
}

// RegisterOption changes how the versions of a subject are compared: a [Mode], [Strict] or
// [Lenient]. It is kept with the subject and holds for later registrations too.
type RegisterOption interface{ applyRegister(*rules) }

// rules are how the versions of a subject are compared.
type rules struct {
	mode   Mode
	strict bool
}

func (m Mode) applyRegister(r *rules) { r.mode = m }

// Register adds a version of a subject: any JSON document, as text (string, []byte, [Document],
// json.RawMessage) or as what encoding/json makes of a value. It must compile, come after all
// versions that are there, and be compatible with them as the subject's mode asks. The same
// document again changes nothing, another one under an existing version is refused. Processes that
// register at once take turns. It runs in a transaction of its own, so it must not be called where
// the caller holds the last connection of the pool.
//
// Errors: a [*SchemaError], a [*CompatibilityError], [ErrInvalidVersion]; the database's own are wrapped.
func (r *Registry) Register(ctx context.Context, subject, version string, document any,
	options ...RegisterOption) error {
	text, err := r.begin(subject, version, document)
	if err == nil {
		err = r.register(ctx, subject, Revision{version, text}, options)
	}
	if err != nil {
		return fmt.Errorf("strunk/schema: register %q %q: %w", clipName(subject), clipName(version), err)
	}
	return nil
}

// Check says whether Register would accept a version, and registers nothing.
func (r *Registry) Check(ctx context.Context, subject, version string, document any, options ...RegisterOption) error {
	text, err := r.begin(subject, version, document)
	if err == nil {
		err = r.check(ctx, subject, Revision{version, text}, options)
	}
	if err != nil {
		return fmt.Errorf("strunk/schema: check %q %q: %w", clipName(subject), clipName(version), err)
	}
	return nil
}

// List returns all subjects, in the order of their names.
func (r *Registry) List(ctx context.Context) ([]Subject, error) {
	subjects, err := r.subjects(ctx)
	if err != nil {
		return nil, fmt.Errorf("strunk/schema: list: %w", err)
	}
	return subjects, nil
}

// Versions returns all versions of a subject, oldest first. Errors: [ErrNotRegistered].
func (r *Registry) Versions(ctx context.Context, subject string) ([]Registered, error) {
	all, err := r.read(ctx, sqlVersions, subject)
	if err == nil && len(all) == 0 {
		err = notRegistered(subject, "")
	}
	if err != nil {
		return nil, fmt.Errorf("strunk/schema: versions: %w", err)
	}
	return all, nil
}

// Get returns a version of a subject; 1 and 1.0 are the same. Errors: [ErrNotRegistered], [ErrInvalidVersion].
func (r *Registry) Get(ctx context.Context, subject, version string) (Registered, error) {
	if _, err := ParseVersion(version); err != nil {
		return Registered{}, err
	}
	return r.one(ctx, subject, version)
}

// Latest returns the newest version of a subject. Errors: [ErrNotRegistered].
func (r *Registry) Latest(ctx context.Context, subject string) (Registered, error) {
	return r.one(ctx, subject, "")
}

func (r *Registry) one(ctx context.Context, subject, version string) (Registered, error) {
	found, err := r.read(ctx, sqlVersion, subject, orNull(version))
	if err == nil && len(found) == 0 {
		err = notRegistered(subject, version)
	}
	if err != nil {
		return Registered{}, fmt.Errorf("strunk/schema: get: %w", err)
	}
	return found[0], nil
}

// Validate checks a payload against a version of a subject, the newest where version is empty, and
// returns that version. A subject without a schema accepts every payload that names no version, and
// the version returned is empty.
//
// It asks the database only for what it has not seen yet, and for the newest version once in
// [LatestMaxAge]; never in the caller's transaction. Errors: a [*ValidationError],
// [ErrNotRegistered], [ErrInvalidVersion].
func (r *Registry) Validate(ctx context.Context, subject, version string, payload []byte) (used string, err error) {
	found, err := r.lookUp(ctx, subject, version)
	if err != nil || found == nil {
		return "", err
	}
	if err := found.schema.Validate(payload); err != nil {
		return "", fmt.Errorf("subject %q, version %s: %w", subject, found.version, err)
	}
	return found.version, nil
}

func notRegistered(subject, version string) error {
	if version == "" {
		return fmt.Errorf("%w: subject %q has no versions: register one", ErrNotRegistered, clipName(subject))
	}
	return fmt.Errorf("%w: subject %q has no version %q: register it first, or use one that is", ErrNotRegistered,
		clipName(subject), clipName(version))
}

// clipName keeps an overlong name out of an error text.
func clipName(s string) string { return core.CleanText(s, 100) }

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
