package schema

import (
	"errors"
)

// Schema is a compiled contract. It is immutable and safe for concurrent use.
type Schema struct {
	document Document
	root     *node
	maxBytes int
}

// CompileOption changes what [Compile] returns.
type CompileOption interface{ applyCompile(*Schema) }

type compileOption func(*Schema)

func (o compileOption) applyCompile(s *Schema) { o(s) }

// MaxBytes sets the size in bytes of the largest payload that [Schema.Validate] reads; without it that is
// [DefaultMaxBytes].
func MaxBytes(n int) CompileOption {
	return compileOption(func(s *Schema) { s.maxBytes = n })
}

// Compile reads a schema document of draft 7. It refuses whatever would not be enforced: unknown keywords (except
// those that begin with x-), keywords of other drafts or beside $ref, unknown formats, references that leave the
// document, and references that never end. Its error is a [*SchemaError] with all that is wrong.
func Compile(document []byte, options ...CompileOption) (schema *Schema, err error) {
	err = safely(ErrInvalidSchema, func() error {
		schema, err = compile(document, options)
		return err
	})
	return schema, err
}

func compile(document []byte, options []CompileOption) (*Schema, error) {
	parsed, err := parse(document)
	if err != nil {
		return nil, err
	}
	if err := checkDraft7(parsed.value); err != nil {
		return nil, err
	}
	schema := &Schema{document: append(Document{}, document...), root: parsed.root(), maxBytes: DefaultMaxBytes}
	for _, option := range options {
		option.applyCompile(schema)
	}
	return schema, nil
}

// Document returns a copy of the text that the schema was compiled from.
func (s *Schema) Document() Document {
	return append(Document{}, s.document...)
}

// Validate checks a payload, one JSON value. Its error is a [*ValidationError] that lists what is wrong without the
// payload's values. Payloads beyond the limits ([MaxDepth], [MaxNumberDigits], [MaxBytes]) are refused, and so is one
// whose validation would take too long, which schemas that refer to themselves from several branches can bring about.
func (s *Schema) Validate(payload []byte) error {
	return safely(ErrInvalidPayload, func() error { return s.validate(payload) })
}

func (s *Schema) validate(payload []byte) error {
	value, err := decode(payload, s.maxBytes, MaxDepth)
	var limit *limitError
	if errors.As(err, &limit) {
		return &ValidationError{Violations: []Violation{{clip(limit.path, maxPath), limit.rule, limit.why}}}
	}
	return validate(s.root, value, maxWork+len(payload))
}
