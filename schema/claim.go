package schema

import "slices"

// claim is a set of atoms: a value passes all of pos and none of neg. Choices are atoms that split the claim.
type claim struct {
	pos, neg               []*node
	posChoices, negChoices []*node
	seenPos, seenNeg       []*node // all that went in, whole, to meet its own opposite
}

func (c *claim) clone() *claim {
	return &claim{
		slices.Clone(c.pos), slices.Clone(c.neg), slices.Clone(c.posChoices), slices.Clone(c.negChoices),
		slices.Clone(c.seenPos), slices.Clone(c.seenNeg),
	}
}

// requiredKeys are the properties that an object of the claim has.
func (c *claim) requiredKeys() map[string]bool {
	keys := map[string]bool{}
	for _, n := range c.pos {
		if n.atom == "required" {
			keys[n.required[0]] = true
		}
	}
	return keys
}

// dropIdle forgets the denied schemas that no value of the claim passes anyway: the other variants of a union.
func (c *claim) dropIdle() {
	c.negChoices = slices.DeleteFunc(c.negChoices, func(n *node) bool {
		return n.atom == "" && apartFromAny(n, c.seenPos)
	})
}

// types are those that a value of the claim can have.
func (c *claim) types() typeSet {
	types := anyType
	for _, n := range c.pos {
		if n.atom == "type" {
			types &= n.types
		}
	}
	for _, n := range c.neg {
		if n.atom == "type" {
			types &^= n.types
		}
		if about := n.about(); about != 0 {
			types &= about
		}
	}
	return types
}

// about keeps the atoms that speak of a type.
func (c *claim) about(t typeSet) *claim {
	keep := func(nodes []*node) (kept []*node) {
		for _, n := range nodes {
			if n.about() == t {
				kept = append(kept, n)
			}
		}
		return kept
	}
	return &claim{pos: keep(c.pos), neg: keep(c.neg), seenPos: c.pos, seenNeg: c.neg}
}

// values lists the candidates of a type when they are few.
func (c *claim) values(t typeSet) ([]any, bool) {
	switch t {
	case typeNull:
		return []any{nil}, true
	case typeBoolean:
		return []any{true, false}, true
	}
	for _, n := range c.pos {
		if listed := append(n.enum, n.konst...); listed != nil {
			return ofType(listed, t), true
		}
	}
	return nil, false
}

func ofType(values []any, t typeSet) (kept []any) {
	for _, v := range values {
		if typeOf(v)&t != 0 {
			kept = append(kept, v)
		}
	}
	return kept
}
