package schedule_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

type Report struct {
	Kind string `json:"kind"`
}

var Reports = queue.Define[Report]("reports", queue.Config{})

// A schedule is registered at each start of the program; the runner is one more binding of Run.
func ExampleRegister() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	box, closeBox, err := openExample(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer closeBox()

	_, err = schedule.Register(ctx, box, "daily-report", Reports, Report{Kind: "daily"}, "0 6 * * mon-fri",
		schedule.TimeZone("Europe/Berlin"),
		schedule.OnMisfire(schedule.CatchUp(3)),
		schedule.Task(queue.Priority(3)))
	if err != nil {
		log.Fatal(err)
	}
	_, err = schedule.Register(ctx, box, "heartbeat", Reports, Report{Kind: "heartbeat"}, "every 200ms")
	if err != nil {
		log.Fatal(err)
	}

	seen := 0
	makeReport := func(ctx context.Context, task queue.Task[Report]) error {
		fmt.Println(task.Payload.Kind, "of schedule", task.Metadata["schedule"])
		if seen++; seen == 2 {
			cancel() // the end of the example
		}
		return nil
	}
	if err := box.Run(ctx, schedule.Runner(), Reports.Worker(makeReport, queue.Concurrency(1))); err != nil {
		log.Fatal(err)
	}
	// Output:
	// heartbeat of schedule heartbeat
	// heartbeat of schedule heartbeat
}

// What operators do: the same is on the command line.
func ExampleDisable() {
	ctx := context.Background()
	box, closeBox, err := openExample(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer closeBox()
	if _, err := schedule.Register(ctx, box, "nightly", Reports, Report{Kind: "nightly"}, "@daily"); err != nil {
		log.Fatal(err)
	}

	if err := schedule.Disable(ctx, box, "nightly"); err != nil {
		log.Fatal(err)
	}
	if _, err := schedule.RunNow(ctx, box, "nightly"); err != nil {
		log.Fatal(err)
	}
	all, err := schedule.List(ctx, box)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range all {
		fmt.Println(s.ID, s.Spec, s.TimeZone, "enabled:", s.Enabled)
	}
	// Output: nightly @daily UTC enabled: false
}

// Parse tells when a spec is due without storing anything.
func ExampleParse() {
	spec, err := schedule.Parse("30 2 * * *", "Europe/Berlin")
	if err != nil {
		log.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		log.Fatal(err)
	}
	at := time.Date(2025, 3, 28, 12, 0, 0, 0, berlin)
	for range 3 {
		at = spec.Next(at)
		fmt.Println(at.In(berlin).Format(time.DateTime))
	}
	// Output:
	// 2025-03-29 02:30:00
	// 2025-03-30 03:00:00
	// 2025-03-31 02:30:00
}

func openExample(ctx context.Context) (*outbox.Box, func(), error) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		return nil, nil, err
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		return nil, nil, err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	return box, func() { pool.Close(); server.Close() }, err
}
