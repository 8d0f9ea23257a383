package schema

import "slices"

// summary is what can be told of a schema at a glance: enough to see that two variants of a union are disjoint.
type summary struct {
	types typeSet // the types that its values can have, at most
	// tags are the properties that every value has, with the few values that they can have: those that name a variant.
	tags map[string]*valueSet
}

// summarize looks at a schema, its references and its allOf.
func (n *node) summarize() *summary {
	if n.ref != nil {
		return n.ref.summarize()
	}
	if n.glance == nil {
		n.glance = &summary{types: n.possibleTypes(), tags: map[string]*valueSet{}}
		for _, part := range n.allOf {
			for key, values := range part.summarize().tags {
				n.glance.tags[key] = values
			}
		}
		for _, key := range n.required {
			if property := n.properties[key].target(); property != nil && property.listed() != nil {
				n.glance.tags[key] = property.listed()
			}
		}
	}
	return n.glance
}

// target follows references.
func (n *node) target() *node {
	for n != nil && n.ref != nil {
		n = n.ref
	}
	return n
}

// listed is the set of values that a schema lists, or nil.
func (n *node) listed() *valueSet {
	if n.constSet != nil {
		return n.constSet
	}
	return n.enumSet
}

// disjoint reports whether no value passes both schemas, as far as that is plain: they share no type, or both are
// objects with a property that names the variant, and the names differ.
func disjoint(a, b *node) bool {
	x, y := a.summarize(), b.summarize()
	common := x.types & y.types
	if common == 0 {
		return true
	}
	if common != typeObject {
		return false
	}
	for key, values := range x.tags {
		if others := y.tags[key]; others != nil && !values.overlaps(others) {
			return true
		}
	}
	return false
}

func (s *valueSet) overlaps(other *valueSet) bool {
	return shareKey(s.texts, other.texts) || shareKey(s.others, other.others)
}

func shareKey(a, b map[string]bool) bool {
	for key := range a {
		if b[key] {
			return true
		}
	}
	return false
}

// maxUnion is how many branches are compared with each other.
const maxUnion = 1_000

// allDisjoint reports whether the branches of a oneOf exclude each other, so that it means the same as anyOf.
func allDisjoint(branches []*node) bool {
	if len(branches) > maxUnion {
		return false
	}
	for i, a := range branches {
		if slices.ContainsFunc(branches[:i], func(b *node) bool { return !disjoint(a, b) }) {
			return false
		}
	}
	return true
}

// apartFromAny reports whether a schema is disjoint from one of those that a value passes.
func apartFromAny(n *node, passed []*node) bool {
	return slices.ContainsFunc(passed, func(other *node) bool { return disjoint(n, other) })
}
