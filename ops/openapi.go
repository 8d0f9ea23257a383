package ops

import (
	_ "embed" // for the document
	"net/http"
)

// openAPIDocument describes the HTTP API. A test writes it from the operations (go test ./ops -run
// OpenAPI -update) and holds every answer of the handler against it.
//
//go:embed openapi.json
var openAPIDocument []byte

func openAPI(w http.ResponseWriter, r *http.Request) {
	if !parameters(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(openAPIDocument)
}
