package schema

import (
	"cmp"
	"math/big"
	"strconv"
	"strings"
)

// decimal is the exact value of a JSON number: 0.digits times ten to the exponent. The digits begin and end with one
// that is not 0, so that two numbers are equal exactly when their decimals are. Zero has no digits.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// newDecimal reads a number that has passed checkDigits.
func newDecimal(text string) decimal {
	unsigned := strings.TrimPrefix(text, "-")
	d := decimal{negative: len(unsigned) < len(text)}
	mantissa := unsigned
	if e := strings.IndexAny(unsigned, "eE"); e >= 0 {
		mantissa = unsigned[:e]
		d.exponent, _ = strconv.Atoi(strings.TrimPrefix(unsigned[e+1:], "+"))
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exponent += len(whole)
	all := whole + fraction
	d.digits = strings.TrimLeft(all, "0")
	d.exponent -= len(all) - len(d.digits)
	d.digits = strings.TrimRight(d.digits, "0")
	if d.digits == "" {
		return decimal{}
	}
	return d
}

// append appends a text that is the same for equal numbers, and for no others.
func (d decimal) append(out []byte) []byte {
	if d.negative {
		out = append(out, '-')
	}
	return strconv.AppendInt(append(append(out, d.digits...), 'e'), int64(d.exponent), 10)
}

// isWhole reports whether the number is an integer.
func (d decimal) isWhole() bool { return len(d.digits) <= d.exponent || d.digits == "" }

// compare orders numbers: -1, 0 or 1.
func (d decimal) compare(other decimal) int {
	if order := cmp.Compare(d.sign(), other.sign()); order != 0 {
		return order
	}
	order := cmp.Or(cmp.Compare(d.exponent, other.exponent), cmp.Compare(d.digits, other.digits))
	return order * d.sign()
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

// isMultipleOf reports whether the number is a whole multiple of step, which is above 0.
func (d decimal) isMultipleOf(step decimal) bool {
	low := min(d.exponent-len(d.digits), step.exponent-len(step.digits)) // the place of the last digit of both
	if value, short := d.short(low); short {
		if by, short := step.short(low); short {
			return value%by == 0
		}
	}
	return new(big.Int).Rem(d.scaled(low), step.scaled(low)).Sign() == 0
}

// short is scaled, if the number has few digits.
func (d decimal) short(place int) (value uint64, is bool) {
	zeros := max(d.exponent-len(d.digits)-place, 0)
	if len(d.digits)+zeros > 18 {
		return 0, false
	}
	for _, digit := range []byte(d.digits) {
		value = value*10 + uint64(digit-'0')
	}
	for range zeros {
		value *= 10
	}
	return value, true
}

// scaled is the number divided by ten to the power of place, which leaves no fraction; the sign is left out.
func (d decimal) scaled(place int) *big.Int {
	zeros := max(d.exponent-len(d.digits)-place, 0)
	value, _ := new(big.Int).SetString("0"+d.digits+strings.Repeat("0", zeros), 10)
	return value
}
