package schema

import (
	"encoding/json"
	"fmt"
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

func (s *valueSet) has(value any) bool {
	if text, ok := value.(string); ok {
		return s.texts[text]
	}
	return len(s.others) > 0 && s.others[canonical(value)]
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
		out.WriteString(newDecimal(string(v)).String())
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
