package outboxtest_test

import (
	"testing"

	"github.com/strunk-go/strunk/outbox/outboxtest"
)

func TestDatabasesAreFreshAndMigrated(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	var n int
	err := pool.QueryRow(t.Context(), "SELECT count(*) FROM public.strunk_outbox").Scan(&n)
	if err != nil || n != 0 {
		t.Fatalf("rows in a fresh database: %d, %v; want 0", n, err)
	}
}
