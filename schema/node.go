package schema

import (
	"encoding/json"
	"math/big"
)

// typeSet holds the types of JSON; a number that is no integer is a type of its own, so that integer ⊂ number.
type typeSet uint8

const (
	typeNull typeSet = 1 << iota
	typeBoolean
	typeInteger
	typeFraction
	typeString
	typeArray
	typeObject

	typeNumber = typeInteger | typeFraction
	anyType    = typeNull | typeBoolean | typeNumber | typeString | typeArray | typeObject
)

// typeNames is in the order of the bits; "number" before "integer", which it includes.
var typeNames = []struct {
	name string
	set  typeSet
}{
	{"null", typeNull}, {"boolean", typeBoolean}, {"number", typeNumber}, {"integer", typeInteger},
	{"string", typeString}, {"array", typeArray}, {"object", typeObject},
}

// names lists the set in the words of the type keyword.
func (s typeSet) names() []string {
	var names []string
	for _, t := range typeNames {
		if s&t.set == t.set {
			names = append(names, t.name)
			s &^= t.set
		}
	}
	return names
}

// number is a number of a schema, as written and exactly.
type number struct {
	text  json.Number
	rat   *big.Rat
	exact decimal
}

// node is one schema of a document: a boolean, a reference, or keywords that must all hold.
type node struct {
	path string // JSON pointer within its document
	key  string // equal for two schemas only when they mean the same; empty when they hold references

	always *bool // the schemas true and false
	refTo  string
	ref    *node

	types typeSet // zero when there is no type keyword
	enum  []any   // nil when there is no enum keyword
	konst []any   // one value, or none

	enumSet, constSet *valueSet // of enum and konst

	minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf *number

	minLength, maxLength, minItems, maxItems, minProperties, maxProperties *int

	pattern string
	regex   *expression // nil when there is no pattern keyword
	format  string
	unique  bool

	items, additionalItems, contains *node
	tuple                            []*node // nil when items is a single schema
	required                         []string
	properties                       map[string]*node
	patterns                         []patternSchema
	additional, propertyNames        *node
	dependencies                     []dependency

	allOf, anyOf, oneOf             []*node
	not, condition, then, otherwise *node
	hasLogic                        bool // any of these

	atom  string  // the keyword, in a node that the compatibility check has cut out of another
	atoms []*node // what the compatibility check has cut this one into

	disjoint bool     // in an atom of oneOf: its branches exclude each other
	glance   *summary // kept by summarize
}

// patternSchema is one entry of patternProperties.
type patternSchema struct {
	pattern string
	regex   *expression
	schema  *node
}

// dependency is one entry of dependencies: a list of keys, or a schema.
type dependency struct {
	key    string
	keys   []string
	schema *node
}

func (n *node) isTrue() bool  { return n.always != nil && *n.always }
func (n *node) isFalse() bool { return n.always != nil && !*n.always }

// inPlace lists the schemas that are asked about the same value as n is.
func (n *node) inPlace() []*node {
	all := append([]*node{}, n.allOf...)
	all = append(append(all, n.anyOf...), n.oneOf...)
	for _, d := range n.dependencies {
		all = append(all, d.schema)
	}
	return present(append(all, n.ref, n.not, n.condition, n.then, n.otherwise))
}

// below lists the schemas that are asked about what the value holds.
func (n *node) below() []*node {
	all := append([]*node{n.items, n.additionalItems, n.contains, n.additional, n.propertyNames}, n.tuple...)
	for _, key := range sortedKeys(n.properties) {
		all = append(all, n.properties[key])
	}
	for _, p := range n.patterns {
		all = append(all, p.schema)
	}
	return present(all)
}

func present(nodes []*node) []*node {
	kept := nodes[:0]
	for _, n := range nodes {
		if n != nil {
			kept = append(kept, n)
		}
	}
	return kept
}

// forKey lists the schemas that the value of a property must pass.
func (n *node) forKey(key string) []*node {
	var found []*node
	if schema, ok := n.properties[key]; ok {
		found = append(found, schema)
	}
	for _, p := range n.patterns {
		if p.regex.MatchString(key) {
			found = append(found, p.schema)
		}
	}
	if found == nil && n.additional != nil {
		found = append(found, n.additional)
	}
	return found
}

// forIndex lists the schema, if any, that the array's item at an index must pass.
func (n *node) forIndex(i int) []*node {
	return present([]*node{n.forItem(i)})
}

// forItem is the schema that the array's item at an index must pass, or nil.
func (n *node) forItem(i int) *node {
	switch {
	case n.items != nil:
		return n.items
	case i < len(n.tuple):
		return n.tuple[i]
	case n.tuple != nil:
		return n.additionalItems
	}
	return nil
}
