package schema

import (
	"errors"
	"fmt"
	"strings"
)

// What can go wrong, for errors.Is. The types below carry the details.
var (
	// ErrInvalidSchema: the document is no schema that this package can enforce. See [SchemaError].
	ErrInvalidSchema = errors.New("strunk/schema: invalid schema")
	// ErrInvalidPayload: the payload breaks its schema, or is no JSON. See [ValidationError].
	ErrInvalidPayload = errors.New("strunk/schema: invalid payload")
	// ErrIncompatible: a version breaks its predecessors. See [CompatibilityError].
	ErrIncompatible = errors.New("strunk/schema: incompatible")
	// ErrInvalidVersion: a version is not numbers with dots between them, or doesn't follow the one before it.
	ErrInvalidVersion = errors.New("strunk/schema: invalid version")
	// ErrUnsupportedType: encoding/json can't write the Go type, or its tags make no schema.
	ErrUnsupportedType = errors.New("strunk/schema: unsupported type")
	// ErrUndecodable: an upcast could not decode or convert a payload. See [UndecodableError].
	ErrUndecodable = errors.New("strunk/schema: undecodable payload")
	// ErrInvalidUpcast: the steps of an [Upcaster] make no chain.
	ErrInvalidUpcast = errors.New("strunk/schema: invalid upcast")
	// ErrInvalid: the name of a subject, or a compatibility mode, is none.
	ErrInvalid = errors.New("strunk/schema: invalid")
	// ErrInvalidDir: a directory of schemas has files that can't be told apart or named.
	ErrInvalidDir = errors.New("strunk/schema: invalid directory")
)

// SchemaError lists everything that is wrong with a schema document, sorted by path. It is an [ErrInvalidSchema].
type SchemaError struct {
	Problems []SchemaProblem
	Omitted  int // how many more there are, past [MaxViolations]
}

// SchemaProblem is one fault of a schema document.
type SchemaProblem struct {
	Path    string // JSON pointer to the schema that has the fault; empty at the root
	Keyword string // the keyword; empty where the schema as a whole is at fault
	Why     string // what is wrong and how to mend it
}

// newSchemaProblem keeps what a document says within bounds.
func newSchemaProblem(path, keyword, why string) SchemaProblem {
	return SchemaProblem{clip(path, maxPath), clip(keyword, maxName), clip(why, maxWhy)}
}

// String reads `path keyword: why`.
func (p SchemaProblem) String() string {
	return fmt.Sprintf("%s: %s", strings.TrimSpace(at(p.Path)+" "+p.Keyword), p.Why)
}

func (e *SchemaError) Error() string {
	return list(ErrInvalidSchema, "", e.Problems, e.Omitted)
}

func (e *SchemaError) Unwrap() error { return ErrInvalidSchema }

// ValidationError lists every way in which a payload breaks its schema, sorted by path; where explaining takes too much
// work, what was found until then. It never holds the payload's values, only its keys. It is an [ErrInvalidPayload].
type ValidationError struct {
	Violations []Violation
	Omitted    int // how many more there are, past [MaxViolations]; the count stops at 10,000
}

// Violation is one rule that a payload breaks.
type Violation struct {
	Path string // JSON pointer into the payload; empty at the root
	Rule string // the schema's keyword, or "json", "size", "depth", "digits", "work" where a limit stands in the way
	Why  string // what the rule asks for
}

// String reads `path rule: why`.
func (v Violation) String() string {
	return fmt.Sprintf("%s %s: %s", at(v.Path), v.Rule, v.Why)
}

func (e *ValidationError) Error() string {
	return list(ErrInvalidPayload, "", e.Violations, e.Omitted)
}

func (e *ValidationError) Unwrap() error { return ErrInvalidPayload }

func at(path string) string {
	if path == "" {
		return "(root)"
	}
	return path
}

func list[T fmt.Stringer](what error, subject string, items []T, omitted int) string {
	parts := make([]string, len(items), len(items)+1)
	for i, item := range items {
		parts[i] = item.String()
	}
	if omitted > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", omitted))
	}
	return what.Error() + subject + ": " + strings.Join(parts, "; ")
}

// safely turns a panic of fn, of which there should be none, into an error.
func safely(what error, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: internal fault: %v", what, r)
		}
	}()
	return fn()
}
