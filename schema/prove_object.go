package schema

import "slices"

// maxPatterns is how many different patterns of property names one comparison takes on: every subset is a case.
const maxPatterns = 5

// objectFacts is what a claim says about an object.
type objectFacts struct {
	least, most int             // properties; most is -1 where there is no bound
	has, lacks  map[string]bool // properties
	values      []*node         // properties atoms that hold
	names       []*node         // schemas that every name passes
	broken      []*node         // properties atoms that some property breaks
	badNames    []*node         // schemas that some name breaks
}

func (p *prover) refuteObject(c *claim) bool {
	f := c.objectFacts()
	for _, key := range sortedKeys(f.has) {
		if f.lacks[key] || p.impossibleName(f, key) || p.empty(f.forKey(key), nil) {
			return true
		}
	}
	if f.most >= 0 && f.least > f.most {
		return true
	}
	if f.most == 0 {
		return !p.possible(&claim{pos: c.seenPos, neg: c.seenNeg}, map[string]any{})
	}
	return slices.ContainsFunc(f.broken, func(n *node) bool { return p.cannotBreakValues(f, n) }) ||
		slices.ContainsFunc(f.badNames, func(n *node) bool { return p.cannotBreakNames(f, n) })
}

func (c *claim) objectFacts() *objectFacts {
	f := &objectFacts{has: map[string]bool{}, lacks: map[string]bool{}}
	f.least, f.most = lengths(c, "minProperties", "maxProperties",
		func(n *node) (*int, *int) { return n.minProperties, n.maxProperties })
	for _, n := range c.pos {
		switch n.atom {
		case "required":
			f.has[n.required[0]] = true
		case "properties":
			f.values = append(f.values, n)
		case "propertyNames":
			f.names = append(f.names, n.propertyNames)
		}
	}
	for _, n := range c.neg {
		switch n.atom {
		case "required":
			f.lacks[n.required[0]] = true
		case "properties":
			f.broken = append(f.broken, n)
		case "propertyNames":
			f.badNames = append(f.badNames, n.propertyNames)
		}
	}
	f.count()
	return f
}

// count counts the properties that there must and can be.
func (f *objectFacts) count() {
	f.least = max(f.least, len(f.has))
	if len(f.broken)+len(f.badNames) > 0 {
		f.least = max(f.least, 1)
	}
	for _, n := range f.values {
		if names, closed := n.onlyNames(); closed && (f.most < 0 || len(names) < f.most) {
			f.most = len(names)
		}
	}
}

// onlyNames lists the names of an object that allows no others.
func (n *node) onlyNames() ([]string, bool) {
	if len(n.patterns) > 0 || n.additional == nil || !n.additional.isFalse() {
		return nil, false
	}
	var names []string
	for key, schema := range n.properties {
		if !schema.isFalse() {
			names = append(names, key)
		}
	}
	return names, true
}

func (f *objectFacts) forKey(key string) (found []*node) {
	for _, n := range f.values {
		found = append(found, n.forKey(key)...)
	}
	return found
}

func (p *prover) impossibleName(f *objectFacts, key string) bool {
	return slices.ContainsFunc(f.names, func(n *node) bool {
		passes, sure := p.passes(n, key)
		return sure && !passes
	})
}

// cannotBreakValues reports whether no property can break what n asks of values.
func (p *prover) cannotBreakValues(f *objectFacts, n *node) bool {
	for _, key := range f.keys(n) {
		if !p.cannotBreakValue(f, n, key) {
			return false
		}
	}
	return p.cannotBreakOthers(f, n)
}

// keys lists the properties that have a schema of their own.
func (f *objectFacts) keys(n *node) []string {
	names := map[string]bool{}
	for _, values := range append([]*node{n}, f.values...) {
		for key := range values.properties {
			names[key] = true
		}
	}
	for key := range f.has {
		names[key] = true
	}
	return sortedKeys(names)
}

func (p *prover) cannotBreakValue(f *objectFacts, n *node, key string) bool {
	if f.lacks[key] || p.isNew(f, n, key) || p.impossibleName(f, key) {
		return true
	}
	from := f.forKey(key)
	return !slices.ContainsFunc(n.forKey(key), func(want *node) bool { return !p.covered(from, want) })
}

// isNew is the lenience about open objects: a property that n declares, and that is nowhere
// declared where the values come from, is taken to be absent there although an open object lets it
// be anything. One that says additionalProperties promises openness, and is taken at its word.
func (p *prover) isNew(f *objectFacts, n *node, key string) bool {
	return p.lenient && n.properties[key] != nil && !f.has[key] && !slices.ContainsFunc(f.values, func(v *node) bool {
		return v.properties[key] != nil || v.additional != nil || !isOpen(v.forKey(key))
	})
}

func isOpen(schemas []*node) bool {
	return !slices.ContainsFunc(schemas, func(n *node) bool { return !n.isTrue() && len(n.split()) > 0 })
}

// cannotBreakOthers looks at the properties without a schema of their own.
func (p *prover) cannotBreakOthers(f *objectFacts, n *node) bool {
	_, breaks := p.breakingMatch(f, n)
	return !breaks
}

// breakingMatch finds patterns such that a property that matches just these, and has no schema of its own, can break
// what n asks of values.
func (p *prover) breakingMatch(f *objectFacts, n *node) (matched map[string]bool, breaks bool) {
	patterns := map[string]bool{}
	for _, values := range append([]*node{n}, f.values...) {
		for _, pattern := range values.patterns {
			patterns[pattern.pattern] = true
		}
	}
	if len(patterns) > maxPatterns {
		return nil, true
	}
	names := sortedKeys(patterns)
	for subset := range 1 << len(names) {
		matched, possible := map[string]bool{}, true
		for i, name := range names {
			matched[name] = subset>>i&1 == 1
			possible = possible && (matched[name] || !slices.Contains(matchAll, name))
		}
		if possible && !p.cannotBreakMatched(f, n, matched) {
			return matched, true
		}
	}
	return nil, false
}

func (p *prover) cannotBreakMatched(f *objectFacts, n *node, matched map[string]bool) bool {
	var from []*node
	for _, values := range f.values {
		from = append(from, values.forMatched(matched)...)
	}
	wants := n.forMatched(matched)
	isPattern := slices.ContainsFunc(n.patterns, func(s patternSchema) bool { return matched[s.pattern] })
	promised := slices.ContainsFunc(f.values, func(v *node) bool { return v.additional != nil }) // see isNew
	if p.lenient && isPattern && !promised && isOpen(from) {
		return true
	}
	return !slices.ContainsFunc(wants, func(want *node) bool { return !p.covered(from, want) })
}

// forMatched lists the schemas for a property that has no schema of its own and matches just these patterns.
func (n *node) forMatched(matched map[string]bool) (found []*node) {
	for _, s := range n.patterns {
		if matched[s.pattern] {
			found = append(found, s.schema)
		}
	}
	if found == nil && n.additional != nil {
		found = append(found, n.additional)
	}
	return found
}

// text is what every name of a property is.
var text = &node{atom: "type", types: typeString}

func (p *prover) cannotBreakNames(f *objectFacts, bad *node) bool {
	if p.covered(append([]*node{text}, f.names...), bad) {
		return true
	}
	return slices.ContainsFunc(f.values, func(n *node) bool {
		names, closed := n.onlyNames()
		return closed && !slices.ContainsFunc(names, func(key string) bool {
			passes, sure := p.passes(bad, key)
			return !sure || !passes
		})
	})
}
