package schema

import (
	"fmt"
	"strings"
	"sync"

	"github.com/xeipuuv/gojsonschema"
)

// draft7 is the schema of schemas that draft 7 publishes; gojsonschema carries it, so that nothing is fetched.
var draft7 = sync.OnceValues(func() (*gojsonschema.Schema, error) {
	loader := gojsonschema.NewSchemaLoader()
	loader.Draft, loader.AutoDetect = gojsonschema.Draft7, false
	return loader.Compile(gojsonschema.NewReferenceLoader("http://json-schema.org/draft-07/schema"))
})

// checkDraft7 holds a document to draft 7's own schema. The parser is stricter nearly everywhere: what is left are
// the shapes of notes, such as a title that is no text.
func checkDraft7(document any) error {
	meta, err := draft7()
	if err != nil {
		return fmt.Errorf("%w: the schema of draft 7: %w", ErrInvalidSchema, err)
	}
	result, err := meta.Validate(gojsonschema.NewRawLoader(document))
	if err != nil {
		return &SchemaError{Problems: []SchemaProblem{newSchemaProblem("", "", err.Error())}}
	}
	var problems []SchemaProblem
	for _, fault := range result.Errors() {
		if fault.Type() == "unique" { // harmless; and gojsonschema compares numbers as floats
			continue
		}
		if problems = append(problems, draft7Problem(fault)); len(problems) == MaxViolations {
			break
		}
	}
	if problems == nil {
		return nil
	}
	return &SchemaError{Problems: problems}
}

// draft7Problem splits gojsonschema's context into the path of a schema and its keyword.
func draft7Problem(fault gojsonschema.ResultError) SchemaProblem {
	const between = "\x00\x01\x00"
	tokens := strings.Split(fault.Context().String(between), between)[1:]
	path, keyword := "", ""
	for i, token := range tokens {
		if i == len(tokens)-1 {
			keyword = token
		} else {
			path = pointer(path, token)
		}
	}
	return newSchemaProblem(path, keyword, "draft 7 allows no such value: "+fault.Description())
}
