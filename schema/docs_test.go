package schema

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guide returns the lines of docs/schemas.md that begin as a row of a table with this first cell.
func guide(t *testing.T, first string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/schemas.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| "+first+" |") {
			return line
		}
	}
	t.Errorf("docs/schemas.md has no row %q", first)
	return ""
}

func words(line string) []string {
	var found []string
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return found
}

func TestGuideListsWhatIsEnforced(t *testing.T) {
	enforced, silent := []string{}, []string{}
	for _, name := range sortedKeys(readers) {
		if notes[name] {
			silent = append(silent, name)
		} else {
			enforced = append(enforced, name)
		}
	}
	for first, want := range map[string][]string{
		"enforced": enforced, "notes, which say nothing": append(silent, "x-"), "formats": sortedKeys(formats),
	} {
		if got := words(guide(t, first)); !slices.Equal(got, want) {
			t.Errorf("%s: the guide has %q, the code %q", first, got, want)
		}
	}
}

func TestGuideListsTheLimits(t *testing.T) {
	for first, want := range map[string]string{
		"nesting of a payload": fmt.Sprint(MaxDepth), "violations listed": fmt.Sprint(MaxViolations),
		"digits of a number, written out without an exponent": fmt.Sprint(MaxNumberDigits),
		"size of a payload":            fmt.Sprintf("%d MiB", DefaultMaxBytes>>20),
		"size and nesting of a schema": fmt.Sprintf("%d MiB, %d", MaxDocumentBytes>>20, MaxDocumentDepth),
	} {
		if row := strings.ReplaceAll(guide(t, first), ",000", "000"); !strings.Contains(row, want) {
			t.Errorf("%s: want %s in %s", first, want, row)
		}
	}
}

// The guide's table of changes, run.
func TestGuideKnowsWhatPasses(t *testing.T) {
	const closed = `"additionalProperties":false`
	for first, pair := range map[string][2]string{
		"add an optional property to an open object": {anyA, stringA},
		"add an optional property to a closed " +
			"object": {`{"properties":{},` + closed + `}`, `{"properties":{"a":{}},` + closed + `}`},
		"add a required property":                         {stringA, `{"required":["a"],` + stringA[1:]},
		"remove an optional property of an open object":   {stringA, anyA},
		"remove a required property, or make it optional": {`{"required":["a"]}`, anyA},
		"integer to number":                               {`{"type":"integer"}`, `{"type":"number"}`},
		"any other type to another":                       {`{"type":"string"}`, `{"type":"integer"}`},
		"allow null as well":                              {`{"type":"string"}`, `{"type":["string","null"]}`},
		"forbid null":                                     {`{"type":["string","null"]}`, `{"type":"string"}`},
		"more values in `enum`, wider " +
			"bounds": {`{"enum":[1],"maximum":3}`, `{"enum":[1,2],"maximum":4}`},
		"close an object": {stringA, stringA[:len(stringA)-1] + `,` + closed + `}`},
		"one more variant in `oneOf`": {`{"oneOf":[{"const":1}]}`,
			`{"oneOf":[{"const":1},{"const":2}]}`},
		"another title, description or name of a definition": {`{"title":"a"}`, `{"title":"b","description":"c"}`},
		"fewer values in `enum`, narrower bounds, a new `pattern` or `format`": {
			`{"type":"string"}`, `{"type":"string","pattern":"^2","format":"date"}`,
		},
	} {
		for i, mode := range []Mode{Backward, Forward} {
			err := Check(Revision{"1", []byte(pair[0])}, Revision{"2", []byte(pair[1])}, mode)
			cells := strings.Split(guide(t, first), "|")
			if written := strings.TrimSpace(cells[2+i]) == "yes"; written != (err == nil) {
				t.Errorf("%s, %s: the guide says %v, the check %v", first, mode, written, err)
			}
		}
	}
}

// The guide's table of what is refused, run.
func TestGuideKnowsWhatIsRefused(t *testing.T) {
	const otherDrafts = "keywords of 2019-09 and 2020-12 (`$defs`, `prefixItems`, `dependentRequired`, " +
		"`unevaluatedProperties`, …), of draft 4 (`id`, boolean `exclusiveMinimum`), misspelt ones"
	for first, documents := range map[string][]string{
		otherDrafts: {`{"$defs":{}}`, `{"prefixItems":[]}`, `{"dependentRequired":{}}`,
			`{"unevaluatedProperties":false}`, `{"id":"a"}`, `{"exclusiveMinimum":true}`, `{"minlength":1}`},
		"references to another document, to an anchor or an `$id`; `$id` below the root": {
			`{"$ref":"http://example.com/a"}`, `{"$ref":"#a"}`, `{"items":{"$id":"a"}}`},
		"a reference that comes back to itself without a property or an item between": {`{"not":{"$ref":"#"}}`},
		"keywords beside `$ref`": {`{"items":{"$ref":"#","type":"string"}}`},
		"`then` and `else` without `if`, `additionalItems` without a list under `items`": {`{"then":true}`,
			`{"else":true}`, `{"additionalItems":true}`, `{"items":true,"additionalItems":true}`},
		"unknown formats, and `idn-hostname`": {`{"format":"phone"}`, `{"format":"idn-hostname"}`},
		"expressions with look-ahead, look-behind, back references or `\\u`": {`{"pattern":"(?=a)"}`,
			`{"pattern":"(?<=a)"}`, `{"pattern":"(a)\\1"}`, `{"pattern":"\\u0041"}`},
		"expressions of more than 200,000 instructions in one document, or that take long to read": {
			written(object{"allOf": many(11, func(int) any {
				return object{"pattern": strings.Repeat("(a{1000})", 20)}
			})}),
			written(object{"pattern": strings.Repeat(`\pL`, 2000)})},
		"an empty `type` or `enum`, `minLength` above `maxLength`, and so on": {`{"type":[]}`, `{"enum":[]}`,
			`{"minLength":2,"maxLength":1}`, `{"minItems":2,"maxItems":1}`},
		"a key that stands twice": {`{"type":"string","type":"string"}`},
	} {
		guide(t, first)
		for _, document := range documents {
			if _, err := Compile([]byte(document)); err == nil {
				t.Errorf("%s: %.200s is no error", first, document)
			}
		}
	}
}
