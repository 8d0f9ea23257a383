package schema

import (
	"cmp"
	"maps"
	"slices"
)

// sameMeaning reports whether two documents mean the same: titles and other notes, the names of definitions and
// definitions that nothing refers to don't matter. Documents that can't be read have no meaning.
func sameMeaning(a, b []byte) bool {
	if Document(a).Equal(b) {
		return true
	}
	one, errA := parse(a)
	other, errB := parse(b)
	if errA != nil || errB != nil {
		return false
	}
	return meanings{}.same(one.root(), other.root())
}

// meanings are the pairs of schemas that are taken to mean the same while they are compared: what refers to itself
// means the same when nothing else differs.
type meanings map[[2]*node]bool

func (m meanings) same(a, b *node) bool {
	a, b = a.target(), b.target()
	if a == nil || b == nil {
		return a == b
	}
	pair := [2]*node{a, b}
	if m[pair] {
		return true
	}
	if len(m) > maxProof { // two circles of different lengths have as many pairs as the product of these
		return false
	}
	m[pair] = true
	return sameKeywords(a, b) && m.sameLists(a, b) && m.sameMaps(a, b)
}

// sameKeywords compares what holds no schemas.
func sameKeywords(a, b *node) bool {
	return sameValue(a.always, b.always) && a.types == b.types && sameSet(a.enumSet, b.enumSet) &&
		sameSet(a.constSet, b.constSet) &&
		sameNumber(a.minimum, b.minimum) && sameNumber(a.maximum, b.maximum) &&
		sameNumber(a.multipleOf, b.multipleOf) &&
		sameNumber(a.exclusiveMinimum, b.exclusiveMinimum) && sameNumber(a.exclusiveMaximum, b.exclusiveMaximum) &&
		sameValue(a.minLength, b.minLength) && sameValue(a.maxLength, b.maxLength) &&
		sameValue(a.minItems, b.minItems) &&
		sameValue(a.maxItems, b.maxItems) && sameValue(a.minProperties, b.minProperties) &&
		sameValue(a.maxProperties, b.maxProperties) &&
		a.pattern == b.pattern && (a.regex == nil) == (b.regex == nil) && a.format == b.format &&
		a.unique == b.unique &&
		sameKeys(a.required, b.required)
}

func sameValue[V comparable](a, b *V) bool { return a == b || a != nil && b != nil && *a == *b }

func sameNumber(a, b *number) bool {
	return a == b || a != nil && b != nil && a.exact == b.exact
}

func sameSet(a, b *valueSet) bool {
	return a == b || a != nil && b != nil && maps.Equal(a.texts, b.texts) && maps.Equal(a.others, b.others)
}

func sameKeys(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func (m meanings) sameLists(a, b *node) bool {
	for i, list := range a.lists() {
		other := b.lists()[i]
		if (list == nil) != (other == nil) || !slices.EqualFunc(list, other, m.same) {
			return false
		}
	}
	return true
}

// lists are the schemas of a schema, but for those under a name.
func (n *node) lists() [][]*node {
	return [][]*node{
		{n.items, n.additionalItems, n.contains, n.additional, n.propertyNames, n.not, n.condition, n.then,
			n.otherwise},
		n.tuple, n.allOf, n.anyOf, n.oneOf,
	}
}

func (m meanings) sameMaps(a, b *node) bool {
	return maps.EqualFunc(a.properties, b.properties, m.same) &&
		slices.EqualFunc(a.patterns, b.patterns, func(x, y patternSchema) bool {
			return x.pattern == y.pattern &&
				m.same(x.schema, y.schema)
		}) &&
		slices.EqualFunc(sorted(a.dependencies), sorted(b.dependencies), func(x, y dependency) bool {
			return x.key == y.key && sameKeys(x.keys, y.keys) && m.same(x.schema, y.schema)
		})
}

func sorted(dependencies []dependency) []dependency {
	return slices.SortedFunc(slices.Values(dependencies),
		func(a, b dependency) int { return cmp.Compare(a.key, b.key) })
}
