package schema

import (
	"errors"
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
