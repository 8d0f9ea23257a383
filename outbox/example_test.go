package outbox_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// What is done is kept for a while, and for single queues for longer or less long.
func ExampleRetention() {
	ctx := context.Background()
	pool, closePool := examplePool(ctx)
	defer closePool()
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}

	box, err := outbox.Open(ctx, pool, outbox.Config{
		Retention: outbox.Retention{
			Tasks:       3 * 24 * time.Hour,
			DeadLetters: outbox.KeepForever,
			Queues: map[string]outbox.QueueRetention{
				"audit":   {Tasks: 90 * 24 * time.Hour},
				"thumbs":  {DeadLetters: 24 * time.Hour},
				"imports": {Tasks: 7 * 24 * time.Hour, DeadLetters: 7 * 24 * time.Hour},
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("schema", box.Schema())
	// Output: schema public
}

// A deployment that looks before it migrates, and checks afterwards.
func ExamplePlanMigrations() {
	ctx := context.Background()
	pool, closePool := examplePool(ctx)
	defer closePool()
	cfg := outbox.MigrateConfig{Schema: "jobs"}

	plan, err := outbox.PlanMigrations(ctx, pool, cfg, outbox.LatestVersion())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the first of them: from %d to %d, %s\n", plan[0].From, plan[0].To, plan[0].Name)

	if err := outbox.Migrate(ctx, pool, cfg); err != nil {
		log.Fatal(err)
	}
	differences, err := outbox.Check(ctx, pool, cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(differences), "differences")
	// Output:
	// the first of them: from 0 to 1, baseline
	// 0 differences
}

// Where another tool runs the migrations, it is given them as files.
func ExampleMigrationFiles() {
	files, err := outbox.MigrationFiles(outbox.MigrateConfig{}, outbox.FormatGoose)
	if err != nil {
		log.Fatal(err)
	}
	begin, _, _ := strings.Cut(files[0].Text, "\n")
	fmt.Println(files[0].Name, "begins with", begin)
	// Output: 0001_strunk_baseline.sql begins with -- +goose Up
}

// Roles with what their work takes, and no more.
func ExampleGrants() {
	text, err := outbox.Grants(outbox.GrantsConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "CREATE ROLE") {
			fmt.Println(strings.TrimSpace(line))
		}
	}
	// Output:
	// CREATE ROLE "strunk_producer" NOLOGIN;
	// CREATE ROLE "strunk_worker" NOLOGIN;
	// CREATE ROLE "strunk_subscriber" NOLOGIN;
	// CREATE ROLE "strunk_reader" NOLOGIN;
	// CREATE ROLE "strunk_operator" NOLOGIN;
}

func examplePool(ctx context.Context) (*pgxpool.Pool, func()) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	return pool, func() {
		pool.Close()
		if err := server.Close(); err != nil {
			log.Print(err)
		}
	}
}
