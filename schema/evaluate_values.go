package schema

import (
	"encoding/json"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The prices of work: how much of each is done for one check.
const (
	bytesPerLook      = 64 // bytes of a text or a key that are hashed or compared
	bytesPerCount     = 16 // bytes of a text whose characters are counted
	digitsPerLook     = 8  // bytes of a number
	looksPerCheck     = 2  // look-ups of property names
	sortedPerCheck    = 4  // steps of sorting property names
	canonicalPerCheck = 2  // bytes of a canonical text
	stepsPerCheck     = 12 // instructions of a regular expression
	formatPerCheck    = 2  // bytes of a text that is held to a format

	checksPerRegexByte = 50 // checks for a byte of a text that must be a regular expression
)

// sizeOf is what reading a text or a number once takes, in bytes of a text.
func sizeOf(value any) int {
	switch v := value.(type) {
	case string:
		return len(v)
	case json.Number:
		return len(v) * (bytesPerLook / digitsPerLook)
	}
	return 0
}

func (e *evaluation) checkValue(n *node, value any) bool {
	all := true
	if n.types != 0 && n.types != anyType && n.types&exactType(value) == 0 {
		all = e.fail("type", func() string {
			return fmt.Sprintf("must be %s, not %s", oneOrMore(n.types), typeName(value))
		})
	}
	if n.enumSet != nil && !e.isIn(n.enumSet, value) {
		all = e.fail("enum", func() string { return "must be " + n.enumSet.words })
	}
	if n.constSet != nil && !e.isIn(n.constSet, value) {
		all = e.fail("const", func() string { return "must be " + n.constSet.words })
	}
	return all
}

func oneOrMore(types typeSet) string { return strings.Join(types.names(), " or ") }

func typeName(value any) string {
	if t := exactType(value); t != typeFraction {
		return t.names()[0]
	}
	return "number"
}

// exactType is the one type of a value: integer or fraction where it is a number.
func exactType(value any) typeSet {
	number, isNumber := value.(json.Number)
	switch {
	case !isNumber:
		return typeOf(value)
	case isWholeText(string(number)) || newDecimal(string(number)).isWhole():
		return typeInteger
	}
	return typeFraction
}

func isWholeText(number string) bool { return !strings.ContainsAny(number, ".eE") }

// isIn looks a value up; arrays and objects are written out for it, which is paid for by their size.
func (e *evaluation) isIn(set *valueSet, value any) bool {
	switch value.(type) {
	case []any, map[string]any:
		return set.deep && set.others[e.written(value)]
	}
	return set.has(value)
}

// written is the canonical text of a value.
func (e *evaluation) written(value any) string {
	if e.exhausted() {
		return ""
	}
	text := canonical(value)
	e.spend(len(text)/canonicalPerCheck, workComparing)
	return text
}

func (e *evaluation) checkNumber(n *node, value json.Number) bool {
	if n.minimum == nil && n.maximum == nil && n.exclusiveMinimum == nil && n.exclusiveMaximum == nil &&
		n.multipleOf == nil {
		return true
	}
	d := newDecimal(string(value))
	all := true
	if n.minimum != nil && d.compare(n.minimum.exact) < 0 {
		all = e.fail("minimum", with("must be at least %s", n.minimum.text))
	}
	if n.maximum != nil && d.compare(n.maximum.exact) > 0 {
		all = e.fail("maximum", with("must be at most %s", n.maximum.text))
	}
	if n.exclusiveMinimum != nil && d.compare(n.exclusiveMinimum.exact) <= 0 {
		all = e.fail("exclusiveMinimum", with("must be above %s", n.exclusiveMinimum.text))
	}
	if n.exclusiveMaximum != nil && d.compare(n.exclusiveMaximum.exact) >= 0 {
		all = e.fail("exclusiveMaximum", with("must be below %s", n.exclusiveMaximum.text))
	}
	if n.multipleOf != nil && !e.isMultiple(d, n.multipleOf.exact) {
		all = e.fail("multipleOf", with("must be a multiple of %s", n.multipleOf.text))
	}
	return all
}

// isMultiple pays for the digits that the division works on.
func (e *evaluation) isMultiple(d, step decimal) bool {
	digits := len(d.digits) + len(step.digits) + max(d.exponent-step.exponent, step.exponent-d.exponent)
	return e.spend(1+digits*digits/10_000+digits/20, workMultiples) && d.isMultipleOf(step)
}

func (e *evaluation) checkText(n *node, text string) bool {
	all := true
	if n.minLength != nil || n.maxLength != nil {
		e.spend(len(text)/bytesPerCount, workLongValues)
		all = e.checkCount("Length", "characters", n.minLength, n.maxLength, utf8.RuneCountInString(text))
	}
	if n.regex != nil && !e.matches(n.regex, text) {
		all = e.fail("pattern", with("must match %s", n.pattern))
	}
	if n.format != "" && !e.fits(n.format, text) {
		all = e.fail("format", with("must be a valid %s", n.format))
	}
	return all
}

// fits pays beforehand what the check of a format can take.
func (e *evaluation) fits(format, text string) bool {
	price := 1 + len(text)/formatPerCheck
	if format == "regex" { // a short expression may have a large tree
		price = 1 + len(text)*checksPerRegexByte
	}
	return e.spend(price, workFormats) && formats[format](text)
}

// checkCount compares a count with its bounds; what is Length, Items or Properties.
func (e *evaluation) checkCount(what, of string, low, high *int, count int) bool {
	all := true
	if low != nil && count < *low {
		all = e.fail("min"+what, with("must have at least %d %s", *low, of))
	}
	if high != nil && count > *high {
		all = e.fail("max"+what, with("must have at most %d %s", *high, of))
	}
	return all
}

// expression is a regular expression, and what it costs.
type expression struct {
	*regexp.Regexp
	size int // instructions of its program
}

// newExpression compiles an expression of at most so many instructions.
func newExpression(text string, most int) (*expression, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > most {
		return nil, errManyInstructions
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &expression{compiled, len(program.Inst)}, nil
}

var errManyInstructions = fmt.Errorf("the expressions of one document may have %d instructions: shorten them, or "+
	"ask for fewer repetitions", maxInstructions)

// matches pays beforehand what the match can take at worst: every instruction for every byte.
func (e *evaluation) matches(regex *expression, text string) bool {
	return e.spend(2+regex.size*len(text)/stepsPerCheck, workPatterns) &&
		regex.MatchString(text)
}

// clip shortens a text for people.
func clip(text string, size int) string {
	if len(text) <= size {
		return text
	}
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size] + "…"
}

func quoteClipped(text string) string { return strconv.Quote(clip(text, maxName)) }
