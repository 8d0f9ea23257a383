package schema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// expression is a regular expression, and what it costs.
type expression struct {
	*regexp.Regexp
	size int // instructions of its program
}

// errCostlyExpressions: one document has more or larger expressions than are accepted.
var errCostlyExpressions = errors.New("too much for one document")

// expressions reads the expressions of one document, within limits.
type expressions struct {
	instructions int // so far
	parsed       int // checks that reading took, so far
}

// compile reads one more expression. Past a limit it is an errCostlyExpressions, for all that follow as well.
func (x *expressions) compile(text string) (*expression, error) {
	if x.parsed += parsingPrice(text); x.parsed > maxParsed {
		return nil, fmt.Errorf("%w: its expressions take too long to read: shorten them, or use fewer \\p classes and "+
			"fewer wide ranges under (?i)", errCostlyExpressions)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if x.instructions += len(program.Inst); x.instructions > maxInstructions {
		return nil, fmt.Errorf("%w: its expressions may have %d instructions: shorten them, or ask for fewer "+
			"repetitions", errCostlyExpressions, maxInstructions)
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return &expression{compiled, len(program.Inst)}, nil
}

// spent reports whether an expression was refused by a limit.
func (x *expressions) spent() bool { return x.parsed > maxParsed || x.instructions > maxInstructions }

// The prices of reading an expression, in checks.
const (
	checksPerRegexByte = 20
	checksPerClass     = 4_000   // for a class of Unicode, which has hundreds of ranges
	checksPerFolding   = 100_000 // for a wide range of which each letter is looked at in both cases
)

// foldsCase finds the flag i.
var foldsCase = regexp.MustCompile(`\(\?[a-zA-Z-]*i`)

// parsingPrice is what reading an expression takes at worst.
func parsingPrice(text string) int {
	price := 1 + len(text)*checksPerRegexByte
	price += (strings.Count(text, `\p`) + strings.Count(text, `\P`)) * checksPerClass
	if !foldsCase.MatchString(text) {
		return price
	}
	for i, ranges := range strings.Split(text, "-") {
		if i > 0 && ranges != "" && (ranges[0] == '\\' || ranges[0] >= utf8.RuneSelf) {
			price += checksPerFolding
		}
	}
	return price
}

// matches pays beforehand what the match can take at worst: every instruction for every byte.
func (e *evaluation) matches(regex *expression, text string) bool {
	return e.spend(2+regex.size*len(text)/stepsPerCheck, workPatterns) && regex.MatchString(text)
}
