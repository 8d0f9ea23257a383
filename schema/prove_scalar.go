package schema

import (
	"encoding/json"
	"math/big"
	"slices"
)

// maxCandidates is how many numbers of a range are tried one by one.
const maxCandidates = 64

// numberRange is what a claim says about a number.
type numberRange struct {
	low, high         *big.Rat // nil: no bound
	openLow, openHigh bool     // the bound itself is excluded
	step              *big.Rat // the number is a multiple of it; nil: of nothing
	notSteps          []*big.Rat
}

var one = big.NewRat(1, 1)

func (p *prover) refuteNumber(c *claim, types typeSet) bool {
	r := &numberRange{}
	if types == typeInteger {
		r.multipleOf(one)
	}
	if types == typeFraction {
		r.notSteps = append(r.notSteps, one)
	}
	for _, n := range c.pos {
		r.hold(n)
	}
	for _, n := range c.neg {
		r.fail(n)
	}
	if r.isEmpty() || r.stepsContradict() {
		return true
	}
	whole := &claim{pos: c.seenPos, neg: c.seenNeg}
	candidates, finite := r.candidates()
	return finite && !slices.ContainsFunc(candidates, func(v any) bool { return p.possible(whole, v) })
}

func (r *numberRange) hold(n *node) {
	switch n.atom {
	case "minimum":
		r.above(n.minimum.rat, false)
	case "exclusiveMinimum":
		r.above(n.exclusiveMinimum.rat, true)
	case "maximum":
		r.below(n.maximum.rat, false)
	case "exclusiveMaximum":
		r.below(n.exclusiveMaximum.rat, true)
	case "multipleOf":
		r.multipleOf(n.multipleOf.rat)
	}
}

func (r *numberRange) fail(n *node) {
	switch n.atom {
	case "minimum":
		r.below(n.minimum.rat, true)
	case "exclusiveMinimum":
		r.below(n.exclusiveMinimum.rat, false)
	case "maximum":
		r.above(n.maximum.rat, true)
	case "exclusiveMaximum":
		r.above(n.exclusiveMaximum.rat, false)
	case "multipleOf":
		r.notSteps = append(r.notSteps, n.multipleOf.rat)
	}
}

func (r *numberRange) above(bound *big.Rat, open bool) {
	if r.low == nil || bound.Cmp(r.low) > 0 || bound.Cmp(r.low) == 0 && open {
		r.low, r.openLow = bound, open
	}
}

func (r *numberRange) below(bound *big.Rat, open bool) {
	if r.high == nil || bound.Cmp(r.high) < 0 || bound.Cmp(r.high) == 0 && open {
		r.high, r.openHigh = bound, open
	}
}

// multipleOf narrows the step to the least common multiple; of a/b and c/d that is lcm(a,c)/gcd(b,d).
func (r *numberRange) multipleOf(step *big.Rat) {
	if r.step == nil {
		r.step = step
		return
	}
	a, c := r.step.Num(), step.Num()
	product := new(big.Int).Mul(a, c)
	lcm := product.Quo(product, new(big.Int).GCD(nil, nil, a, c))
	r.step = new(big.Rat).SetFrac(lcm, new(big.Int).GCD(nil, nil, r.step.Denom(), step.Denom()))
}

func (r *numberRange) isEmpty() bool {
	if r.low == nil || r.high == nil {
		return false
	}
	order := r.low.Cmp(r.high)
	return order > 0 || order == 0 && (r.openLow || r.openHigh)
}

// stepsContradict: every multiple of the step is a multiple of what it must not be a multiple of.
func (r *numberRange) stepsContradict() bool {
	return r.step != nil && slices.ContainsFunc(r.notSteps, func(not *big.Rat) bool {
		return new(big.Rat).Quo(r.step, not).IsInt()
	})
}

// candidates lists the numbers of the range when they are few.
func (r *numberRange) candidates() ([]any, bool) {
	if r.low == nil || r.high == nil {
		return nil, false
	}
	if r.low.Cmp(r.high) == 0 {
		return []any{asNumber(r.low)}, true
	}
	if r.step == nil {
		return nil, false
	}
	first, last := new(big.Rat).Quo(r.low, r.step), new(big.Rat).Quo(r.high, r.step)
	from, to := ceiling(first), floor(last)
	if new(big.Int).Sub(to, from).Cmp(big.NewInt(maxCandidates)) > 0 {
		return nil, false
	}
	var found []any
	for i := from; i.Cmp(to) <= 0; i = new(big.Int).Add(i, big.NewInt(1)) {
		found = append(found, asNumber(new(big.Rat).Mul(new(big.Rat).SetInt(i), r.step)))
	}
	return found, true
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

func ceiling(r *big.Rat) *big.Int {
	return new(big.Int).Neg(new(big.Int).Div(new(big.Int).Neg(r.Num()), r.Denom()))
}

// asNumber writes a rational that came from decimals, and so is one.
func asNumber(r *big.Rat) json.Number {
	digits, _ := r.FloatPrec()
	return json.Number(r.FloatString(digits))
}

// matchAll are expressions that every text matches.
var matchAll = []string{"", ".*", "^", "$", "^.*"}

func (p *prover) refuteString(c *claim) bool {
	least, most := lengths(c, "minLength", "maxLength", func(n *node) (*int, *int) { return n.minLength, n.maxLength })
	if most >= 0 && least > most {
		return true
	}
	for _, n := range c.neg {
		if n.atom == "pattern" && (slices.Contains(matchAll, n.pattern) || hasPattern(c.pos, n.pattern)) {
			return true
		}
		if n.atom == "format" && slices.ContainsFunc(c.pos,
			func(other *node) bool { return other.format == n.format }) {
			return true
		}
	}
	return most == 0 && !p.possible(&claim{pos: c.seenPos, neg: c.seenNeg}, "")
}

func hasPattern(nodes []*node, pattern string) bool {
	return slices.ContainsFunc(nodes, func(n *node) bool { return n.regex != nil && n.pattern == pattern })
}

// lengths returns the bounds that a claim sets to a count; most is -1 where there is none.
func lengths(c *claim, minimum, maximum string, bounds func(*node) (*int, *int)) (least, most int) {
	most = -1
	limit := func(n int) {
		if most < 0 || n < most {
			most = n
		}
	}
	for _, n := range c.pos {
		switch low, high := bounds(n); n.atom {
		case minimum:
			least = max(least, *low)
		case maximum:
			limit(*high)
		}
	}
	for _, n := range c.neg {
		switch low, high := bounds(n); n.atom {
		case minimum:
			limit(*low - 1)
		case maximum:
			least = max(least, *high+1)
		}
	}
	return least, most
}
