//go:build unix

package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

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
	each := func(of object) string { return written(object{"items": of}) }
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
	}
}
