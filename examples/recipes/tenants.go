package recipes

import (
	"context"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Exports are limited for each tenant, over all processes.
var Exports = queue.Define[string]("exports", queue.Config{Limits: queue.Limits{
	Running:       20, // of all tenants together
	RunningPerKey: 2,  // of one tenant
	RatePerKey:    queue.Rate{Count: 100, Per: time.Minute, Burst: 10},
}})

// export enqueues an export under its tenant's limits.
func export(ctx context.Context, tx outbox.Tx, tenant, file string) error {
	_, err := Exports.Enqueue(ctx, tx, file, queue.CustomerKey(tenant))
	return err
}
