package ops_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
)

// The API answers with the documents of testdata/answers, which the commands print too.
func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	exec(t, pool, "SET LOCAL search_path TO public;"+testkit.Installation(t))
	for name, a := range testkit.Answers(t) {
		status, body, _ := do(t, h, request{method: "GET", path: a.Path, token: readToken})
		if status != http.StatusOK {
			t.Fatalf("GET %s: %d %s", a.Path, status, body)
		}
		got := testkit.Steady(t, body)
		if a.Field != "" {
			got = got.(map[string]any)[a.Field]
		}
		if diff := cmp.Diff(a.Answer, got); diff != "" {
			t.Errorf("%s: GET %s (-want +got): %s", name, a.Path, diff)
		}
	}
}
