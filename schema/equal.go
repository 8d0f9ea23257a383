package schema

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// valueSet is the values of an enum or a const, ready for being looked up: a look-up costs the same for one value and
// for thousands.
type valueSet struct {
	texts  map[string]bool
	others map[string]bool // canonical texts of values that are no strings
	deep   bool            // some of them are arrays or objects
	words  string          // the values for people, as many as are readable
}

func newValueSet(values []any) *valueSet {
	s := &valueSet{texts: map[string]bool{}, others: map[string]bool{}, words: oneOf(values)}
	for _, value := range values {
		if text, ok := value.(string); ok {
			s.texts[text] = true
			continue
		}
		s.others[canonical(value)] = true
		s.deep = s.deep || typeOf(value)&(typeArray|typeObject) != 0
	}
	return s
}

// canonical returns a text that two JSON values share exactly when they are equal; numbers by value, exactly.
func canonical(value any) string { return string(appendCanonical(nil, value)) }

// appendCanonical appends the canonical text of a value.
func appendCanonical(out []byte, value any) []byte {
	switch v := value.(type) {
	case json.Number:
		return newDecimal(string(v)).append(out)
	case string:
		return strconv.AppendQuote(out, v)
	case bool:
		return strconv.AppendBool(out, v)
	case []any:
		return appendCanonicalArray(out, v)
	case map[string]any:
		return appendCanonicalObject(out, v)
	}
	return append(out, "null"...)
}

func appendCanonicalArray(out []byte, array []any) []byte {
	out = append(out, '[')
	for _, item := range array {
		out = append(appendCanonical(out, item), ',')
	}
	return append(out, ']')
}

func appendCanonicalObject(out []byte, object map[string]any) []byte {
	out = append(out, '{')
	for _, key := range sortedKeys(object) {
		out = append(strconv.AppendQuote(out, key), ':')
		out = append(appendCanonical(out, object[key]), ',')
	}
	return append(out, '}')
}

// oneOf lists values of the schema, as many as are readable.
func oneOf(values []any) string {
	var texts []string
	size := 0
	for i, value := range values {
		text, _ := json.Marshal(value)
		if size += len(text); i > 0 && size > maxWhy/2 {
			texts = append(texts, fmt.Sprintf("… (%d more)", len(values)-i))
			break
		}
		texts = append(texts, clip(string(text), maxWhy/2))
	}
	if len(values) == 1 {
		return texts[0]
	}
	return "one of " + strings.Join(texts, ", ")
}
