package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/invopop/jsonschema"
)

// The document is built here, in the package but not in the program: who uses package ops links no schema library.

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// BuildOpenAPI makes the OpenAPI document of the operations.
func BuildOpenAPI() ([]byte, error) {
	components := map[string]any{}
	paths := map[string]any{}
	problem := schemaOf(Problem{}, components)
	for _, o := range (&server{}).operations() {
		entry := map[string]any{"operationId": o.id, "summary": o.summary,
			"security":     []any{map[string]any{"token": []string{}}, map[string]any{"password": []string{}}},
			"x-permission": o.permission, "parameters": parametersOf(o),
			"responses": responsesOf(o, schemaOf(o.answer, components), problem)}
		if o.body != nil {
			entry["requestBody"] = map[string]any{"required": true, "content": content(schemaOf(o.body, components))}
		}
		paths[o.path] = map[string]any{strings.ToLower(o.method): entry}
	}
	paths["/v1/live"] = map[string]any{"get": map[string]any{"operationId": "live",
		"summary":      "Server-sent events: live, with the state of everything, and problem",
		"security":     []any{map[string]any{"token": []string{}}, map[string]any{"password": []string{}}},
		"x-permission": PermissionRead, "parameters": []any{},
		"responses": map[string]any{"200": map[string]any{"description": "a stream",
			"content": map[string]any{"text/event-stream": map[string]any{"schema": schemaOf(Live{}, components)}}},
			"default": map[string]any{"description": "an error", "content": content(problem)}}}}
	return json.MarshalIndent(map[string]any{"openapi": "3.1.0", "paths": paths,
		"info": map[string]any{"title": "strunk ops", "version": "1",
			"description": "Times are RFC 3339, durations numbers of seconds. A count says how far to trust it: " +
				"exact, counted (age_seconds ago), at_least or estimate."},
		"components": map[string]any{"schemas": components, "securitySchemes": map[string]any{
			"token":    map[string]any{"type": "http", "scheme": "bearer"},
			"password": map[string]any{"type": "http", "scheme": "basic"}}}}, "", "  ")
}

func parametersOf(o operation) []any {
	all := []any{}
	for _, m := range pathParameter.FindAllStringSubmatch(o.path, -1) {
		kind := "string"
		if m[1] == "id" {
			kind = "integer"
		}
		all = append(all, map[string]any{"name": m[1], "in": "path", "required": true,
			"schema": map[string]any{"type": kind}})
	}
	for _, p := range o.query {
		schema := map[string]any{"type": p.kind}
		if p.name == "limit" {
			schema["minimum"], schema["maximum"], schema["default"] = 1, MaxLimit, DefaultLimit
		}
		all = append(all, map[string]any{"name": p.name, "in": "query", "description": p.about, "schema": schema})
	}
	return all
}

func responsesOf(o operation, answer, problem any) map[string]any {
	all := map[string]any{"200": map[string]any{"description": "done", "content": content(answer)}}
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInternalServerError} {
		all[fmt.Sprint(status)] = map[string]any{"description": http.StatusText(status), "content": content(problem)}
	}
	if strings.Contains(o.path, "{") {
		all["404"] = map[string]any{"description": http.StatusText(404), "content": content(problem)}
	}
	if o.method == http.MethodPost {
		for _, status := range []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType} {
			all[fmt.Sprint(status)] = map[string]any{"description": http.StatusText(status),
				"content": content(problem)}
		}
	}
	return all
}

func content(schema any) any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

// schemaOf adds a type's schema, and those it needs, to the components, and refers to it.
func schemaOf(v any, components map[string]any) any {
	r := jsonschema.Reflector{Anonymous: true, Mapper: mapped}
	doc, err := json.Marshal(r.Reflect(v))
	if err != nil {
		panic(err)
	}
	var schema struct {
		Ref  string         `json:"$ref"`
		Defs map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(doc), "#/$defs/", "#/components/schemas/")),
		&schema); err != nil {
		panic(err)
	}
	for name, def := range schema.Defs {
		components[name] = def
	}
	return map[string]any{"$ref": schema.Ref}
}
