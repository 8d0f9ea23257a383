package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// limitError is a JSON text that is refused before any schema is asked.
type limitError struct {
	path, rule, why string
}

func (e *limitError) Error() string { return at(e.path) + " " + e.rule + ": " + e.why }

// decode reads one JSON value, numbers as json.Number, within the limits. Its errors are *limitError. Of a key that
// an object has twice the last one counts, as for encoding/json and jsonb.
func decode(text []byte, maxBytes, maxDepth int) (any, error) {
	if len(text) > maxBytes {
		return nil, &limitError{"", "size", fmt.Sprintf("has %d bytes, %d are allowed", len(text), maxBytes)}
	}
	if !utf8.Valid(text) {
		return nil, &limitError{"", "json", "is not valid UTF-8"}
	}
	value, err := decodeOne(text)
	if err != nil {
		return nil, &limitError{"", "json", err.Error()}
	}
	if hasLoneSurrogate(text) {
		return nil, &limitError{"", "json", `has half of a surrogate pair, such as \ud800 alone, which is no character`}
	}
	if err := checkLimits(value, maxDepth); err != nil {
		return nil, err
	}
	return value, nil
}

// hasLoneSurrogate reports half of a surrogate pair in a JSON text: encoding/json would replace it, jsonb refuses it.
func hasLoneSurrogate(text []byte) bool {
	const escape = len(`\uXXXX`)
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		text = text[at:]
		switch {
		case isSurrogate(text, "89abAB") && isSurrogate(text[escape:], "cdefCDEF"):
			text = text[2*escape:]
		case isSurrogate(text, "89abcdefABCDEF"):
			return true
		default:
			text = text[len(`\x`):]
		}
	}
}

// isSurrogate reports whether a text begins with the escape of a surrogate that has one of these as its second digit.
func isSurrogate(text []byte, second string) bool {
	return len(text) >= len(`\uXXXX`) && text[0] == '\\' && text[1] == 'u' && (text[2] == 'd' || text[2] == 'D') &&
		strings.IndexByte(second, text[3]) >= 0
}

func decodeOne(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("is no JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("has something after the JSON value, at byte %d", decoder.InputOffset())
	}
	return value, nil
}

// checkLimits looks for nesting deeper than depth and for numbers with too many digits.
func checkLimits(value any, depth int) error {
	switch v := value.(type) {
	case json.Number:
		return checkDigits(string(v))
	case []any:
		return checkArrayLimits(v, depth)
	case map[string]any:
		return checkObjectLimits(v, depth)
	}
	return nil
}

func checkArrayLimits(array []any, depth int) error {
	if depth == 0 {
		return &limitError{"", "depth", "nests too deep"}
	}
	for i, item := range array {
		if err := checkLimits(item, depth-1); err != nil {
			return under(strconv.Itoa(i), err)
		}
	}
	return nil
}

func checkObjectLimits(object map[string]any, depth int) error {
	if depth == 0 {
		return &limitError{"", "depth", "nests too deep"}
	}
	for key, item := range object {
		if err := checkLimits(item, depth-1); err != nil {
			return under(key, err)
		}
	}
	return nil
}

func under(token string, err error) error {
	limit := err.(*limitError)
	return &limitError{pointer("", token) + limit.path, limit.rule, limit.why}
}

// checkDigits keeps numbers such as 1e2000000 away from arithmetic.
func checkDigits(number string) error {
	if len(number) < 20 && !strings.ContainsAny(number, "eE") {
		return nil
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	size, err := strconv.Atoi(strings.TrimPrefix(exponent, "+"))
	if err != nil && exponent != "" {
		size = MaxNumberDigits
	}
	if len(mantissa)+max(size, -size) > MaxNumberDigits {
		return &limitError{"", "digits", fmt.Sprintf("has more than %d digits when written out", MaxNumberDigits)}
	}
	if _, err := strconv.ParseFloat(number, 64); err != nil {
		return &limitError{"", "digits", "is beyond the range of a float64"}
	}
	return nil
}

// rational returns a number that has passed checkDigits, exactly.
func rational(number json.Number) *big.Rat {
	value, ok := new(big.Rat).SetString(string(number))
	if !ok {
		return new(big.Rat)
	}
	return value
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// tokens escapes the parts of JSON pointers.
var tokens = strings.NewReplacer("~", "~0", "/", "~1")

// pointer appends a token to a JSON pointer.
func pointer(path, token string) string { return path + "/" + tokens.Replace(token) }
