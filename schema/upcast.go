package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/strunk-go/strunk/internal/core"
)

// Upcaster brings payloads of older versions of a contract to T, the newest. Make one with [Upcast]. It is safe for
// concurrent use if its steps are.
type Upcaster[T any] struct {
	newest Version
	steps  []Step
	err    error
}

// Step converts from one shape of a payload to the next. Make one with [From].
type Step struct {
	from    Version
	text    string
	old     reflect.Type
	next    reflect.Type
	decode  func([]byte) (any, error)
	convert func(any) (any, error)
}

// From is the step for payloads of a version, and of the versions after it up to the next step's: those are decoded
// as Old, which convert turns into Next. Old may be json.RawMessage. The empty version stands for payloads that were
// written before there was one.
func From[Old, Next any](version string, convert func(Old) (Next, error)) Step {
	return Step{
		text: version, old: reflect.TypeFor[Old](), next: reflect.TypeFor[Next](),
		decode: func(raw []byte) (any, error) {
			var old Old
			err := json.Unmarshal(raw, &old)
			return old, err
		},
		convert: func(old any) (any, error) {
			typed, _ := old.(Old) // nil where Old is an interface
			return convert(typed)
		},
	}
}

// Upcast declares how payloads become T. Newest is the version from which on they are decoded as T. The steps, in any
// order, form a chain: what one returns is what the next one takes, and the last returns T. A chain that is broken is
// an [ErrInvalidUpcast], which [Upcaster.Err] and every Decode return.
//
//	var orders = schema.Upcast[Order]("2.0",
//		schema.From("1.0", func(o OrderV1) (OrderV2, error) { … }),
//		schema.From("1.5", func(o OrderV2) (Order, error) { … }),
//	)
func Upcast[T any](newest string, steps ...Step) *Upcaster[T] {
	u := &Upcaster[T]{steps: slices.Clone(steps)}
	var errs []error
	var err error
	if u.newest, err = ParseVersion(newest); err != nil {
		errs = append(errs, err)
	}
	for i := range u.steps {
		if err := u.steps[i].from.UnmarshalText([]byte(u.steps[i].text)); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortStableFunc(u.steps, func(a, b Step) int { return a.from.Compare(b.from) })
	if err = errors.Join(append(errs, u.checkChain()...)...); err != nil {
		u.err = fmt.Errorf("%w: %w", ErrInvalidUpcast, err)
	}
	return u
}

// checkChain compares what each step returns with what the next one takes.
func (u *Upcaster[T]) checkChain() (errs []error) {
	for i, step := range u.steps {
		wanted, after := reflect.TypeFor[T](), u.newest
		if i+1 < len(u.steps) {
			wanted, after = u.steps[i+1].old, u.steps[i+1].from
		}
		if step.next != wanted {
			errs = append(errs, fmt.Errorf("the step from %q returns %v, but %v is needed from %q on", step.text,
				step.next, wanted, after))
		}
		if step.from.Compare(after) >= 0 {
			errs = append(errs, fmt.Errorf("the step from %q is not before %q: each version has one step at most",
				step.text, after))
		}
	}
	return errs
}

// Err returns what is wrong with the declaration, or nil.
func (u *Upcaster[T]) Err() error { return u.err }

// Decode reads a payload of a version. Versions from the newest on are decoded as T, unknown properties left out.
//
// Its error is an [*UndecodableError] with the raw payload, to be set aside: the version is no version or older than
// every step, the JSON doesn't fit the Go type, or a step failed or panicked.
func (u *Upcaster[T]) Decode(version string, raw []byte) (value T, err error) {
	if u.err != nil {
		return value, u.err
	}
	var result any
	err = safely(errors.New("strunk/schema: upcast"), func() error {
		result, err = u.decode(version, raw)
		return err
	})
	if err != nil {
		return value, &UndecodableError{Version: version, Raw: slices.Clone(raw), Err: err}
	}
	value, _ = result.(T)
	return value, nil
}

func (u *Upcaster[T]) decode(version string, raw []byte) (any, error) {
	var at Version
	if err := at.UnmarshalText([]byte(version)); err != nil {
		return nil, err
	}
	if at.Compare(u.newest) >= 0 {
		var value T
		err := json.Unmarshal(raw, &value)
		return value, err
	}
	first := -1
	for i, step := range u.steps {
		if step.from.Compare(at) <= 0 {
			first = i
		}
	}
	if first < 0 {
		return nil, fmt.Errorf("no step begins at or before version %q: add one with From", at)
	}
	return u.run(u.steps[first:], raw)
}

func (u *Upcaster[T]) run(steps []Step, raw []byte) (any, error) {
	value, err := steps[0].decode(raw)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		if value, err = step.convert(value); err != nil {
			return nil, fmt.Errorf("from %q: %w", step.text, err)
		}
	}
	return value, nil
}

// UndecodableError is a payload that could not be brought to the newest struct. It is an
// [ErrUndecodable], and a queue.ErrPoison and an events.ErrPoison as well: where a handler returns
// it, the task is a dead letter at once, and the event is set aside as its subscriber has it with
// those, the payload as it was.
type UndecodableError struct {
	Version string // as the payload carried it
	Raw     []byte // the payload, untouched
	Err     error  // what went wrong
}

func (e *UndecodableError) Error() string {
	return clip(fmt.Sprintf("%v: version %s: %v", ErrUndecodable, quoteClipped(e.Version), e.Err), maxPath)
}

func (e *UndecodableError) Unwrap() []error { return []error{ErrUndecodable, e.Err} }

// Is reports whether target is the ErrPoison of one of strunk's packages.
func (e *UndecodableError) Is(target error) bool {
	_, poison := target.(*core.Poison)
	return poison
}
