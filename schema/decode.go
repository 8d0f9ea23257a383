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
	if err := checkLimits(value, maxDepth); err != nil {
		return nil, err
	}
	return value, nil
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

// canonical returns a text that two JSON values share exactly when they are equal; numbers by value, exactly.
func canonical(value any) string {
	var out strings.Builder
	writeCanonical(&out, value)
	return out.String()
}

func writeCanonical(out *strings.Builder, value any) {
	switch v := value.(type) {
	case json.Number:
		out.WriteString(rational(v).RatString())
	case []any:
		writeCanonicalArray(out, v)
	case map[string]any:
		writeCanonicalObject(out, v)
	default: // nil, bool, string: they can always be written
		text, _ := json.Marshal(v)
		out.Write(text)
	}
}

func writeCanonicalArray(out *strings.Builder, array []any) {
	out.WriteByte('[')
	for _, item := range array {
		writeCanonical(out, item)
		out.WriteByte(',')
	}
	out.WriteByte(']')
}

func writeCanonicalObject(out *strings.Builder, object map[string]any) {
	out.WriteByte('{')
	for _, key := range sortedKeys(object) {
		writeCanonical(out, key)
		out.WriteByte(':')
		writeCanonical(out, object[key])
		out.WriteByte(',')
	}
	out.WriteByte('}')
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

// pointer appends a token to a JSON pointer.
func pointer(path, token string) string {
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}
