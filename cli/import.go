package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) importJobs() *ucli.Command {
	return &ucli.Command{Name: "import", Usage: "take over the jobs of another library",
		Subcommands: []*ucli.Command{p.importRiver()}}
}

func (p *program) importRiver() *ucli.Command {
	return &ucli.Command{
		Name: "river", Usage: "make tasks of River's jobs that wait, in the same database, in one transaction",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "queues",
				Usage: `a JSON file that names the queue for each kind, such as {"send_email": "emails"}`},
			&ucli.StringFlag{Name: "river-schema", Value: ops.DefaultRiverSchema,
				Usage: "the PostgreSQL schema of river_job"},
			&ucli.BoolFlag{Name: "dry-run", Usage: "count, and change nothing"},
			&ucli.BoolFlag{Name: "skip-unmapped", Usage: "leave kinds that the file does not name to River"},
			&ucli.BoolFlag{Name: "trigger", Usage: "leave a trigger that moves what old producers still insert"},
			&ucli.BoolFlag{Name: "undo", Usage: "remove the trigger, and give River back what still waits"},
		},
		Before: noArgs,
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			if c.Bool("undo") {
				return p.exportRiver(ctx, c, box)
			}
			queues, err := readQueues(c.String("queues"))
			if err != nil {
				return err
			}
			r := ops.RiverImport{Schema: c.String("river-schema"), Queues: queues,
				SkipUnmapped: c.Bool("skip-unmapped"), Trigger: c.Bool("trigger")}
			run := ops.ImportRiver
			if c.Bool("dry-run") {
				run = ops.PlanRiver
			}
			kinds, err := run(ctx, box, r)
			if err != nil {
				return err
			}
			return p.showRiver(c, kinds)
		}),
	}
}

// readQueues reads a file that names a queue for each kind of job.
func readQueues(path string) (queues map[string]string, err error) {
	if path == "" {
		return nil, usagef("import river: give --queues FILE, which names the queue for each kind of job")
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--queues: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(doc))
	if err := decoder.Decode(&queues); err != nil || queues == nil || decoder.More() {
		return nil, usagef(`import river: --queues: %s is no JSON object with names alone, such as `+
			`{"send_email": "emails"}`, path)
	}
	return queues, nil
}

func (p *program) showRiver(c *ucli.Context, kinds []ops.RiverKind) error {
	t := &table{header: []string{"KIND~", "QUEUE~", "AVAILABLE#", "SCHEDULED#", "RETRYABLE#", "RUNNING#", "MOVED#",
		"DUPLICATES#"}}
	for _, k := range kinds {
		p.changed += int64(k.Moved)
		t.add(k.Kind, dash(k.Queue), k.Available, k.Scheduled, k.Retryable, k.Running, k.Moved, k.Duplicates)
	}
	return p.showList(c, kinds, t, "River has no jobs that wait or run")
}

func (p *program) exportRiver(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	for _, other := range []string{"queues", "dry-run", "skip-unmapped", "trigger"} {
		if c.IsSet(other) {
			return usagef("import river: --undo takes everything back; leave out --%s", other)
		}
	}
	done, err := ops.ExportRiver(ctx, box, c.String("river-schema"))
	if err != nil {
		return err
	}
	p.changed += int64(done.Returned)
	return p.say(c, done, "returned %d jobs to River, dropped %d duplicates; %d tasks run or have ended, and stay",
		done.Returned, done.Dropped, done.Stayed)
}
