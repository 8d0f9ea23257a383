package schema

import (
	"errors"
	"strings"
	"testing"
)

// An expression is paid for by what reading it takes, and ordinary ones stay cheap.
func TestParsingPrice(t *testing.T) {
	for text, most := range map[string]int{
		`^[a-z]+$`: 200, `(?i)^[a-z]+$`: 300, `^(?:a|[\x{80}-\x{ffff}])$`: 1_000, `(?P<id>[0-9a-f-]+)`: 500,
		`\p{L}`: 5_000,
	} {
		if price := parsingPrice(text); price > most {
			t.Errorf("%s: %d", text, price)
		}
	}
	for text, least := range map[string]int{
		`(?i)[B-\x{1e942}]`: 100_000, `(?s-mi)[B-` + "\U0001e942]": 100_000, strings.Repeat(`\PL`, 10): 40_000,
		strings.Repeat("a", 1000): 20_000,
	} {
		if price := parsingPrice(text); price < least {
			t.Errorf("%s: %d", text, price)
		}
	}
}

// Past a limit every expression of the document is refused, and reading ends.
func TestExpressionsOfADocument(t *testing.T) {
	many := strings.Repeat("(a{1000})", 20)
	x := &expressions{}
	for i := range 20 {
		if _, err := x.compile(many); (err != nil) != x.spent() || err != nil && !errors.Is(err, errCostlyExpressions) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if !x.spent() {
		t.Error("400,000 instructions are taken")
	}
}
