package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xeipuuv/gojsonschema"
)

// validate runs gojsonschema and says what it found in our words.
func (e *engine) validate(value any) error {
	result, err := e.schema.Validate(gojsonschema.NewRawLoader(value))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidPayload, err)
	}
	if result.Valid() {
		return nil
	}
	violations := e.violations(result.Errors())
	slices.SortFunc(violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Why, b.Why))
	})
	violations = slices.Compact(violations)
	shown := violations[:min(len(violations), MaxViolations)]
	return &ValidationError{shown, len(violations) - len(shown)}
}

func (e *engine) violations(errs []gojsonschema.ResultError) []Violation {
	var found []Violation
	for i, err := range errs {
		if exact, ok := e.exactRule(err); ok {
			found = append(found, Violation{payloadPath(err), exact.rule, "must be " + oneOf(exact.values)})
			continue
		}
		if wrappers[err.Type()] || e.isMarked(errs, i) {
			continue
		}
		found = append(found, violation(err))
	}
	return found
}

// wrappers are errors that only say that others, which follow, come from within a keyword.
var wrappers = map[string]bool{"number_all_of": true, "condition_then": true, "condition_else": true}

// isMarked reports whether the error is the "not" that stands before a mark.
func (e *engine) isMarked(errs []gojsonschema.ResultError, i int) bool {
	if errs[i].Type() != "number_not" || i+1 == len(errs) {
		return false
	}
	_, marked := e.exactRule(errs[i+1])
	return marked
}

func (e *engine) exactRule(err gojsonschema.ResultError) (exactRule, bool) {
	var mark string
	allowed, _ := err.Details()["allowed"].(string)
	if err.Type() != "enum" || json.Unmarshal([]byte(allowed), &mark) != nil {
		return exactRule{}, false
	}
	digits, marked := strings.CutPrefix(mark, exactMark)
	index, bad := strconv.Atoi(digits)
	if !marked || bad != nil || index >= len(e.exact) {
		return exactRule{}, false
	}
	return e.exact[index], true
}

// payloadPath turns gojsonschema's context into a JSON pointer.
func payloadPath(err gojsonschema.ResultError) string {
	const between = "\x00\x01\x00"
	path := ""
	for _, token := range strings.Split(err.Context().String(between), between)[1:] {
		path = pointer(path, token)
	}
	return path
}

func violation(err gojsonschema.ResultError) Violation {
	path, details := payloadPath(err), err.Details()
	if property, ok := details["property"].(string); ok && err.Type() == "additional_property_not_allowed" {
		path = pointer(path, property)
	}
	if say, ok := sayings[err.Type()]; ok {
		return Violation{path, say.rule, say.why(details)}
	}
	return Violation{path, err.Type(), err.DescriptionFormat()}
}

type saying struct {
	rule string
	why  func(gojsonschema.ErrorDetails) string
}

// sayings has what we say for each of gojsonschema's errors. Only the schema's own values and the payload's keys
// are named.
var sayings = map[string]saying{
	"false":              {"false", plain("is not allowed")},
	"required":           {"required", with("lacks the property %q", "property")},
	"invalid_type":       {"type", func(d gojsonschema.ErrorDetails) string { return sayType(d) }},
	"number_any_of":      {"anyOf", plain("fits none of the schemas")},
	"number_one_of":      {"oneOf", plain("must fit exactly one of the schemas")},
	"number_not":         {"not", plain("fits what is excluded")},
	"missing_dependency": {"dependencies", with("lacks the property %q, which another one asks for", "dependency")},
	"const":              {"const", with("must be %v", "allowed")},
	"enum":               {"enum", with("must be one of %v", "allowed")},

	"array_no_additional_items":       {"additionalItems", plain("has more items than are allowed")},
	"array_min_items":                 {"minItems", with("must have at least %v items", "min")},
	"array_max_items":                 {"maxItems", with("must have at most %v items", "max")},
	"unique":                          {"uniqueItems", plain("has the same item twice")},
	"contains":                        {"contains", plain("has no item that fits")},
	"array_min_properties":            {"minProperties", with("must have at least %v properties", "min")},
	"array_max_properties":            {"maxProperties", with("must have at most %v properties", "max")},
	"additional_property_not_allowed": {"additionalProperties", plain("is a property that is not allowed")},
	"invalid_property_name":           {"propertyNames", with("has the property %q, whose name is not allowed", "property")},
	"string_gte":                      {"minLength", with("must have at least %v characters", "min")},
	"string_lte":                      {"maxLength", with("must have at most %v characters", "max")},
	"pattern":                         {"pattern", with("must match %v", "pattern")},
	"format":                          {"format", with("must be a valid %v", "format")},
	"multiple_of":                     {"multipleOf", with("must be a multiple of %v", "multiple")},
	"number_gte":                      {"minimum", with("must be at least %v", "min")},
	"number_gt":                       {"exclusiveMinimum", with("must be above %v", "min")},
	"number_lte":                      {"maximum", with("must be at most %v", "max")},
	"number_lt":                       {"exclusiveMaximum", with("must be below %v", "max")},
}

func plain(text string) func(gojsonschema.ErrorDetails) string {
	return func(gojsonschema.ErrorDetails) string { return text }
}

func with(format, detail string) func(gojsonschema.ErrorDetails) string {
	return func(d gojsonschema.ErrorDetails) string { return fmt.Sprintf(format, show(d[detail])) }
}

func show(detail any) any {
	switch v := detail.(type) {
	case *big.Float:
		if v.IsInt() {
			return v.Text('f', 0)
		}
		return v.Text('g', -1)
	case *regexp.Regexp:
		return v.String()
	case string:
		return strings.TrimPrefix(v, formatPrefix)
	}
	return detail
}

func sayType(details gojsonschema.ErrorDetails) string {
	return fmt.Sprintf("must be %v, not %v", details["expected"], details["given"])
}

// oneOf lists values of the schema.
func oneOf(values []any) string {
	texts := make([]string, len(values))
	for i, value := range values {
		text, _ := json.Marshal(value)
		texts[i] = string(text)
	}
	if len(texts) == 1 {
		return texts[0]
	}
	return "one of " + strings.Join(texts, ", ")
}
