package ops_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"

	"github.com/strunk-go/strunk/ops"
)

type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		Permission  ops.Permission `json:"x-permission"`
		Parameters  []struct{ Name, In string }
		RequestBody any
		Responses   map[string]struct {
			Content map[string]struct{ Schema json.RawMessage }
		}
	}
	Components json.RawMessage
}

func TestOpenAPIDocumentIsUpToDate(t *testing.T) {
	t.Parallel()
	doc, err := ops.BuildOpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	doc = append(doc, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h, _, _ := serve(t, ops.Config{})
	_, served, _ := do(t, h, request{method: "GET", path: "/v1/openapi.json", token: readToken})
	if served != string(doc) {
		t.Error("openapi.json is not what the operations say: go test ./ops -run OpenAPI -update, and build again")
	}
}

// One way: every operation of the document is there, asks for the permission that the document
// says, and answers what its schema says. The other way: every route is in the document, and
// nothing else under /v1 answers.
func TestOpenAPIMatchesTheHandlerBothWays(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	seed(t, pool)
	exec(t, pool, `SELECT public.strunk_start_job('retry', '{"queue": "nobody"}')`)
	doc := get[document](t, h, "/v1/openapi.json")
	var described []string
	for path, operations := range doc.Paths {
		for method := range operations {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	routes := ops.Routes()
	slices.Sort(routes)
	slices.Sort(described)
	removing := "POST /v1/schedules/{schedule}/remove" // comes last: the others look for that schedule
	others := slices.DeleteFunc(slices.Clone(described), func(o string) bool { return o == removing })
	for _, o := range append(others, removing) {
		if method, path, _ := strings.Cut(o, " "); path != "/v1/live" {
			holds(t, h, doc, method, path)
		}
	}
	if !slices.Equal(routes, described) {
		t.Errorf("routes\n%v\ndescribed\n%v", routes, described)
	}
	for _, path := range []string{"/v1", "/v1/", "/v1/queues/", "/v1/queues/a/b", "/v1/tasks/", "/v2/queues",
		"/v1/queues/a/purge"} {
		if status, _, _ := do(t, h, request{method: "GET", path: path, token: readToken}); status != 404 {
			t.Errorf("GET %s answers %d and is not described", path, status)
		}
	}
}

// bodies are those that change nothing that another operation needs; without one there is none.
var bodies = map[string]string{
	"/v1/dead-letters/retry":  `{"queue":"dead","limit":1}`,
	"/v1/dead-letters/purge":  `{"queue":"dead","older_than_seconds":1e6}`,
	"/v1/batches/{id}/cancel": `{"reason":"test"}`,
	"/v1/tasks/{id}/cancel":   `{"reason":"test"}`, "/v1/subscribers/{subscriber}/replay": `{"from":0}`,
	"/v1/subscribers/{subscriber}/skip":           `{"position":1}`,
	"/v1/subscribers/{subscriber}/retry-parked":   `{"entity_id":"1"}`,
	"/v1/subscribers/{subscriber}/release-parked": `{"entity_id":"1"}`,
	"/v1/subscribers/{subscriber}/retry-dead":     `{"ids":[1]}`,
	"/v1/queues/{queue}/hold":                     `{"customer_key":"acme","for_seconds":60}`,
	"/v1/queues/{queue}/lift-hold":                `{"customer_key":"acme"}`,
	"/v1/queues/{queue}/pause":                    `{"reason":"test"}`,
	"/v1/pause-all":                               `{}`,
	"/v1/jobs/start":                              `{"act":"retry","queue":"nobody"}`,
	"/v1/jobs/{id}/rate":                          `{"per_second":20}`,
	"/v1/tasks/run-now":                           `{"ids":[999999]}`,
	"/v1/tasks/reschedule":                        `{"ids":[999999],"due_at":"2030-01-01T00:00:00Z"}`,
	"/v1/tasks/priority":                          `{"ids":[999999],"priority":4}`,
	"/v1/tasks/discard":                           `{"ids":[999999],"reason":"test"}`,
	"/v1/tasks/delete":                            `{"ids":[999999]}`,
	"/v1/queues/{queue}/set-key-limits":           `{"customer_key":"acme","weight":2}`,
	"/v1/queues/{queue}/delete-key-limits":        `{"customer_key":"acme"}`,
	"/v1/queues/{queue}/set-limits":               `{"running":5,"rate_per_key":{"count":9,"seconds":1,"burst":1}}`,
}

// holds tries one operation: without a token, with too little permission, as it is meant to be, and
// with an unknown parameter.
func holds(t *testing.T, h http.Handler, doc document, method, path string) {
	t.Helper()
	o := doc.Paths[path][strings.ToLower(method)]
	at := strings.NewReplacer("{queue}", "dead", "{subscriber}", "indexer", "{schedule}", "daily", "{id}",
		"1", "{subject}", "order", "{version}", "1.1").Replace(path)
	token, less := readToken, ""
	if o.Permission == ops.PermissionChange {
		token, less = changeToken, readToken
	}
	if (o.RequestBody != nil) != (bodies[path] != "") {
		t.Errorf("%s %s: the test has a body, or the document has one, not both", method, path)
	}
	query := ""
	for _, p := range o.Parameters {
		if p.In == "query" {
			query += "&" + p.Name + "=" + map[string]string{"limit": "5", "newest": "false", "payload": "false",
				"from": "0", "act": "retry"}[p.Name]
		}
	}
	try := func(token, query string, statuses ...int) {
		t.Helper()
		status, body, header := do(t, h, request{method: method, path: at + query, token: token, body: bodies[path]})
		if !slices.Contains(statuses, status) {
			t.Errorf("%s %s%s: %d %s, want %v", method, at, query, status, body, statuses)
			return
		}
		response, ok := o.Responses[fmt.Sprint(status)]
		if !ok || !strings.HasPrefix(header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %s: %d (%s) is not described", method, path, status, header.Get("Content-Type"))
			return
		}
		schema := fmt.Sprintf(`{"allOf":[%s],"components":%s}`, response.Content["application/json"].Schema,
			doc.Components)
		result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(schema), gojsonschema.NewStringLoader(body))
		if err != nil || !result.Valid() {
			t.Errorf("%s %s: %d %s\nis not as described: %v %v", method, path, status, body, result, err)
		}
	}
	try("", "", 401)
	if less != "" {
		try(less, "", 403)
	}
	done := []int{200}
	if method == http.MethodPost { // nothing is parked, dead or blocked
		done = append(done, 404)
	}
	try(token, "?"+strings.TrimPrefix(query, "&"), done...)
	try(token, "?nonsense=1", 400)
}
