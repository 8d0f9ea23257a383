package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// reporter finds out where two versions disagree, so that each problem names its place.
type reporter struct {
	prover   *prover
	old, new string // versions
	lenient  bool
	backward bool // the new version reads what the old one wrote
	problems []Problem
	omitted  int // problems past MaxViolations
	reported map[string]bool
	said     int             // problems that were put in words, those known already included
	count    int             // the same, and the comparisons that are being explained elsewhere
	seen     map[string]bool // the comparisons explained
}

// direction decides whether the reading schema takes all that the written one takes, and reports what it refuses. The
// verdict is the prover's alone: where the reporter finds no words, the answer is still no.
func (r *reporter) direction(written, reading *node, backward bool) {
	judge := newProver(r.lenient)
	if judge.covered([]*node{written}, reading) {
		return
	}
	r.prover, r.backward, r.seen = newProver(r.lenient), backward, map[string]bool{}
	before := r.said
	r.explain([]*node{written}, reading)
	switch {
	case r.said > before:
	case judge.spent():
		r.giveUp(reading)
	default:
		r.addUnexplained(written, reading)
	}
}

// addUnexplained reports a refusal that has no place of its own, by a value that shows it.
func (r *reporter) addUnexplained(written, reading *node) {
	rule := "schema"
	if parts := reading.split(); len(parts) > 0 {
		rule = cmp.Or(parts[0].atom, rule)
	}
	problem := r.refusal(&node{path: reading.path, atom: rule})
	if example, found := breakingExample(written, reading, r.lenient); found {
		reader, writer := r.sides()
		problem.Example = example
		problem.Why = fmt.Sprintf("%s refuses %s, which %s takes", reader, example, writer)
	}
	r.add("", problem)
}

// add keeps a problem, unless the same is known from the other direction. About is the property it speaks of, if any.
func (r *reporter) add(about string, problem Problem) {
	r.count++
	r.said++
	key := problem.Path + " " + problem.Rule + " " + about
	if r.reported[key] {
		return
	}
	r.reported[key] = true
	if len(r.problems) == MaxViolations {
		r.omitted++
		return
	}
	problem.Old, problem.New = r.old, r.new
	problem.Path, problem.Why = clip(problem.Path, maxPath), clip(problem.Why, maxProblem)
	r.problems = append(r.problems, problem)
}

// explain adds the reasons why values that pass from need not pass want.
func (r *reporter) explain(from []*node, want *node) {
	want = want.target()
	key := r.prover.key(targets(from)) + ">" + r.prover.key([]*node{want})
	if r.prover.covered(from, want) {
		return
	}
	if r.seen[key] {
		r.count++
		return
	}
	r.seen[key] = true
	before := r.count
	for _, part := range want.split() {
		switch {
		case r.prover.covered(from, part):
		case r.prover.spent():
			r.giveUp(want)
		case part.atom == "":
			r.explain(from, part)
		default:
			r.explainAtom(from, part)
		}
	}
	if r.count == before && r.prover.spent() {
		r.giveUp(want)
	}
}

func (r *reporter) giveUp(n *node) {
	r.add("", Problem{
		Path: n.path, Rule: "budget", Why: fmt.Sprintf("the comparison takes more than %d steps, which counts as "+
			"incompatible", maxProof),
		Mend: "simplify its anyOf, oneOf and not, or register this version with the mode none",
	})
}

func (r *reporter) explainAtom(from []*node, atom *node) {
	before := r.count
	switch atom.atom {
	case "properties":
		r.explainProperties(from, atom)
	case "items":
		r.explainItems(from, atom)
	case "anyOf":
		r.explainChoice(from, atom, atom.anyOf)
	case "oneOf":
		r.explainChoice(from, atom, atom.oneOf)
	}
	switch {
	case r.count > before:
	case r.prover.spent():
		r.giveUp(atom)
	default:
		r.add(strings.Join(atom.required, ""), r.refusal(atom))
	}
}

func (r *reporter) explainProperties(from []*node, atom *node) {
	facts := r.prover.flat(from, typeObject).objectFacts()
	for _, key := range facts.keys(atom) {
		if r.prover.cannotBreakValue(facts, atom, key) {
			continue
		}
		for _, want := range atom.forKey(key) {
			r.explainValue(facts.forKey(key), want, atom, "does not allow the property "+quoteClipped(key))
		}
	}
	if matched, breaks := r.prover.breakingMatch(facts, atom); breaks {
		for _, want := range atom.forMatched(matched) {
			r.explainValue(facts.forMatched(matched), want, atom, "does not allow other properties")
		}
	}
}

func (f *objectFacts) forMatched(matched map[string]bool) (found []*node) {
	for _, values := range f.values {
		found = append(found, values.forMatched(matched)...)
	}
	return found
}

// explainValue goes down, unless there is nothing below: a closed object.
func (r *reporter) explainValue(from []*node, want, atom *node, closed string) {
	if want.isFalse() {
		r.addClosed(atom.path, "additionalProperties", closed)
		return
	}
	r.explain(from, want)
}

func (r *reporter) addClosed(path, rule, closed string) {
	problem := r.refusal(&node{path: path, atom: rule})
	problem.Why = r.new + " " + closed
	if !r.backward {
		problem.Why = r.old + " " + closed
	}
	r.add(closed, problem)
}

func (r *reporter) explainItems(from []*node, atom *node) {
	facts := r.prover.flat(from, typeArray).arrayFacts()
	facts.tuple = max(facts.tuple, len(atom.tuple))
	for _, i := range facts.places() {
		for _, want := range atom.forIndex(i) {
			switch {
			case r.prover.cannotBreak(facts, atom, i):
			case want.isFalse():
				r.addClosed(atom.path, "additionalItems", fmt.Sprintf("does not allow an item at index %d", i))
			default:
				r.explain(facts.at(i), want)
			}
		}
	}
}

// explainChoice goes into the only branch that can take a variant of the writing version, or a type, such as the
// object beside null.
func (r *reporter) explainChoice(from []*node, atom *node, branches []*node) {
	variants := r.variants(from)
	if len(variants) == 0 {
		variants = typeNodes
	}
	for _, variant := range variants {
		narrowed := append([]*node{variant}, from...)
		if r.prover.covered(narrowed, atom) {
			continue
		}
		if viable := r.prover.viable(branches, variant); len(viable) == 1 {
			r.explain(narrowed, viable[0])
		}
	}
}

// variants are the branches of the writing version's union, if it has one.
func (r *reporter) variants(from []*node) []*node {
	for _, n := range from {
		for _, part := range n.target().split() {
			if branches := append(slices.Clone(part.anyOf), part.oneOf...); len(branches) > 1 && allDisjoint(branches) {
				return branches
			}
		}
	}
	return nil
}

var typeNodes = func() (nodes []*node) {
	for _, t := range []typeSet{typeNull, typeBoolean, typeNumber, typeString, typeArray, typeObject} {
		nodes = append(nodes, &node{atom: "type", types: t})
	}
	return nodes
}()

func (p *prover) viable(branches []*node, with ...*node) (kept []*node) {
	for _, branch := range branches {
		if !apartFromAny(branch, with) && !p.empty(append([]*node{branch}, with...), nil) {
			kept = append(kept, branch)
		}
	}
	return kept
}

// flat gathers the atoms of schemas for values of one type; of a choice it takes the branch that is possible, if it
// is the only one.
func (p *prover) flat(from []*node, t typeSet) *claim {
	c := &claim{}
	for _, n := range from {
		p.assume(c, n)
	}
	typed := typeNodes[slices.IndexFunc(typeNodes, func(n *node) bool { return n.types == t })]
	for i := 0; i < len(c.posChoices); i++ {
		choice := c.posChoices[i]
		viable := p.viable(append(slices.Clone(choice.anyOf), choice.oneOf...), append([]*node{typed}, from...)...)
		if len(viable) == 1 {
			p.assume(c, viable[0])
		}
	}
	return c
}

// keepAll reports what the new version drops.
func (r *reporter) keepAll(old, new *node) {
	r.prover, r.seen = newProver(r.lenient), map[string]bool{}
	r.keep([]*node{old}, []*node{new})
	if r.prover.spent() {
		r.giveUp(new)
	}
}

// keep reports what the new version must not drop whatever the mode: required properties, and types.
func (r *reporter) keep(old, new []*node) {
	key := r.prover.key(targets(old)) + "=" + r.prover.key(targets(new))
	if r.seen[key] || len(old) == 0 || len(new) == 0 {
		return
	}
	r.seen[key] = true
	defer r.prover.leave()
	if r.prover.steps++; !r.prover.enter() {
		return
	}
	if gone := possibleTypes(old) &^ declaredTypes(new); gone != 0 {
		r.add("", Problem{
			Path: old[0].path, Rule: "type", Mend: backwardMends["type"],
			Why: fmt.Sprintf("%s no longer accepts %s, which %s does", r.new, wording(gone), r.old),
		})
		return
	}
	r.keepProperties(old, new)
	r.keepItems(old, new)
	r.keepVariants(old, new)
}

// keepVariants compares each variant of a union with the one that takes its place.
func (r *reporter) keepVariants(old, new []*node) {
	successors := r.variants(new)
	for _, variant := range r.variants(old) {
		found := slices.DeleteFunc(slices.Clone(successors), func(n *node) bool { return disjoint(n, variant) })
		if len(found) == 1 {
			r.keep([]*node{variant}, found)
		}
	}
}

func wording(gone typeSet) string {
	if gone == typeFraction {
		return "numbers that are no integers"
	}
	return strings.Join(gone.names(), ", ")
}

func (r *reporter) keepProperties(old, new []*node) {
	was, is := r.prover.flat(old, typeObject).objectFacts(), r.prover.flat(new, typeObject).objectFacts()
	for _, key := range sortedKeys(was.has) {
		if !is.has[key] && !r.prover.requires(new, key) {
			r.add(key, Problem{
				Path: old[0].path, Rule: "required", Mend: "keep it required, for readers rely on it",
				Why: fmt.Sprintf("%s no longer requires the property %s, which %s does", r.new, quoteClipped(key),
					r.old),
			})
		}
	}
	for _, n := range was.values {
		for _, key := range sortedKeys(n.properties) {
			if now := is.forKey(key); !slices.ContainsFunc(now, (*node).isFalse) { // else it is gone, not changed
				r.keep(was.forKey(key), now)
			}
		}
	}
	r.keep(was.forMatched(nil), is.forMatched(nil))
}

// requires reports whether every object that passes all of the schemas has a property: each variant of a union may
// require it.
func (p *prover) requires(nodes []*node, key string) bool {
	object := &node{atom: "type", types: typeObject}
	return p.covered(append([]*node{object}, nodes...), &node{atom: "required", required: []string{key}})
}

func (r *reporter) keepItems(old, new []*node) {
	was, is := r.prover.flat(old, typeArray).arrayFacts(), r.prover.flat(new, typeArray).arrayFacts()
	for i := range max(was.tuple, is.tuple) + 1 {
		if was.most >= 0 && i >= was.most {
			return // the old version had no such item
		}
		r.keep(was.at(i), is.at(i))
	}
}
