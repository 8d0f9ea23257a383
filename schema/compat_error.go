package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CompatibilityError says why a version is refused. It is an [ErrIncompatible].
type CompatibilityError struct {
	Version  string // the version that is refused
	Mode     Mode
	Problems []Problem
	Omitted  int // how many more there are, past [MaxViolations]
}

// Problem is one change that breaks somebody.
type Problem struct {
	Path string // JSON pointer to the schema that refuses
	Rule string // its keyword; "budget" where the comparison was given up
	Old  string // the version that the new one was compared with
	New  string // the version that is refused
	Why  string // what the change does
	Mend string // what to do instead

	// Example is a small JSON value that one version takes and the other refuses; empty where none was looked for, or
	// none was found.
	Example string
}

// String reads `path rule: why: mend`.
func (p Problem) String() string {
	return fmt.Sprintf("%s %s: %s: %s", at(p.Path), p.Rule, p.Why, p.Mend)
}

func (e *CompatibilityError) Error() string {
	return list(ErrIncompatible, fmt.Sprintf(": version %s (%s)", e.Version, e.Mode), e.Problems,
		e.Omitted)
}

// add takes over what a comparison with one more version has found.
func (e *CompatibilityError) add(r *reporter) {
	kept := min(len(r.problems), MaxViolations-len(e.Problems))
	e.Problems = append(e.Problems, r.problems[:kept]...)
	e.Omitted += r.omitted + len(r.problems) - kept
}

func (e *CompatibilityError) Unwrap() error { return ErrIncompatible }

// refusal describes an atom that refuses what the writing version lets through.
func (r *reporter) refusal(atom *node) Problem {
	reader, writer := r.sides()
	why := fmt.Sprintf("%s asks for %s, and documents of %s need not comply", reader, r.demand(atom), writer)
	return Problem{Path: atom.path, Rule: atom.atom, Why: why, Mend: r.mend(atom)}
}

func (r *reporter) sides() (reader, writer string) {
	if r.backward {
		return r.new, r.old
	}
	return r.old, r.new
}

// demand says what a keyword asks for.
func (r *reporter) demand(atom *node) string {
	switch atom.atom {
	case "required":
		return "the property " + quoteClipped(atom.required[0])
	case "false":
		return "nothing at all"
	case "type":
		return strings.Join(atom.types.names(), " or ")
	case "enum", "const":
		return oneOf(append(slices.Clone(atom.enum), atom.konst...))
	case "pattern":
		return "the pattern " + clip(atom.pattern, maxName)
	case "format":
		return "the format " + atom.format
	}
	if value, ok := atom.scalar(); ok {
		return fmt.Sprintf("%s %s", atom.atom, value)
	}
	return "what its " + atom.atom + " says"
}

// scalar is the value of a keyword that has a number.
func (n *node) scalar() (string, bool) {
	for _, bound := range []*number{n.minimum, n.maximum, n.exclusiveMinimum, n.exclusiveMaximum, n.multipleOf} {
		if bound != nil {
			return string(bound.text), true
		}
	}
	for _, count := range []*int{n.minLength, n.maxLength, n.minItems, n.maxItems, n.minProperties, n.maxProperties} {
		if count != nil {
			return strconv.Itoa(*count), true
		}
	}
	return "", false
}

// mend says what to change, in the new version, for it is the only one that can change.
func (r *reporter) mend(atom *node) string {
	if r.backward {
		if mend, ok := backwardMends[atom.atom]; ok {
			return mend
		}
		return fmt.Sprintf("loosen it in %s to what %s allows, or publish under a new name", r.new, r.old)
	}
	if mend, ok := forwardMends[atom.atom]; ok {
		return mend
	}
	return fmt.Sprintf("keep %s within what %s allows, or publish under a new name", r.new, r.old)
}

var backwardMends = map[string]string{
	"required":             "make the property optional",
	"type":                 "keep the type, and add a property of another name for the new one",
	"enum":                 "keep the values that were allowed",
	"const":                "keep the value that was allowed",
	"additionalProperties": "keep the object open, or declare the property",
	"patternProperties":    "loosen the schema of the pattern",
}

var forwardMends = map[string]string{
	"required":             "keep the property required, for older readers rely on it",
	"type":                 "keep the type, and add a property of another name for the new one",
	"enum":                 "add no value that older readers don't know, or let them move first (backward)",
	"const":                "keep the value, for older readers know no other",
	"additionalProperties": "older readers take no new properties: let them move first (backward)",
}
