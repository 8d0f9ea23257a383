package schema

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	anyA    = `{"type":"object","properties":{}}`
	stringA = `{"type":"object","properties":{"a":{"type":"string"}}}`
	numberA = `{"type":"object","properties":{"a":{"type":"number"}}}`
)

func TestCheckHistory(t *testing.T) {
	history := []Revision{{"1.10", []byte(anyA)}, {"1.2", []byte(stringA)}} // in no order
	for _, c := range []struct {
		name string
		next Revision
		mode Mode
		want error
	}{
		{"only the newest counts", Revision{"1.11", []byte(numberA)}, Backward, nil},
		{"the empty mode is backward", Revision{"1.11", []byte(`{"type":"object","required":["x"]}`)}, "",
			ErrIncompatible},
		{"transitive looks at all", Revision{"1.11", []byte(numberA)}, BackwardTransitive, ErrIncompatible},
		{"forward, transitive", Revision{"1.11", []byte(numberA)}, ForwardTransitive, ErrIncompatible},
		{"full, transitive", Revision{"1.11", []byte(stringA)}, FullTransitive, nil},
		{"none checks nothing", Revision{"1.11", []byte(`{"type":"string"}`)}, None, nil},
		{"none still compiles", Revision{"1.11", []byte(`{"type":"str"}`)}, None, ErrInvalidSchema},
		{"the same again", Revision{"1.2", []byte(" " + stringA)}, FullTransitive, nil},
		{"the same version, spelt otherwise", Revision{"1.2.0", []byte(stringA)}, FullTransitive, nil},
		{"another document for a version", Revision{"1.2", []byte(anyA)}, None, ErrInvalidVersion},
		{"an older version", Revision{"1.9", []byte(anyA)}, Backward, ErrInvalidVersion},
		{"no version", Revision{"", []byte(anyA)}, Backward, ErrInvalidVersion},
		{"no schema", Revision{"2", []byte(`{`)}, Backward, ErrInvalidSchema},
	} {
		if err := CheckHistory(history, c.next, c.mode); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := CheckHistory(history, Revision{"3", []byte(anyA)}, "backwards"); err == nil ||
		!strings.Contains(err.Error(), "no such mode") {
		t.Errorf("unknown mode: %v", err)
	}
	if err := CheckHistory(nil, Revision{"1", []byte(anyA)}, Full); err != nil {
		t.Errorf("the first version: %v", err)
	}
}

func TestCompatibilityErrorNamesBothVersions(t *testing.T) {
	history := []Revision{{"1.0", []byte(stringA)}, {"1.1", []byte(anyA)}}
	err := CheckHistory(history, Revision{"2.0", []byte(numberA)}, BackwardTransitive)
	var incompatible *CompatibilityError
	if !errors.As(err, &incompatible) || len(incompatible.Problems) != 1 {
		t.Fatal(err)
	}
	want := Problem{
		Path: "/properties/a", Rule: "type", Old: "1.0", New: "2.0",
		Why:  "2.0 no longer accepts string, which 1.0 does",
		Mend: "keep the type, and add a property of another name for the new one",
	}
	if incompatible.Problems[0] != want {
		t.Errorf("got %+v", incompatible.Problems[0])
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	old := `{"type":"object","required":["a","b"],"properties":{"a":{"type":"string"},"b":{"maximum":5},
		"c":{"enum":[1,2]},"d":{"items":{"minLength":1}},"e":{"type":["object","null"],"required":["x"]}}}`
	next := `{"type":"object","required":["b","z"],"properties":{"a":{"type":"integer"},"b":{"maximum":4},
		"c":{"enum":[1]},"d":{"items":{"minLength":2}},"e":{"type":["object","null"],"required":["x","y"]}}}`
	err := Check(Revision{"1", []byte(old)}, Revision{"2", []byte(next)}, Backward)
	for _, want := range []string{
		`(root) required: 2 no longer requires the property "a"`, `/properties/a type: 2 no longer accepts string`,
		`/properties/b maximum: 2 asks for maximum 4`,
		`/properties/c enum: 2 asks for 1`, `/properties/d/items minLength: 2 asks for minLength 2`,
		`(root) required: 2 asks for the property "z"`,
		`/properties/e required: 2 asks for the property "y"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestCheckDir(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	good := fstest.MapFS{
		"order/1.9.json": file(anyA), "order/1.10.json": file(stringA), "a%2Fb/1.0.json": file(anyA),
		"README.md": file("x"), ".git/config.json": file("x"),
	}
	if err := CheckDir(good, Full); err != nil {
		t.Error(err)
	}
	if subjects, err := ReadDir(good); err != nil || len(subjects) != 2 || len(subjects["a/b"]) != 1 ||
		subjects["order"][1].Version != "1.10" {
		t.Errorf("%v, %v", subjects, err)
	}
	bad := fstest.MapFS{
		"order/1.0.json": file(stringA), "order/1.1.json": file(numberA),
		"order/1.2.json": file(`{"prefixItems":[]}`), "order/1.3.json": file(numberA),
		"order/latest.json": file(anyA), "loose.json": file(anyA), "deep/er/1.0.json": file(anyA),
		"same/1.json": file(anyA), "same/1.0.json": file(anyA),
	}
	err := CheckDir(bad, Backward)
	for _, want := range []string{"order/1.1.json: strunk/schema: incompatible", "order/1.2.json: ",
		"order/latest.json: call it", "loose.json", "deep/er/1.0.json", "same: 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "order/1.3.json") {
		t.Errorf("1.3 is as 1.1: %v", err)
	}
	if !errors.Is(err, ErrIncompatible) || !errors.Is(err, ErrInvalidSchema) || !errors.Is(err, ErrInvalidDir) {
		t.Error("the kinds are lost")
	}
}

func TestFileName(t *testing.T) {
	for _, c := range []struct{ subject, version, want string }{
		{"order", "1.0", "order/1.0.json"}, {"a/b c", "1", "a%2Fb%20c/1.json"}, {"", "1", ""}, {".", "1", ""},
		{"..", "1", ""}, {"order", "x", ""},
	} {
		if got, err := FileName(c.subject, c.version); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q %q: %q, %v", c.subject, c.version, got, err)
		}
	}
}
