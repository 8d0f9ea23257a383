package outbox_test

import (
	"testing"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A function that forbids a plan node has plans of an enormous cost where nothing but that node serves, as for an empty
// table. PostgreSQL would compile them, which takes it half a second and more.
func TestPinnedPlansAreNotCompiled(t *testing.T) {
	t.Parallel()
	compiled := query[[]string](t, outboxtest.New(t), `SELECT coalesce(array_agg(p.proname::text ORDER BY 1), '{}')
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace AND array_to_string(p.proconfig, ' ') LIKE '%enable_%=off%'
			AND NOT p.proconfig @> '{jit=off}'`)
	if len(compiled) > 0 {
		t.Errorf("enable_... is off and jit is not: %v", compiled)
	}
}
