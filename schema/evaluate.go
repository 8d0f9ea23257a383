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
	*budget
	explains *explanation // nil where only the verdict is wanted
	text     []byte       // of the value that was written last
}

func newEvaluation(checks int) *evaluation { return &evaluation{budget: &budget{left: checks}} }

// explanation gathers what is wrong.
type explanation struct {
	path    []string // tokens of the JSON pointer to the value that is looked at
	found   []Violation
	omitted int
}

// fail notes a broken rule, and returns false.
func (e *evaluation) fail(rule string, why func() string) bool {
	switch {
	case e.explains == nil || e.exhausted(): // without work left, it may be no failure
	case e.explains.isFull():
		if e.explains.omitted++; e.explains.omitted == maxOmitted {
			e.left = -1
		}
	default:
		e.spend(checksPerFault+len(e.explains.path), workExplaining)
		e.explains.add(Violation{e.explains.pointer(), rule, clip(why(), maxWhy)})
	}
	return false
}

func (x *explanation) isFull() bool { return len(x.found) == MaxViolations }

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
	case !e.spend(1, workSchemas) || !e.spend(sizeOf(value)/bytesPerLook, workLongValues):
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
	switch {
	case e.explains == nil || e.exhausted():
		return false
	case e.explains.isFull():
		return e.fail(rule, plain(""))
	}
	var nearest *explanation
	var of *node
	for _, branch := range branches {
		try := &evaluation{budget: e.budget, explains: &explanation{path: e.explains.path}}
		try.check(branch, value)
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

// broken is the error that lists what was found.
func (x *explanation) broken() error {
	slices.SortFunc(x.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Why, b.Why))
	})
	return &ValidationError{slices.Compact(x.found), x.omitted}
}

func (b *budget) tooMuch() error {
	return &ValidationError{Violations: []Violation{{"", "work", fmt.Sprintf(
		"takes too many checks, most of them for %s: send less at once, or simplify the schema", b.most())}}}
}

// validate holds a value to a schema within some work, and says what is wrong. What was found holds, also when there is
// no work left to find more.
func validate(n *node, value any, checks int) error {
	quick := newEvaluation(checks)
	passes := quick.check(n, value)
	switch {
	case quick.exhausted():
		return quick.tooMuch()
	case passes:
		return nil
	}
	thorough := newEvaluation(checks)
	thorough.explains, thorough.text = &explanation{}, quick.text
	thorough.check(n, value)
	if len(thorough.explains.found) == 0 {
		return thorough.tooMuch()
	}
	return thorough.explains.broken()
}

func plain(text string) func() string { return func() string { return text } }

func with(format string, arguments ...any) func() string {
	return func() string { return fmt.Sprintf(format, arguments...) }
}
