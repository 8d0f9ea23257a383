package schema

import (
	"encoding/json"
	"slices"
)

// declaredTypes are the types that schemas accept together, as far as type says so.
func declaredTypes(nodes []*node) typeSet {
	types := anyType
	for _, n := range nodes {
		types &= n.declaredTypes()
	}
	return types
}

func (n *node) declaredTypes() typeSet {
	switch {
	case n.isFalse():
		return 0
	case n.ref != nil:
		return n.ref.declaredTypes()
	}
	types := anyType
	if n.types != 0 {
		types = n.types
	}
	types &= declaredTypes(n.allOf)
	for _, choice := range [][]*node{n.anyOf, n.oneOf} {
		if choice != nil {
			types &= unionOf(choice, (*node).declaredTypes)
		}
	}
	return types
}

// possibleTypes are the types that schemas let through together.
func possibleTypes(nodes []*node) typeSet {
	types := anyType
	for _, n := range nodes {
		types &= n.possibleTypes()
	}
	return types
}

func typesOf(values []any) (types typeSet) {
	for _, value := range values {
		number, isNumber := value.(json.Number)
		switch {
		case !isNumber:
			types |= typeOf(value)
		case rational(number).IsInt():
			types |= typeInteger
		default:
			types |= typeFraction
		}
	}
	return types
}

// possibleTypes are the types that a schema lets through, as far as type, enum, const, multipleOf and the choices
// between such schemas tell.
func (n *node) possibleTypes() typeSet {
	if n.ref != nil {
		return n.ref.possibleTypes()
	}
	if n.always != nil && !*n.always {
		return 0
	}
	types := anyType
	if n.types != 0 {
		types = n.types
	}
	if listed := append(slices.Clone(n.enum), n.konst...); listed != nil {
		types &= typesOf(listed)
	}
	if n.multipleOf != nil && n.multipleOf.exact.isWhole() {
		types &^= typeFraction
	}
	for _, part := range n.allOf {
		types &= part.possibleTypes()
	}
	for _, choice := range [][]*node{n.anyOf, n.oneOf} {
		if choice != nil {
			types &= unionOf(choice, (*node).possibleTypes)
		}
	}
	return types
}

func unionOf(branches []*node, types func(*node) typeSet) (union typeSet) {
	for _, branch := range branches {
		union |= types(branch)
	}
	return union
}
