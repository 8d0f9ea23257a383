package schema

import "slices"

// arrayFacts is what a claim says about an array: which items it has, and what every item or some item passes.
type arrayFacts struct {
	least, most int // most is -1 where there is no bound
	each        []*node
	never       []*node // schemas that no item passes
	some        []*node // schemas that some item passes
	broken      []*node // items atoms that some item breaks
	tuple       int     // how many leading items have schemas of their own
}

func (p *prover) refuteArray(c *claim) bool {
	f := c.arrayFacts()
	uniqueBoth := hasUnique(c.pos) && hasUnique(c.neg)
	if f.most >= 0 && f.least > f.most || uniqueBoth {
		return true
	}
	if f.most == 0 {
		return !p.possible(&claim{pos: c.seenPos, neg: c.seenNeg}, []any{})
	}
	return p.refuteItems(f)
}

func hasUnique(nodes []*node) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return n.unique })
}

func (c *claim) arrayFacts() *arrayFacts {
	f := &arrayFacts{}
	f.least, f.most = lengths(c, "minItems", "maxItems", func(n *node) (*int, *int) { return n.minItems, n.maxItems })
	for _, n := range c.pos {
		switch n.atom {
		case "items":
			f.each = append(f.each, n)
		case "contains":
			f.some = append(f.some, n.contains)
			f.least = max(f.least, 1)
		}
	}
	for _, n := range c.neg {
		switch n.atom {
		case "items":
			f.broken = append(f.broken, n)
			f.least = max(f.least, 1)
		case "contains":
			f.never = append(f.never, n.contains)
		case "uniqueItems":
			f.least = max(f.least, 2)
		}
	}
	f.close()
	return f
}

// close finds the first index at which no item can stand.
func (f *arrayFacts) close() {
	for _, n := range append(slices.Clone(f.each), f.broken...) {
		f.tuple = max(f.tuple, len(n.tuple))
	}
	for i := 0; i <= f.tuple && (f.most < 0 || i < f.most); i++ {
		if slices.ContainsFunc(f.at(i), (*node).isFalse) {
			f.most = i
		}
	}
}

// at lists the schemas that the item at an index passes.
func (f *arrayFacts) at(i int) (found []*node) {
	for _, n := range f.each {
		found = append(found, n.forIndex(i)...)
	}
	return found
}

// places lists the indexes that differ; the last stands for all after it.
func (f *arrayFacts) places() (indexes []int) {
	for i := 0; i <= f.tuple && (f.most < 0 || i < f.most); i++ {
		indexes = append(indexes, i)
	}
	return indexes
}

func (p *prover) refuteItems(f *arrayFacts) bool {
	all := func(impossible func(i int) bool) bool {
		return !slices.ContainsFunc(f.places(), func(i int) bool { return !impossible(i) })
	}
	for _, some := range f.some {
		if all(func(i int) bool { return p.empty(append(f.at(i), some), f.never) }) {
			return true
		}
	}
	for _, n := range f.broken {
		if all(func(i int) bool { return p.cannotBreak(f, n, i) }) {
			return true
		}
	}
	return slices.ContainsFunc(f.places(), func(i int) bool { return i < f.least && p.empty(f.at(i), f.never) })
}

func (p *prover) cannotBreak(f *arrayFacts, n *node, i int) bool {
	return !slices.ContainsFunc(n.forIndex(i), func(want *node) bool {
		return !p.empty(f.at(i), append([]*node{want}, f.never...))
	})
}
