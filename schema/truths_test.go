package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xeipuuv/gojsonschema"
	"pgregory.net/rapid"
)

type (
	stamped struct {
		time.Time
		Name string
	}
	describedTime struct{ time.Time }
)

func (describedTime) JSONSchema() []byte { return []byte(`{"type":"string","format":"date-time"}`) }

// A struct that embeds time.Time is written as the time alone, which is hardly what was meant.
func TestEmbeddedTime(t *testing.T) {
	if _, err := For[stamped](); !errors.Is(err, ErrUnsupportedType) ||
		!strings.Contains(err.Error(), "embeds time.Time") {
		t.Errorf("got %v", err)
	}
	if _, err := For[describedTime](); err != nil {
		t.Error(err)
	}
}

func TestLoneSurrogates(t *testing.T) {
	schema, err := Compile([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for payload, passes := range map[string]bool{
		`"\ud83d\ude00"`: true, `"\ud83d"`: false, `"\ude00"`: false, `"\uD83Dx"`: false, `"\\ud83d"`: true,
		`"\\\ud83d"`:           false,
		`"\ud83d\ud83d\ude00"`: false, `{"\udfff":1}`: false, `"\ud7ff"`: true,
	} {
		if err := schema.Validate([]byte(payload)); (err == nil) != passes {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

// The notes of a document have the shapes that draft 7 gives them.
func TestNotesHaveTheirShape(t *testing.T) {
	_, err := Compile([]byte(`{"properties":{"a":{"title":1}}}`))
	if !errors.Is(err, ErrInvalidSchema) || !strings.Contains(err.Error(), "/properties/a title") {
		t.Errorf("got %v", err)
	}
}

func TestBadNamesAreInvalid(t *testing.T) {
	if _, err := FileName("..", "1.0"); !errors.Is(err, ErrInvalid) || errors.Is(err, ErrInvalidDir) {
		t.Errorf("got %v", err)
	}
	if err := Check(Revision{}, Revision{}, "sideways"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// Formats that were once taken for good, or refused, against their RFC.
func TestFormatsAsTheirRFC(t *testing.T) {
	for _, c := range []struct {
		format, text string
		passes       bool
	}{
		{"date-time", "1998-12-31T23:59:60Z", true}, {"date-time", "1990-12-31T15:59:60-08:00", true},
		{"date-time", "1998-12-31T12:34:60Z", false}, {"date-time", "1998-12-31T23:58:60Z", false},
		{"date-time", "1963-06-19T08:30:06+10:60", false}, {"date-time", "1963-06-19T08:30:06+24:00", false},
		{"time", "23:59:60+00:00", true}, {"time", "22:59:60Z", false}, {"time", "01:02:03+10:60", false},
		{"uri", "http://a.b/c d", false}, {"uri", "http://a.b/c%20d", true}, {"uri", "//a.b", false},
		{"uri-template", "http://a.b/{?var}", true}, {"uri-template", "http://a.b/{+x,y:3,z*}", true},
		{"uri-template", "http://a.b/{var", false}, {"uri-template", "http://a.b/{}", false},
		{"hostname", "xn--4gbwdl.xn--wgbh1c", true}, {"hostname", "xn--", false}, {"hostname", "aa--b", false},
		{"hostname", "-a.b", false}, {"hostname", "a_b", false},
	} {
		schema, err := Compile(mustJSON(object{"format": c.format}))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(mustJSON(c.text)); (err == nil) != c.passes {
			t.Errorf("%s %s: %v", c.format, c.text, err)
		}
	}
}

// However long the texts of a document, of a version or of a name are, an error stays short enough for a log.
func TestErrorsAreShort(t *testing.T) {
	const longest = 200_000
	long := strings.Repeat("k", 1<<20-200)
	compiling := func(document any) error { _, err := Compile(mustJSON(document)); return err }
	comparing := func(old, next any) error {
		return Check(Revision{"1.0", mustJSON(old)}, Revision{"1.1", mustJSON(next)}, Full)
	}
	of := func(n int, of any) (all []any) {
		for range n {
			all = append(all, of)
		}
		return all
	}
	properties := func(name string, n int, of any) object {
		all := object{}
		for i := range n {
			all[fmt.Sprint(name, i)] = of
		}
		return object{"properties": all}
	}
	_, badVersion := ParseVersion(long)
	_, badName := FileName(strings.Repeat(".", 1<<20), "1.0")
	_, badPayload := Upcast[time.Time]("1").Decode(long, mustJSON(long))
	_, badTime := Upcast[time.Time]("1").Decode("1", mustJSON(long))
	for name, err := range map[string]error{
		"many faults":        compiling(object{"allOf": of(60_000, object{"a": 1})}),
		"many bad formats":   compiling(object{"allOf": of(40_000, object{"format": "x"})}),
		"a bad format":       compiling(object{"format": long}),
		"a bad type":         compiling(object{"type": long}),
		"a bad draft":        compiling(object{"$schema": long}),
		"a bad keyword":      compiling(object{long: 1}),
		"a bad reference":    compiling(object{"$ref": long}),
		"a far reference":    compiling(object{"$ref": "#" + long}),
		"a bad expression":   compiling(object{"pattern": strings.Repeat("(", 1<<20-200)}),
		"many expressions":   compiling(object{"allOf": of(4900, object{"pattern": strings.Repeat("(a{1000})", 20)})}),
		"a fault far down":   compiling(object{"properties": object{long: object{"a": 1}}}),
		"a key that is long": compiling(json.RawMessage(`{"` + long[:1<<19-100] + `":1,"` + long[:1<<19-100] + `":1}`)),
		"many changes": comparing(properties(long[:100], 5000, object{"type": "string"}),
			properties(long[:100], 5000, object{"type": "integer"})),
		"a long name":       comparing(object{"type": "object"}, object{"type": "object", "required": []any{long}}),
		"a long name below": comparing(object{}, object{"properties": object{long: object{"type": "integer"}}}),
		"a long path": comparing(object{"properties": object{long: object{"type": "string"}}},
			object{"properties": object{long: object{"type": "integer"}}}),
		"a long value":    comparing(object{}, object{"enum": []any{long}}),
		"a long constant": comparing(object{}, object{"const": []any{long}}),
		"a long pattern":  comparing(object{}, object{"pattern": long}),
		"a mode":          Check(Revision{}, Revision{}, Mode(long)),
		"a version":       badVersion,
		"a name":          badName,
		"an old payload":  badPayload,
		"a payload":       badTime,
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if n := len(err.Error()); n > longest {
			t.Errorf("%s: an error of %d bytes", name, n)
		}
	}
}

// Where required properties are not looked for, the mode alone decides: see docs/schemas.md.
func TestRequiredIsNotLookedForEverywhere(t *testing.T) {
	const with, without = `{"type":"object","required":["a"]}`, `{"type":"object"}`
	for name, where := range map[string]string{
		"patternProperties":   `{"type":"object","patternProperties":{"^x":%s}}`,
		"then":                `{"type":"object","if":{"required":["x"]},"then":%s}`,
		"else":                `{"type":"object","if":{"required":["x"]},"else":%s}`,
		"dependencies":        `{"type":"object","dependencies":{"x":%s}}`,
		"contains":            `{"type":"array","contains":%s}`,
		"unions that overlap": `{"type":"object","anyOf":[%s,{"required":["b"]}]}`,
	} {
		old, next := Revision{"1.0", fmt.Appendf(nil, where, with)}, Revision{"1.1", fmt.Appendf(nil, where, without)}
		if err := Check(old, next, Backward); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := Check(old, next, Forward); !errors.Is(err, ErrIncompatible) {
			t.Errorf("%s, forward: %v", name, err)
		}
	}
}

// A second opinion, where gojsonschema is sound: without formats, and without numbers that one float64 stands for.
func TestAgreesWithGojsonschema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document := mustJSON(randomDocument(t))
		schema, err := Compile(document)
		if err != nil || strings.Contains(string(document), `"format"`) ||
			strings.Contains(string(document), "900719925") {
			t.Skip("not sound there")
		}
		theirs, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(document))
		if err != nil {
			t.Skip(err)
		}
		for range 8 {
			payload := mustJSON(randomValue(t, 3))
			result, err := theirs.Validate(gojsonschema.NewBytesLoader(payload))
			if err != nil || strings.Contains(string(payload), "900719925") {
				continue
			}
			if ours := schema.Validate(payload); (ours == nil) != result.Valid() {
				t.Fatalf("%s\nagainst %s\nours %v\ntheirs %v", payload, document, ours, result.Errors())
			}
		}
	})
}
