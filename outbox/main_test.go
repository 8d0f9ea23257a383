package outbox_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
	"github.com/strunk-go/strunk/outbox"
)

// childDSN names the database for a child process.
const childDSN = "STRUNK_TEST_DSN"

func TestMain(m *testing.M) {
	faults.Main(faults.Roles{"migrator": childMigrator})
	testkit.Main(m)
}

// childMigrator migrates and says how it went.
func childMigrator() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv(childDSN))
	if err == nil {
		defer pool.Close()
		err = outbox.Migrate(ctx, pool, outbox.MigrateConfig{})
	}
	fmt.Println("migrated:", err)
	select {} // until the parent has read it
}
