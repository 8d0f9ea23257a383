package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// evaluation holds one value to one schema, with a bounded amount of work. It is used once, or as often as its work
// lasts.
type evaluation struct {
	left     int          // the work that may still be done, in checks
	refused  string       // what took too much work; empty as long as there is some left
	explains *explanation // nil where only the verdict is wanted
}

// explanation gathers what is wrong.
type explanation struct {
	path    []string // tokens of the JSON pointer to the value that is looked at
	found   []Violation
	omitted int
}

// spend pays for checks; it is false once there is no work left, after which no answer counts.
func (e *evaluation) spend(checks int, what string) bool {
	e.left -= checks
	if e.left < 0 && e.refused == "" {
		e.refused = what
	}
	return e.left >= 0
}

// fail notes a broken rule, and returns false.
func (e *evaluation) fail(rule string, why func() string) bool {
	switch {
	case e.explains == nil || e.left < 0: // without work left, it may be no failure
	case len(e.explains.found) == MaxViolations:
		if e.explains.omitted++; e.explains.omitted == maxOmitted {
			e.left = -1
		}
	default:
		e.explains.add(Violation{e.explains.pointer(), rule, clip(why(), maxWhy)})
	}
	return false
}

func (x *explanation) add(violations ...Violation) {
	kept := min(len(violations), MaxViolations-len(x.found))
	x.found = append(x.found, violations[:kept]...)
	x.omitted += len(violations) - kept
}

func (x *explanation) pointer() string {
	var path strings.Builder
	for _, token := range x.path {
		if path.Len()+len(token) > maxPath {
			return path.String() + "/…"
		}
		path.WriteString(pointer("", token))
	}
	return path.String()
}

// holds runs checks one after the other. Where only the verdict is wanted it stops at the first that fails.
func (e *evaluation) holds(n *node, value any, checks ...func(*evaluation, *node, any) bool) bool {
	all := true
	for _, check := range checks {
		if !check(e, n, value) {
			all = false
			if e.explains == nil {
				return false
			}
		}
	}
	return all
}

// check reports whether a value passes a schema.
func (e *evaluation) check(n *node, value any) bool {
	switch {
	case !e.spend(1, "the schemas that its values must meet"):
		return false
	case n.always != nil && !*n.always:
		return e.fail("false", plain("is not allowed"))
	case n.always != nil:
		return true
	case n.ref != nil:
		return e.check(n.ref, value)
	}
	all := e.holds(n, value, (*evaluation).checkValue)
	if all || e.explains != nil {
		switch v := value.(type) {
		case json.Number:
			all = e.checkNumber(n, v) && all
		case string:
			all = e.checkText(n, v) && all
		case []any:
			all = e.checkArray(n, v) && all
		case map[string]any:
			all = e.checkObject(n, v) && all
		}
	}
	if n.hasLogic && (all || e.explains != nil) {
		all = e.holds(n, value, (*evaluation).checkAll, (*evaluation).checkAny, (*evaluation).checkOne,
			(*evaluation).checkNot, (*evaluation).checkIf) && all
	}
	return all
}

// below checks an item or a property of a value.
func (e *evaluation) below(token string, n *node, value any) bool {
	if e.explains == nil {
		return e.check(n, value)
	}
	e.explains.path = append(e.explains.path, token)
	all := e.check(n, value)
	e.explains.path = e.explains.path[:len(e.explains.path)-1]
	return all
}

// silently asks for a verdict alone.
func (e *evaluation) silently(n *node, value any) bool {
	explains := e.explains
	e.explains = nil
	all := e.check(n, value)
	e.explains = explains
	return all
}

func (e *evaluation) checkAll(n *node, value any) bool {
	all := true
	for _, part := range n.allOf {
		all = e.check(part, value) && all
		if !all && e.explains == nil {
			return false
		}
	}
	return all
}

func (e *evaluation) checkAny(n *node, value any) bool {
	if n.anyOf == nil || slices.ContainsFunc(n.anyOf, func(part *node) bool { return e.silently(part, value) }) {
		return true
	}
	return e.failChoice("anyOf", n.anyOf, value)
}

func (e *evaluation) checkOne(n *node, value any) bool {
	if n.oneOf == nil {
		return true
	}
	fits := -1
	for i, part := range n.oneOf {
		switch {
		case !e.silently(part, value):
		case fits >= 0:
			return e.fail("oneOf", func() string {
				return fmt.Sprintf("must fit exactly one of the schemas, and fits %s and %s", n.oneOf[fits].path,
					part.path)
			})
		default:
			fits = i
		}
	}
	return fits >= 0 || e.failChoice("oneOf", n.oneOf, value)
}

// failChoice explains a choice by the branch that comes nearest.
func (e *evaluation) failChoice(rule string, branches []*node, value any) bool {
	if e.explains == nil || e.left < 0 {
		return false
	}
	var nearest *explanation
	var of *node
	for _, branch := range branches {
		try := &evaluation{left: e.left, explains: &explanation{path: e.explains.path}}
		try.check(branch, value)
		e.left = try.left
		if nearest == nil || try.explains.distance() < nearest.distance() {
			nearest, of = try.explains, branch
		}
	}
	e.fail(rule, func() string { return "fits none of the schemas; the nearest is " + of.path })
	e.explains.add(nearest.found...)
	e.explains.omitted += nearest.omitted
	return false
}

// distance says how far the value is from the schema: a wrong type of the value itself, or a wrong constant, such as
// the one that names the variant, weighs more than all else.
func (x *explanation) distance() int {
	far := x.omitted
	for _, v := range x.found {
		depth := strings.Count(v.Path, "/") - len(x.path)
		switch {
		case v.Rule == "type" && depth == 0, v.Rule == "const" && depth <= 1, v.Rule == "enum" && depth <= 1:
			far += 1000
		default:
			far++
		}
	}
	return far
}

func (e *evaluation) checkNot(n *node, value any) bool {
	if n.not == nil || !e.silently(n.not, value) {
		return true
	}
	return e.fail("not", plain("fits what is excluded"))
}

func (e *evaluation) checkIf(n *node, value any) bool {
	if n.condition == nil {
		return true
	}
	branch := n.otherwise
	if e.silently(n.condition, value) {
		branch = n.then
	}
	return branch == nil || e.check(branch, value)
}

// verdict is the answer of an evaluation: nil, or a *ValidationError.
func (e *evaluation) verdict(passes bool) error {
	if e.refused != "" {
		return tooMuch(e.refused)
	}
	if passes {
		return nil
	}
	found := e.explains.found
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Why, b.Why))
	})
	return &ValidationError{slices.Compact(found), e.explains.omitted}
}

func tooMuch(what string) error {
	return &ValidationError{Violations: []Violation{{"", "work", fmt.Sprintf(
		"takes too many checks, most of them for %s: send less at once, or simplify the schema", what)}}}
}

// validate holds a value to a schema within some work, and says what is wrong.
func validate(n *node, value any, work int) error {
	quick := &evaluation{left: work}
	if passes := quick.check(n, value); passes || quick.refused != "" {
		return quick.verdict(passes)
	}
	thorough := &evaluation{left: work, explains: &explanation{}}
	thorough.check(n, value)
	if len(thorough.explains.found) == 0 {
		return tooMuch(thorough.refused)
	}
	thorough.refused = "" // what was found holds
	return thorough.verdict(false)
}

func plain(text string) func() string { return func() string { return text } }

func with(format string, arguments ...any) func() string {
	return func() string { return fmt.Sprintf(format, arguments...) }
}
