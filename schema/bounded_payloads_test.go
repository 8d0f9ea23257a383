package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// hostilePayload is a payload of up to 1 MiB that is made to take long.
type hostilePayload struct {
	name, document, payload string
	rule                    string // of the first violation; empty for a payload that passes
}

// many makes a list.
func many(n int, of func(i int) any) (list []any) {
	for i := range n {
		list = append(list, of(i))
	}
	return list
}

// mebibyte is an array of as many items of one kind as 1 MiB holds.
func mebibyte(item string) string {
	return "[" + strings.Repeat(item+",", (1<<20)/(len(item)+1)-2) + item + "]"
}

func written(v any) string { return string(mustJSON(v)) }

// hostilePayloads take what a keyword does for one check, and make each check as large as it can be.
func hostilePayloads() []hostilePayload {
	names := many(60_000, func(i int) any { return fmt.Sprint("k", i) })
	long := strings.Repeat("k", 1<<20-100)
	all := func(n int, of func(i int) any) string { return written(object{"allOf": many(n, of)}) }
	each := func(of any) string { return written(object{"items": of}) }
	keys := object{}
	for i := range 90_000 {
		keys[fmt.Sprint(i)] = i
	}
	const few = `{"a":[1,1,1,1,1]}`
	const nine = `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}`
	return []hostilePayload{
		{"many names that are lacking", each(object{"not": object{"required": names}}), mebibyte(few), ""},
		{"many names that one asks for", each(object{"not": object{"dependencies": object{"a": names}}}),
			mebibyte(few), ""},
		{"a long name that is lacking", each(object{"not": object{"required": []any{long}}}), mebibyte(nine), "work"},
		{"many bounds of long numbers",
			each(object{"allOf": many(2000, func(i int) any { return object{"minimum": -i} })}),
			mebibyte("0." + strings.Repeat("9", 300)), "work"},
		{"many lengths of a long text", all(4000, func(i int) any { return object{"minLength": i + 1} }),
			`"` + strings.Repeat("é", 500_000) + `"`, "work"},
		{"many enums of a long text", written(object{"not": object{"anyOf": many(4000, func(i int) any {
			return object{"enum": []any{fmt.Sprint(i)}}
		})}}), `"` + long + `"`, "work"},
		{"a choice far down", written(object{"type": []any{"array", "integer"}, "items": object{"$ref": "#"},
			"if": object{"type": "integer"}, "then": object{"anyOf": many(1000, func(i int) any {
				return object{"const": i + 10}
			})}}), strings.Repeat("[", 900) + mebibyte("1")[:1<<20-2000] + "]" + strings.Repeat("]", 900), "anyOf"},
		{"a long constant", each(object{"const": long}), mebibyte("1"), "const"},
		{"many names in their order", written(object{"required": []any{"zz"}, "allOf": many(1000, func(i int) any {
			return object{"additionalProperties": object{"maximum": i - 1}}
		})}), written(keys), "required"},
		{"an expression of a long text", `{"format":"regex"}`, `"` + strings.Repeat("a{1000}", 100_000) + `"`, "work"},
		{"a long address", all(15, func(int) any { return object{"format": "uri"} }),
			`"http://` + strings.Repeat("a", 1<<18) + `"`, "work"},
		{"many escapes", `{}`, `"\ud83d\ude00` + strings.Repeat(`\\`, 500_000) + `"`, ""},
		{"the same number", `{"uniqueItems":true}`, mebibyte("1"), "uniqueItems"},
		{"multiples", each(object{"multipleOf": json.Number("0.01")}), mebibyte("1.5"), ""},
		{"a long name of a mailbox", `{"format":"email"}`, `"\"` + long[:1<<20-200] + `\"@b.c"`, "format"},
		{"different numbers", `{"uniqueItems":true}`, "[" + numbersTo(150_000) + "]", ""},
		{"few different items, often", `{"contains":{"uniqueItems":true,"contains":{"const":0}}}`,
			mebibyte("[1,2,3,4,5,6,7,8,9]"), "work"},
		{"many enums of a long array", all(300, func(i int) any { return object{"enum": []any{[]any{i}}} }),
			mebibyte("12"), "enum"},
		{"a choice of choices", each(choices(7, object{"const": 0})), mebibyte("1"), "anyOf"},
		{"nots within nots", each(nots(150)), mebibyte("1"), "work"},
		{"many bounds of fractions", each(object{"allOf": many(9, func(i int) any {
			return object{"minimum": -i, "maximum": i + 9}
		})}), mebibyte("1.5"), "work"},
		{"multiples of a distant number", each(object{"not": object{"multipleOf": 7}}), mebibyte("1e300"), "work"},
		{"addresses that are none", each(object{"allOf": many(9, func(int) any {
			return object{"not": object{"format": "email"}}
		})}), mebibyte(`"a b"`), "work"},
		{"expressions of Unicode", each(object{"format": "regex"}), mebibyte(`"\\pL"`), "work"},
		{"expressions that fold", each(object{"format": "regex"}), mebibyte(`"(?i)[B-\\x{1e942}]"`), "work"},
	}
}

// choices nests anyOf of three branches each.
func choices(levels int, leaf any) any {
	for range levels {
		leaf = object{"anyOf": []any{leaf, leaf, leaf}}
	}
	return leaf
}

func nots(levels int) any {
	var leaf any = object{"type": "integer"}
	for range levels {
		leaf = object{"not": leaf}
	}
	return leaf
}

// issuePayloads once took seconds, or gigabytes.
func issuePayloads() []hostilePayload {
	return []hostilePayload{
		{"a violation for each item", `{"items":{"type":"string"}}`, mebibyte("1"), "type"},
		{"uniqueItems beside many levels", `{"properties":{"tags":{"uniqueItems":true},
			"in":{"uniqueItems":true,"items":{"$ref":"#/properties/in"}}}}`,
			`{"in":` + nestedIn(900, "[1,", strings.Repeat("[2],", 200_000)+"3", "]") + "}", "uniqueItems"},
		{"different items at every level", `{"properties":{"in":{"uniqueItems":true,
			"items":{"$ref":"#/properties/in"}}}}`,
			`{"in":` + nestedIn(900, `["x",`, `"`+strings.Repeat("y", 1<<19)+`"`, "]") + "}", "work"},
		{"an enum of 250 for 1,000 lines", `{"items":{"enum":[` + numbersTo(250) + `]}}`,
			"[" + strings.Repeat("249,", 999) + "249]", ""},
		{"an enum of 60,000 that nothing fits", `{"items":{"enum":[` + numbersTo(60_000) + `]}}`,
			"[" + strings.Repeat("-1,", 1000) + "-1]", "enum"},
		{"1,000 patterns for 1,000 keys", patterns(1000), keyed(1000), "work"},
		{"an expression of 1,500 instructions", `{"pattern":"(?i)[a-z]{1000}[^\\x00-\\x7f]{500}"}`,
			`"` + strings.Repeat("a", 1<<20-2) + `"`, "work"},
		{"branches that double by depth", `{"type":"array","anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`,
			nestedIn(200, "[", `"x"`, "]"), "work"},
		{"long keys at every level", `{"additionalProperties":{"$ref":"#"},"required":["z"]}`,
			nestedIn(900, `{"`+strings.Repeat("k", 1100)+`":`, "{}", "}"), "required"},
	}
}

// nestedIn puts a text into as many levels.
func nestedIn(levels int, open, inner, end string) string {
	return strings.Repeat(open, levels) + inner + strings.Repeat(end, levels)
}

func numbersTo(n int) string {
	var out strings.Builder
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprint(&out, i)
	}
	return out.String()
}

func patterns(n int) string {
	schemas := object{}
	for i := range n {
		schemas[fmt.Sprintf("^x%d$", i)] = object{"type": "integer"}
	}
	return string(mustJSON(object{"patternProperties": schemas}))
}

func keyed(n int) string {
	keys := object{}
	for i := range n {
		keys[fmt.Sprintf("key of the payload number %d", i)] = 1
	}
	return string(mustJSON(keys))
}
