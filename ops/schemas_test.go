package ops_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/ops"
)

func TestSchemasOverHTTP(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	for _, v := range [][2]string{{"1.9", `{"title":"a"}`}, {"1.10", `{"title":"b"}`}, {"2", `{"title":"b"}`}} {
		exec(t, pool, `SELECT public.strunk_schema_put('order', $1, $2, 'full', true)`, v[0], v[1])
	}
	exec(t, pool, `SELECT public.strunk_schema_put('emails', '1.0', '{}', 'backward', false)`)
	subjects := get[ops.SchemaList](t, h, "/v1/schemas?limit=1&after=emails")
	if diff := cmp.Diff(ops.SchemaList{Next: "order", Schemas: []ops.SchemaSubject{{Subject: "order", Mode: "full",
		Strict: true, Versions: []string{"1.9", "1.10", "2"}}}}, subjects); diff != "" {
		t.Error(diff)
	}
	versions := get[ops.SchemaVersionList](t, h, "/v1/schemas/order?limit=2&after=1.9")
	if len(versions.Versions) != 2 || versions.Versions[0].Version != "1.10" || versions.Versions[0].Document != nil ||
		versions.Next != "2" {
		t.Errorf("versions: %+v", versions)
	}
	for path, want := range map[string]string{"latest": "2", "2.0.0": "2", "1.9": "1.9"} {
		if v := get[ops.SchemaVersion](t, h, "/v1/schemas/order/"+path); v.Version != want || v.Document == nil {
			t.Errorf("%s: %+v", path, v)
		}
	}
	if d := get[ops.SchemaDifference](t, h, "/v1/schemas/order/1.10/diff"); d.Old != "1.9" || len(d.Changes) != 1 ||
		d.Changes[0].Path != "/title" || string(d.Changes[0].Old) != `"a"` {
		t.Errorf("1.9 and 1.10: %+v", d)
	}
	if d := get[ops.SchemaDifference](t, h, "/v1/schemas/order/2/diff?old=1.10"); d.New != "2" || len(d.Changes) != 0 {
		t.Errorf("1.10 and 2: %+v", d)
	}
	for path, status := range map[string]int{"/v1/schemas/nothing": 404, "/v1/schemas/order/3": 404,
		"/v1/schemas/order/1.9/diff": 404, "/v1/schemas/order/1.9/diff?old=3": 404, "/v1/schemas/order/x": 400,
		"/v1/schemas/order/99999999999999999999": 400, "/v1/schemas/order/2/diff?old=2;": 400} {
		if got, body, _ := do(t, h, request{method: "GET", path: path, token: readToken}); got != status {
			t.Errorf("%s: %d %s, want %d", path, got, body, status)
		}
	}
}

func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, reason, old, new, want string }{
		{"equal", "order and spaces say nothing", `{"a":1,"b":2}`, `{ "b":2,"a":1 }`, `[]`},
		{"added", "a member", `{}`, `{"a":{"b":1}}`, `[{"path":"/a","change":"added","new":{"b":1}}]`},
		{"removed", "a member", `{"a":1}`, `{}`, `[{"path":"/a","change":"removed","old":1}]`},
		{"escaped", "as RFC 6901 says", `{"a/b~":1}`, `{"a/b~":2}`,
			`[{"path":"/a~1b~0","change":"changed","old":1,"new":2}]`},
		{"list of scalars", "is read as a whole", `{"required":["a","b"]}`, `{"required":["b"]}`,
			`[{"path":"/required","change":"changed","old":["a","b"],"new":["b"]}]`},
		{"list of objects", "is compared place by place", `{"anyOf":[{"a":1},{"b":1}]}`, `{"anyOf":[{"a":2}]}`,
			`[{"path":"/anyOf/0/a","change":"changed","old":1,"new":2},
			  {"path":"/anyOf/1","change":"removed","old":{"b":1}}]`},
		{"another type", "at the root", `true`, `{}`, `[{"path":"","change":"changed","old":true,"new":{}}]`},
		{"large numbers", "are not rounded", `{"a":9007199254740993}`, `{"a":9007199254740992}`,
			`[{"path":"/a","change":"changed","old":9007199254740993,"new":9007199254740992}]`},
		{"null", "is a value", `{"a":null}`, `{}`, `[{"path":"/a","change":"removed","old":null}]`},
	} {
		changes, err := ops.DocumentChanges(json.RawMessage(c.old), json.RawMessage(c.new))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(changes)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(c.want), &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s (%s): %s", c.name, c.reason, diff)
		}
	}
}
