package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/schedule"
)

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
	all, err := allSchedules(ctx, box)
	if err != nil {
		return err
	}
	t := &table{header: []string{"ID~", "QUEUE~?", "SPEC~", "ZONE~?", "ENABLED", "NEXT DUE@", "LAST DUE@?", "ERROR~?"}}
	for _, s := range all {
		t.add(s.ID, s.Queue, s.Spec, s.TimeZone, yesNo(s.Enabled), stamp(s.NextDue), stampOrDash(s.LastDue),
			clip(s.LastError, 60))
	}
	return p.showList(c, all, t, "no schedules")
}

func allSchedules(ctx context.Context, box *outbox.Box) (all []ops.Schedule, err error) {
	for page := (ops.Page{Limit: ops.MaxLimit}); ; page.After = all[len(all)-1].ID {
		found, err := ops.Schedules(ctx, box, page)
		if all = append(all, found...); err != nil || len(found) < page.Limit {
			return all, err
		}
	}
}

func (p *program) switchSchedule(name, usage, did string,
	act func(context.Context, *outbox.Box, string, ...schedule.Option) error) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID",
		Before: needs("ID"),
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := oneArg(c, "ID")
			if err != nil {
				return err
			}
			if err := act(ctx, box, id); err != nil {
				return err
			}
			p.changed++
			return p.say(c, map[string]any{"id": id, did: true}, "%s schedule %q", did, id)
		}),
	}
}

func (p *program) runSchedule() *ucli.Command {
	return &ucli.Command{
		Name: "run", Usage: "enqueue a schedule's task now, beside its due times", ArgsUsage: "ID",
		Before: needs("ID"),
		Action: p.changing(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := oneArg(c, "ID")
			if err != nil {
				return err
			}
			taskID, err := schedule.RunNow(ctx, box, id)
			if err != nil {
				return err
			}
			p.changed++
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
