package ops

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// mapped gives the schemas of types whose JSON is not what their Go type says.
func mapped(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Duration](), reflect.TypeFor[*Duration]():
		return &jsonschema.Schema{Type: "number", Description: "seconds"}
	case reflect.TypeFor[json.RawMessage]():
		return &jsonschema.Schema{Description: "any JSON"}
	case reflect.TypeFor[Precision]():
		return &jsonschema.Schema{Type: "string", Enum: []any{Exact, Counted, AtLeast, Estimate}}
	case reflect.TypeFor[Status]():
		return &jsonschema.Schema{Type: "string", Enum: []any{StatusOK, StatusWarn, StatusFail}}
	}
	return nil
}

// Routes are the operations as "POST /v1/…", for the test of the document.
func Routes() (all []string) {
	for _, o := range (&server{}).operations() {
		all = append(all, o.method+" "+o.path)
	}
	return append(all, "GET /v1/live")
}

// DocumentChanges is documentChanges.
var DocumentChanges = documentChanges
