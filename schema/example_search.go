package schema

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

const (
	// maxExamples is how many values are tried for each schema on the way to an example.
	maxExamples = 40
	// maxExampleDepth is how deep an example nests.
	maxExampleDepth = 4
	// maxExampleSize is the size of the longest example that is shown, in bytes.
	maxExampleSize = 400
)

// exampleSearch makes small values that pass a schema, out of the values that two documents speak of.
type exampleSearch struct {
	texts   []any
	numbers []any
	keys    []string // names of properties, tried where the schema lets any through
	left    int      // the values that may still be made
}

// breakingExample finds the smallest value, among those that it tries, that the written schema takes and the reading
// one refuses. Lenient, it tries no properties that the written schema doesn't speak of.
func breakingExample(written, reading *node, lenient bool) (string, bool) {
	s := newExampleSearch(written, reading)
	if lenient {
		s.keys = nil
	}
	var found []string
	for _, value := range s.values(written, maxExampleDepth) {
		if decides(written, value, true) && decides(reading, value, false) {
			text, _ := json.Marshal(value)
			found = append(found, string(text))
		}
	}
	if len(found) == 0 {
		return "", false
	}
	return clip(slices.MinFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)),
			cmp.Compare(a, b))
	}), maxExampleSize), true
}

// decides reports whether a value surely passes a schema, or surely fails it.
func decides(n *node, value any, passes bool) bool {
	e := newEvaluation(maxWork / 1000)
	return e.check(n, value) == passes && !e.exhausted()
}

func newExampleSearch(schemas ...*node) *exampleSearch {
	s := &exampleSearch{left: 20_000, texts: []any{"", "a"}, numbers: []any{json.Number("0"), json.Number("0.5")}}
	keys := map[string]bool{"a": true}
	seen := map[*node]bool{}
	for _, n := range schemas {
		s.learn(n, keys, seen)
	}
	s.texts, s.numbers = distinct(s.texts), distinct(s.numbers)
	s.keys = sortedKeys(keys)
	s.keys = s.keys[:min(len(s.keys), maxExamples/2)]
	return s
}

func distinct(values []any) []any {
	seen := map[string]bool{}
	kept := slices.DeleteFunc(values, func(v any) bool {
		key := canonical(v)
		known := seen[key]
		seen[key] = true
		return known
	})
	return kept[:min(len(kept), maxExamples)]
}

// learn gathers the bounds, lengths and names that a document speaks of.
func (s *exampleSearch) learn(n *node, keys map[string]bool, seen map[*node]bool) {
	if seen[n] || len(seen) > 2_000 {
		return
	}
	seen[n] = true
	for _, bound := range []*number{n.minimum, n.maximum, n.exclusiveMinimum, n.exclusiveMaximum, n.multipleOf} {
		if bound != nil && len(s.numbers) < 4*maxExamples {
			s.numbers = append(s.numbers, around(bound)...)
		}
	}
	for _, length := range []*int{n.minLength, n.maxLength} {
		if length != nil && *length < maxExampleSize && len(s.texts) < 4*maxExamples {
			s.texts = append(s.texts, strings.Repeat("a", *length), strings.Repeat("a", *length+1),
				strings.Repeat("a", max(*length-1, 0)))
		}
	}
	for _, value := range append(slices.Clone(n.enum), n.konst...) {
		if text, ok := value.(string); ok && len(s.texts) < 4*maxExamples {
			s.texts = append(s.texts, text)
		}
	}
	for _, key := range append(sortedKeys(n.properties), n.required...) {
		keys[key] = true
	}
	for _, p := range n.patterns {
		keys[strings.Trim(p.pattern, "^$")] = true
	}
	for _, part := range append(n.inPlace(), n.below()...) {
		s.learn(part, keys, seen)
	}
}

// around is a bound, and what lies next to it.
func around(bound *number) []any {
	return []any{bound.text, plus(bound, 1), plus(bound, -1)}
}

func plus(bound *number, n int64) json.Number {
	return asNumber(new(big.Rat).Add(bound.rat, big.NewRat(n, 1)))
}

// values makes values that pass a schema.
func (s *exampleSearch) values(n *node, depth int) []any {
	n = n.target()
	if s.left < 0 || depth < 0 || n.isFalse() {
		return nil
	}
	made := append(slices.Clone(n.enum), n.konst...)
	if made == nil {
		for _, branch := range slices.Concat(n.allOf, n.anyOf, n.oneOf, present([]*node{n.then, n.otherwise})) {
			made = append(made, s.values(branch, depth)...)
		}
		made = append(made, s.scalars(n)...)
		made = append(made, s.arrays(n, depth)...)
		made = append(made, s.objects(n, depth, made)...)
	}
	s.left -= len(made)
	made = slices.DeleteFunc(made, func(v any) bool { return !decides(n, v, true) })
	slices.SortStableFunc(made, func(a, b any) int { return cmp.Compare(len(canonical(a)), len(canonical(b))) })
	return distinct(made)
}

func (n *node) takes(t typeSet) bool { return n.types == 0 || n.types&t != 0 }

func (s *exampleSearch) scalars(n *node) (made []any) {
	if n.takes(typeNull) {
		made = append(made, nil)
	}
	if n.takes(typeBoolean) {
		made = append(made, true, false)
	}
	if n.takes(typeNumber) {
		made = append(made, s.numbers...)
	}
	if n.takes(typeString) {
		made = append(made, s.texts...)
	}
	return made
}

func (s *exampleSearch) arrays(n *node, depth int) []any {
	if !n.takes(typeArray) || depth == 0 {
		return nil
	}
	made := []any{[]any{}}
	base := []any{}
	for i := range max(len(n.tuple)+1, least(n.minItems), 2) {
		items := []any{"a", nil, json.Number("0")}
		if want := n.forItem(i); want != nil {
			items = s.values(want, depth-1)
		}
		if len(items) == 0 || i > maxExamples {
			break
		}
		for _, item := range items {
			made = append(made, append(slices.Clone(base), item))
		}
		base = append(base, items[0])
	}
	return made
}

func least(count *int) int {
	if count == nil {
		return 0
	}
	return *count
}

// objects makes objects that have what is required, and one thing more or another value in one place. They are made
// from the objects that the branches of allOf and its like allow, too.
func (s *exampleSearch) objects(n *node, depth int, branches []any) (made []any) {
	if !n.takes(typeObject) || depth == 0 {
		return nil
	}
	base := map[string]any{}
	choices := map[string][]any{}
	for _, key := range slices.Concat(n.required, sortedKeys(n.properties), s.keys) {
		if choices[key] = s.propertyValues(n, key, depth-1); slices.Contains(n.required, key) && len(choices[key]) > 0 {
			base[key] = choices[key][0]
		}
	}
	bases := []map[string]any{base}
	for _, branch := range branches {
		if object, ok := branch.(map[string]any); ok && len(bases) < 8 {
			bases = append(bases, merged(base, object))
		}
	}
	for _, base := range bases {
		made = append(made, base)
		for _, key := range sortedKeys(choices) {
			for _, value := range choices[key] {
				if s.left -= len(base) / 10; s.left < 0 { // a copy of a large object costs more
					return made
				}
				made = append(made, merged(base, map[string]any{key: value}))
			}
		}
	}
	return made
}

func (s *exampleSearch) propertyValues(n *node, key string, depth int) []any {
	wants := n.forKey(key)
	if len(wants) == 0 {
		return []any{nil, json.Number("0"), "a"}
	}
	return s.values(wants[0], depth)
}

func merged(a, b map[string]any) map[string]any {
	out := make(map[string]any, len(a)+len(b))
	for key, value := range a {
		out[key] = value
	}
	for key, value := range b {
		out[key] = value
	}
	return out
}
