package docsnippets_test

import (
	"testing"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
)

// TestMain gives the questions of package ops the patience of the tests.
func TestMain(m *testing.M) {
	core.Patience = testkit.Soon / ops.QueryTimeout
	testkit.Main(m)
}
