package cli

import (
	"context"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/schedule"
)

// scheduleDoc is a schedule as --json prints it.
type scheduleDoc struct {
	ID        string     `json:"id"`
	Queue     string     `json:"queue"`
	Spec      string     `json:"spec"`
	TimeZone  string     `json:"time_zone"`
	Enabled   bool       `json:"enabled"`
	NextDue   *time.Time `json:"next_due,omitempty"`
	LastDue   *time.Time `json:"last_due,omitempty"`
	LastError string     `json:"last_error,omitempty"`
}

func (p *program) schedules() *ucli.Command {
	return &ucli.Command{
		Name: "schedules", Usage: "list recurring schedules, or change one",
		Action: p.withBox(p.listSchedules),
		Subcommands: []*ucli.Command{
			p.switchSchedule("enable", "let a disabled schedule go on", "enabled", schedule.Enable),
			p.switchSchedule("disable", "stop a schedule until it is enabled", "disabled", schedule.Disable),
			p.switchSchedule("remove", "delete a schedule; its tasks stay", "removed", schedule.Remove),
			p.runSchedule(),
		},
	}
}

func (p *program) listSchedules(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.Args().Present() {
		return usagef("schedules: there is no %q; see `strunk schedules --help`", c.Args().First())
	}
	entries, err := schedule.List(ctx, box)
	if err != nil {
		return err
	}
	docs := make([]scheduleDoc, 0, len(entries))
	t := &table{header: []string{"ID", "QUEUE", "SPEC", "ZONE", "ENABLED", "NEXT DUE", "LAST DUE", "ERROR"}}
	for _, e := range entries {
		docs = append(docs, scheduleDoc{ID: e.ID, Queue: e.Queue, Spec: e.Spec, TimeZone: e.TimeZone,
			Enabled: e.Enabled,
			NextDue: orNil(e.NextDue), LastDue: orNil(e.LastDue), LastError: e.LastError})
		t.add(e.ID, e.Queue, e.Spec, e.TimeZone, yesNo(e.Enabled), stamp(e.NextDue), stamp(e.LastDue),
			clip(e.LastError, 60))
	}
	if len(docs) == 0 && !c.Bool("json") {
		return p.say(c, docs, "no schedules")
	}
	return p.show(c, docs, t)
}

func (p *program) switchSchedule(name, usage, did string,
	act func(context.Context, *outbox.Box, string, ...schedule.Option) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID",
		Before: needs("ID"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := oneArg(c, "ID")
			if err != nil {
				return err
			}
			if err := act(ctx, box, id); err != nil {
				return err
			}
			return p.say(c, map[string]any{"id": id, did: true}, "%s schedule %q", did, id)
		}),
	}
}

func (p *program) runSchedule() *ucli.Command {
	return &ucli.Command{
		Name: "run", Usage: "enqueue a schedule's task now, beside its due times", ArgsUsage: "ID",
		Before: needs("ID"),
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := oneArg(c, "ID")
			if err != nil {
				return err
			}
			taskID, err := schedule.RunNow(ctx, box, id)
			if err != nil {
				return err
			}
			return p.say(c, map[string]any{"id": id, "task": taskID}, "enqueued task %d of schedule %q", taskID, id)
		}),
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
