package schema

import (
	"encoding/json"
	"fmt"
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

	checksPerFormat   = 5  // checks for a text that is held to a format, however short
	checksPerFraction = 2  // checks for reading a number with a fraction or an exponent
	checksPerUnique   = 3  // checks for an item that must differ from all others, and for their array
	checksPerFault    = 60 // checks for a violation in words, beside the path to it
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
	case isWholeText(string(number)):
		return typeInteger
	}
	return typeFraction
}

// isWholeText reports whether a number is an integer, such as 1, 1.0 and 1e3.
func isWholeText(number string) bool {
	if strings.ContainsAny(number, "eE") {
		return newDecimal(number).isWhole()
	}
	_, fraction, _ := strings.Cut(number, ".")
	return strings.Trim(fraction, "0") == ""
}

// isIn looks a value up; what is no text is written out for it, which is paid for by its size.
func (e *evaluation) isIn(set *valueSet, value any) bool {
	switch v := value.(type) {
	case string:
		return set.texts[v]
	case []any, map[string]any:
		if !set.deep {
			return false
		}
	}
	return len(set.others) > 0 && set.others[string(e.written(value))]
}

// written is the canonical text of a value, until the next one is written.
func (e *evaluation) written(value any) []byte {
	if e.exhausted() {
		return nil
	}
	e.text = appendCanonical(e.text[:0], value)
	e.spend(len(e.text)/canonicalPerCheck, workComparing)
	return e.text
}

func (e *evaluation) checkNumber(n *node, value json.Number) bool {
	if n.minimum == nil && n.maximum == nil && n.exclusiveMinimum == nil && n.exclusiveMaximum == nil &&
		n.multipleOf == nil {
		return true
	}
	if !e.spend(priceOf(value), workLongValues) {
		return false
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

// priceOf is what reading a number takes.
func priceOf(number json.Number) int {
	if strings.ContainsAny(string(number), ".eE") {
		return checksPerFraction
	}
	return 0
}

// isMultiple pays for the digits that the division works on.
func (e *evaluation) isMultiple(d, step decimal) bool {
	digits := len(d.digits) + len(step.digits) + max(d.exponent-step.exponent, step.exponent-d.exponent)
	return e.spend(1+digits*digits/5_000+digits/4, workMultiples) && d.isMultipleOf(step)
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
	price := checksPerFormat + len(text)/formatPerCheck
	if format == "regex" { // a short expression may have a large tree
		price = parsingPrice(text)
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
