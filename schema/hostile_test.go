package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/xeipuuv/gojsonschema"
)

// hostile inputs run in a process of their own each: a stack that overflows can't be recovered from, and must show
// as a failure. Every one must end with the error that it names, or with none.
var hostile = map[string]func() (got, want error){
	"reference to itself":  compiles(`{"$ref":"#"}`, ErrInvalidSchema),
	"allOf itself":         compiles(`{"allOf":[{"$ref":"#"}]}`, ErrInvalidSchema),
	"anyOf itself":         compiles(`{"anyOf":[{"type":"null"},{"$ref":"#"}]}`, ErrInvalidSchema),
	"not itself":           compiles(`{"not":{"$ref":"#"}}`, ErrInvalidSchema),
	"if itself":            compiles(`{"if":{"$ref":"#"},"then":true}`, ErrInvalidSchema),
	"dependency on itself": compiles(`{"dependencies":{"a":{"$ref":"#"}}}`, ErrInvalidSchema),
	"two definitions in a " +
		"circle": compiles(`{"definitions":{"a":{"$ref":"#/definitions/b"},
			"b":{"allOf":[{"$ref":"#/definitions/a"}]}}}`, ErrInvalidSchema),
	"circle below a property": compiles(`{"properties":{"a":{"oneOf":[{"$ref":"#/properties/a"}]}}}`,
		ErrInvalidSchema),
	"through propertyNames":         validates(`{"propertyNames":{"$ref":"#"}}`, `{"a":{"b":1}}`, nil),
	"exponent in the schema":        compiles(`{"minimum":1e2000000}`, ErrInvalidSchema),
	"exponent under multipleOf":     compiles(`{"multipleOf":1e-2000000}`, ErrInvalidSchema),
	"exponent in a note":            compiles(`{"default":1e2000000}`, ErrInvalidSchema),
	"exponent in enum":              compiles(`{"enum":[1e99999999999999999999]}`, ErrInvalidSchema),
	"exponent in the payload":       validates(`{"minimum":0}`, `1e2000000`, ErrInvalidPayload),
	"negative exponent in it":       validates(`{"type":"integer"}`, `1e-2000000`, ErrInvalidPayload),
	"negative exponent and a bound": validates(`{"minimum":0}`, `1e-2000000`, ErrInvalidPayload),
	"exponent without bounds":       validates(`{"type":"object"}`, `{"a":[1E+2000000]}`, ErrInvalidPayload),
	"number of a million digits":    validates(`{"type":"integer"}`, strings.Repeat("9", 1_000_000), ErrInvalidPayload),
	"number beyond float64":         validates(`{"enum":["a"]}`, `1e400`, ErrInvalidPayload),
	"enum of one float64":           validates(`{"enum":[9007199254740992]}`, `9007199254740993`, ErrInvalidPayload),
	"const of one float64":          validates(`{"const":9007199254740993}`, `9007199254740992`, ErrInvalidPayload),
	"the number of the enum":        validates(`{"enum":[9007199254740993]}`, `9007199254740993`, nil),
	"payload of a million " +
		"brackets": validates(`{"items":{"$ref":"#"}}`, strings.Repeat("[", 1_000_000), ErrInvalidPayload),
	"payload that nests too deep": validates(`{"items":{"$ref":"#"}}`, nested(9000), ErrInvalidPayload),
	"payload as deep as allowed":  validates(`{"items":{"$ref":"#"}}`, nested(MaxDepth), nil),
	"schema that nests too " +
		"deep": compiles(strings.Repeat(`{"not":`, 300)+`{}`+strings.Repeat(`}`, 300), ErrInvalidSchema),
	"schema of a million brackets": compiles(strings.Repeat(`{"not":`, 100_000), ErrInvalidSchema),
	"chain of references":          compiles(chain(5000, `{"$ref":"#/definitions/%d"}`), ErrInvalidSchema),
	"billion laughs": compiles(chain(64,
		`{"allOf":[{"$ref":"#/definitions/%[1]d"},{"$ref":"#/definitions/%[1]d"}]}`), ErrInvalidSchema),
	"branches that double by " +
		"depth": validates(`{"anyOf":[{"items":{"$ref":"#"}},{"items":{"$ref":"#"}}]}`,
		strings.Replace(nested(200), "[]", `["x"]`, 1), nil),
	"wrong branches that double": validates(`{"type":"array","anyOf":[{"items":{"$ref":"#"}},
		{"items":{"$ref":"#"}}]}`, strings.Replace(nested(200), "[]", `["x"]`, 1), ErrInvalidPayload),
	"expression that backtracks": validates(`{"pattern":"^(a+)+$"}`, `"`+strings.Repeat("a", 50_000)+`b"`,
		ErrInvalidPayload),
	"expression that is too large": compiles(`{"pattern":"((a{1,100}){1,100}){1,100}"}`, ErrInvalidSchema),
	"comparison that explodes":     explodes,
	"comparison of unions":         explodingUnions,
	"comparison of circles":        compares(`{"$ref":"#"}`, `{"$ref":"#"}`, ErrInvalidSchema),
	"comparison of exponents":      compares(`{"minimum":1e2000000}`, `{"minimum":1}`, ErrInvalidSchema),
	"comparison of deep recursion": compares(`{"items":{"items":{"$ref":"#"}}}`,
		`{"items":{"items":{"items":{"$ref":"#"}}}}`, nil),
	"comparison of a huge " +
		"range": compares(`{"type":"integer","minimum":0,"maximum":1e300}`, `{"type":"integer","enum":[0]}`,
		ErrIncompatible),
	"comparison of tiny steps": compares(`{"minimum":0,"maximum":1,"multipleOf":1e-300}`, `{"enum":[0]}`,
		ErrIncompatible),
	"reference over the network":    fetches("http://%s/schema.json"),
	"reference with a fragment":     fetches("http://%s/schema.json#/definitions/a"),
	"relative reference beside $id": fetches(`schema.json","$id":"http://%s/`),
	"reference to a file":           compiles(`{"items":{"$ref":"file:///etc/passwd"}}`, ErrInvalidSchema),
	"reference to a relative file":  compiles(`{"items":{"$ref":"schema.json#/a"}}`, ErrInvalidSchema),
	"reference to an anchor": compiles(`{"definitions":{"a":{"$id":"#a"}},"items":{"$ref":"#a"}}`,
		ErrInvalidSchema),
	"reference to a note":    compiles(`{"x-a":{"type":"string"},"items":{"$ref":"#/x-a"}}`, ErrInvalidSchema),
	"identifiers that clash": compiles(`{"$id":"http://a/","definitions":{"a":{"$id":"http://a/"}}}`, ErrInvalidSchema),
	"metaschema of another " +
		"draft": compiles(`{"$schema":"http://json-schema.org/draft-04/schema#"}`, ErrInvalidSchema),
	"Go type that points to itself": func() (error, error) {
		_, err := For[pointerToItself]()
		return err,
			ErrUnsupportedType
	},
	"Go type whose method panics": func() (error, error) { _, err := For[panicking](); return err, ErrUnsupportedType },
	"upcast that panics":          func() (error, error) { return upcastPanic(), ErrUndecodable },
}

type (
	pointerToItself *pointerToItself
	panicking       struct{ A int }
)

func (panicking) JSONSchema() []byte { panic("no") }

func upcastPanic() error {
	_, err := Upcast[int]("2", From("1", func(int) (int, error) { panic("no") })).Decode("1", []byte("1"))
	return err
}

func compiles(document string, want error) func() (error, error) {
	return func() (error, error) {
		_, err := Compile([]byte(document))
		return err, want
	}
}

func validates(document, payload string, want error) func() (error, error) {
	return func() (error, error) {
		schema, err := Compile([]byte(document))
		if err != nil {
			return err, want
		}
		return schema.Validate([]byte(payload)), want
	}
}

func compares(old, next string, want error) func() (error, error) {
	return func() (error, error) {
		return Check(Revision{"1", []byte(old)}, Revision{"2", []byte(next)}, Full), want
	}
}

// fetches fails when anything connects.
func fetches(reference string) func() (error, error) {
	return func() (error, error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err, nil
		}
		defer listener.Close()
		asked := make(chan string, 1)
		go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- r.URL.Path
			fmt.Fprint(w, `{"definitions":{"a":{}}}`)
		}))
		_, err = Compile(fmt.Appendf(nil, `{"items":{"$ref":"`+reference+`"}}`, listener.Addr()))
		select {
		case path := <-asked:
			return fmt.Errorf("fetched %s", path), nil
		case <-time.After(50 * time.Millisecond):
			return err, ErrInvalidSchema
		}
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func chain(length int, link string) string {
	definitions := map[string]json.RawMessage{fmt.Sprint(length): json.RawMessage(`{}`)}
	for i := range length {
		definitions[fmt.Sprint(i)] = fmt.Appendf(nil, link, i+1)
	}
	return string(mustJSON(object{"definitions": definitions}))
}

// explodes compares conjunctions of choices, which have 2^40 cases.
func explodes() (error, error) {
	var all []any
	for i := range 40 {
		all = append(all, object{"anyOf": []any{
			object{"required": []string{fmt.Sprint("a", i)}}, object{"required": []string{fmt.Sprint("b", i)}},
		}})
	}
	old := mustJSON(object{"type": "object", "allOf": all})
	next := mustJSON(object{"type": "object", "allOf": []any{object{"minProperties": 40}}})
	err := Check(Revision{"1", old}, Revision{"2", next}, Backward)
	if !strings.Contains(fmt.Sprint(err), "budget") {
		return fmt.Errorf("want the budget named, got %w", err), nil
	}
	return err, ErrIncompatible
}

// explodingUnions compares wide unions whose variants are all alike.
func explodingUnions() (error, error) {
	union := func(most int) []byte {
		var variants []any
		for i := range 30 {
			variants = append(variants, object{"minLength": i, "maxLength": most + i, "pattern": fmt.Sprint("^", i),
				"type": "string"})
		}
		return mustJSON(object{"oneOf": variants})
	}
	return Check(Revision{"1", union(40)}, Revision{"2", union(39)}, Backward), ErrIncompatible
}

const hostileEnv = "STRUNK_SCHEMA_HOSTILE"

func TestHostileInputs(t *testing.T) {
	if name := os.Getenv(hostileEnv); name != "" {
		debug.SetMaxStack(64 << 20)
		got, want := hostile[name]()
		guarded := !strings.Contains(fmt.Sprint(got), "internal fault") || strings.Contains(name, "panics")
		if !errors.Is(got, want) || !guarded {
			t.Fatalf("got %v, want %v", got, want)
		}
		return
	}
	for _, name := range sortedKeys(hostile) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := again(t, "TestHostileInputs", name); err != nil {
				t.Errorf("%v\n%.2000s", err, out)
			}
		})
	}
}

// again runs one test of this binary in a process of its own.
func again(t *testing.T, test, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+test+"$")
	command.Env = append(os.Environ(), hostileEnv+"="+name)
	return command.CombinedOutput()
}

// faults are gojsonschema's, which the inputs above would meet without us. When one of these tests fails, the library
// has mended it, and a guard of ours may go.
var faults = map[string]func() bool{
	"reference to itself": func() bool { theirsAccepts(`{"$ref":"#"}`, `1`); return false },
	"allOf itself":        func() bool { theirsAccepts(`{"allOf":[{"$ref":"#"}]}`, `1`); return false },
	"exponent":            func() bool { theirsAccepts(`{"minimum":0}`, `1e2000000`); return false },
	"enum as floats":      func() bool { return theirsAccepts(`{"enum":[9007199254740992]}`, `9007199254740993`) },
	"const as floats":     func() bool { return theirsAccepts(`{"const":9007199254740992}`, `9007199254740993`) },
	"prefixItems ignored": func() bool { return theirsAccepts(`{"prefixItems":[{"type":"string"}]}`, `[1]`) },
	"sibling of reference": func() bool {
		return theirsAccepts(`{"definitions":{"a":{}},"$ref":"#/definitions/a","type":"string"}`, `1`)
	},
	"dependentRequired": func() bool { return theirsAccepts(`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`) },
	// duration is added by dockertest's libraries
	"unknown format":    func() bool { return theirsAccepts(`{"format":"iso-duration"}`, `"x"`) },
	"time as date-time": func() bool { return theirsAccepts(`{"format":"date-time"}`, `"10:00:00"`) },
	"upper-case UUID": func() bool {
		return !theirsAccepts(`{"format":"uuid"}`,
			`"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"`)
	},
	"format of a number":    func() bool { return !theirsAccepts(`{"format":"date"}`, `1`) },
	"empty enum":            func() bool { return theirsAccepts(`{"enum":[]}`, `1`) },
	"additionalItems alone": func() bool { return theirsAccepts(`{"items":[],"additionalItems":false}`, `[1]`) },
	"unique as floats": func() bool {
		return !theirsAccepts(`{"uniqueItems":true}`,
			`[9007199254740993,9007199254740992]`)
	},
}

func theirsAccepts(document, payload string) bool {
	result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(document), gojsonschema.NewStringLoader(payload))
	return err == nil && result.Valid()
}

func TestFaultsAreReal(t *testing.T) {
	if name := os.Getenv(hostileEnv); name != "" {
		debug.SetMaxStack(1 << 20)
		if !faults[name]() {
			return
		}
		panic("the fault shows")
	}
	for _, name := range sortedKeys(faults) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := again(t, "TestFaultsAreReal", name); err == nil {
				t.Error("gojsonschema has mended it")
			}
		})
	}
}
