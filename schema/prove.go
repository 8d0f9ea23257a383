package schema

import (
	"encoding/json"
	"slices"
	"strconv"
)

// prover decides whether schemas contradict each other. It is a tableau over the keywords: it may fail to find a
// contradiction, or run out of steps, and then says that there is none; what it does find holds.
//
// Schemas that refer to themselves are compared by induction on how deep a value nests: a question that comes up
// again while it is being answered is about something that the value holds, and may be taken as answered.
type prover struct {
	lenient bool
	steps   int
	checks  int // of values, which cost less
	depth   int // of the question that is being answered
	ids     map[*node]int
	open    map[string]bool
	known   map[string]bool
	trail   []string // the contradictions found, oldest first: those under an assumption that fails are forgotten
}

func newProver(lenient bool) *prover {
	return &prover{
		lenient: lenient, ids: map[*node]int{}, open: map[string]bool{}, known: map[string]bool{},
	}
}

// spent reports whether the budget is used up, after which nothing is found any more.
func (p *prover) spent() bool { return p.steps+p.checks/checksPerStep > maxProof }

// checksPerStep is how many checks of a value cost as much as one step.
const checksPerStep = 20

// enter goes a level deeper. It is false where nothing is found any more: a question that nests too deep, for which the
// stack would not last, uses up the budget.
func (p *prover) enter() bool {
	if p.depth++; p.depth > maxProofDepth {
		p.steps = maxProof + 1
	}
	return !p.spent()
}

func (p *prover) leave() { p.depth-- }

// covered reports whether every value that passes all of from passes want.
func (p *prover) covered(from []*node, want *node) bool {
	return requiredBy(from, want) || p.empty(from, []*node{want})
}

// requiredBy reports whether want asks for nothing but a property that a schema of from plainly requires. Structs
// require many properties, and this spares a proof for each.
func requiredBy(from []*node, want *node) bool {
	return want.atom == "required" && slices.ContainsFunc(targets(from), func(n *node) bool {
		return slices.Contains(n.required, want.required[0])
	})
}

// empty reports whether no value passes all of pos and none of neg.
func (p *prover) empty(pos, neg []*node) bool {
	pos, neg = targets(pos), targets(neg)
	key := p.key(pos) + "|" + p.key(neg)
	if answer, ok := p.known[key]; ok {
		return answer
	}
	if p.open[key] {
		return true
	}
	defer p.leave()
	if !p.enter() {
		return false
	}
	p.open[key] = true
	mark := len(p.trail)
	answer := p.refute(&claim{}, pos, neg)
	delete(p.open, key)
	if !answer {
		for _, forgotten := range p.trail[mark:] {
			delete(p.known, forgotten)
		}
		p.trail = p.trail[:mark]
	} else {
		p.trail = append(p.trail, key)
	}
	p.known[key] = answer
	return answer
}

// targets follows references, so that a question is recognised whichever way it came.
func targets(nodes []*node) []*node {
	found := slices.Clone(nodes)
	for i, n := range found {
		for ; n.ref != nil; n = n.ref {
		}
		found[i] = n
	}
	return found
}

func (p *prover) key(nodes []*node) string {
	ids := make([]int, len(nodes))
	for i, n := range nodes {
		id, ok := p.ids[n]
		if !ok {
			id = len(p.ids)
			p.ids[n] = id
		}
		ids[i] = id
	}
	slices.Sort(ids)
	text := make([]byte, 0, 8*len(ids))
	for _, id := range slices.Compact(ids) {
		text = append(strconv.AppendInt(text, int64(id), 36), ' ')
	}
	return string(text)
}

// refute adds schemas to a claim and reports whether that contradicts itself. The claim is used up.
func (p *prover) refute(c *claim, pos, neg []*node) bool {
	known := len(c.seenPos)
	p.steps += 1 + (known+len(c.seenNeg))/10 // a large claim costs more, and so does making one
	if p.spent() {
		return false
	}
	for _, n := range pos {
		if p.assume(c, n) {
			return true
		}
	}
	for _, n := range neg {
		if p.deny(c, n) {
			return true
		}
	}
	p.steps += (len(c.seenPos) - known) / 10
	return !c.types().any() || p.choose(c)
}

// assume adds a schema that holds.
func (p *prover) assume(c *claim, n *node) bool {
	if n.isTrue() {
		return false
	}
	if n.isFalse() || meets(c.seenNeg, n) {
		return true
	}
	c.seenPos = append(c.seenPos, n)
	switch n.atom {
	case "":
		return slices.ContainsFunc(n.split(), func(part *node) bool { return p.assume(c, part) })
	case "not":
		return p.deny(c, n.not)
	case "anyOf", "oneOf", "if", "dependencies":
		c.posChoices = append(c.posChoices, n)
	default:
		c.pos = append(c.pos, n)
	}
	return false
}

// deny adds a schema that doesn't hold.
func (p *prover) deny(c *claim, n *node) bool {
	if n.isFalse() {
		return false
	}
	if n.isTrue() || meets(c.seenPos, n) {
		return true
	}
	c.seenNeg = append(c.seenNeg, n)
	switch n.atom {
	case "":
		parts := n.split()
		if len(parts) == 1 {
			return p.deny(c, parts[0])
		}
		c.negChoices = append(c.negChoices, n)
		return len(parts) == 0
	case "not":
		return p.assume(c, n.not)
	case "anyOf":
		return p.denyAll(c, n.anyOf)
	case "oneOf":
		if n.disjoint {
			return p.denyAll(c, n.oneOf)
		}
		c.negChoices = append(c.negChoices, n)
	case "if", "dependencies":
		c.negChoices = append(c.negChoices, n)
	default:
		c.neg = append(c.neg, n)
	}
	return false
}

func (p *prover) denyAll(c *claim, branches []*node) bool {
	return slices.ContainsFunc(branches, func(part *node) bool { return p.deny(c, part) })
}

func meets(nodes []*node, n *node) bool {
	return slices.ContainsFunc(nodes, func(other *node) bool { return other == n || n.key != "" && other.key == n.key })
}

// choose splits the claim at its next choice; every part must contradict itself.
func (p *prover) choose(c *claim) bool {
	c.dropIdle()
	if len(c.posChoices) == 0 && len(c.negChoices) == 0 {
		return p.refuteTypes(c)
	}
	if len(c.posChoices) > 0 {
		n := c.posChoices[0]
		c.posChoices = c.posChoices[1:]
		return p.chooseHolding(c, n)
	}
	if len(c.negChoices) > 1 && p.refuteOneByOne(c) {
		return true
	}
	n := c.negChoices[0]
	c.negChoices = c.negChoices[1:]
	return p.chooseFailing(c, n)
}

// refuteOneByOne tries to contradict one denied schema alone, which spares most of the work: a variant of the old
// union usually fits one variant of the new one.
func (p *prover) refuteOneByOne(c *claim) bool {
	for i := range c.negChoices {
		alone := c.clone()
		alone.negChoices = c.negChoices[i : i+1 : i+1]
		if p.choose(alone) {
			return true
		}
	}
	return false
}

func (p *prover) chooseHolding(c *claim, n *node) bool {
	switch n.atom {
	case "anyOf":
		return p.refuteBranches(c, n.anyOf)
	case "oneOf":
		if n.disjoint {
			return p.refuteBranches(c, n.oneOf)
		}
		return every(n.oneOf, func(i int) bool { return p.refute(c.clone(), n.oneOf[i:i+1], others(n.oneOf, i)) })
	}
	return p.refute(c.clone(), present([]*node{n.condition, n.then}), nil) &&
		p.refute(c.clone(), present([]*node{n.otherwise}), []*node{n.condition})
}

// refuteBranches contradicts every branch; those that are plainly apart from the claim cost nothing.
func (p *prover) refuteBranches(c *claim, branches []*node) bool {
	return every(branches, func(i int) bool {
		return apartFromAny(branches[i], c.seenPos) || p.refute(c.clone(), branches[i:i+1], nil)
	})
}

func (p *prover) chooseFailing(c *claim, n *node) bool {
	switch n.atom {
	case "":
		parts, has := n.split(), c.requiredKeys()
		p.steps += len(c.pos) / 10
		return every(parts, func(i int) bool {
			return parts[i].atom == "required" && has[parts[i].required[0]] || p.refute(c.clone(), nil, parts[i:i+1])
		})
	case "oneOf":
		return p.refute(c.clone(), nil, n.oneOf) && every(n.oneOf, func(i int) bool {
			return every(n.oneOf[:i], func(j int) bool {
				return p.refute(c.clone(), []*node{n.oneOf[i], n.oneOf[j]}, nil)
			})
		})
	}
	then := n.then == nil || p.refute(c.clone(), []*node{n.condition}, []*node{n.then})
	return then && (n.otherwise == nil || p.refute(c.clone(), nil, []*node{n.condition, n.otherwise}))
}

func every(nodes []*node, holds func(int) bool) bool {
	for i := range nodes {
		if !holds(i) {
			return false
		}
	}
	return true
}

func others(nodes []*node, without int) []*node {
	return slices.Delete(slices.Clone(nodes), without, without+1)
}

func (s typeSet) any() bool { return s != 0 }

// refuteTypes takes the types one by one.
func (p *prover) refuteTypes(c *claim) bool {
	types := c.types()
	for _, t := range []typeSet{typeNull, typeBoolean, typeNumber, typeString, typeArray, typeObject} {
		if types&t != 0 && !p.refuteType(c, t, types&t) {
			return false
		}
	}
	return true
}

func (p *prover) refuteType(c *claim, t, exact typeSet) bool {
	if values, finite := c.values(t); finite {
		return !slices.ContainsFunc(values, func(v any) bool { return p.possible(c, v) })
	}
	only := c.about(t)
	switch t {
	case typeNumber:
		return p.refuteNumber(only, exact)
	case typeString:
		return p.refuteString(only)
	case typeArray:
		return p.refuteArray(only)
	case typeObject:
		return p.refuteObject(only)
	}
	return false
}

func typeOf(value any) typeSet {
	switch value.(type) {
	case nil:
		return typeNull
	case bool:
		return typeBoolean
	case json.Number:
		return typeNumber
	case string:
		return typeString
	case []any:
		return typeArray
	}
	return typeObject
}

// possible reports whether a value passes all of pos and none of neg. In doubt it does.
func (p *prover) possible(c *claim, value any) bool {
	for _, n := range c.pos {
		if passes, sure := p.passes(n, value); sure && !passes {
			return false
		}
	}
	for _, n := range c.neg {
		if passes, sure := p.passes(n, value); sure && passes {
			return false
		}
	}
	return true
}

// passes holds one value to a schema.
func (p *prover) passes(n *node, value any) (passes, sure bool) {
	const most = maxWork / 10
	e := newEvaluation(most)
	passes = e.check(n, value)
	p.checks += most - e.left
	return passes, !e.exhausted() && !p.spent()
}
