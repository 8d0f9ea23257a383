package cli

import (
	"context"
	"encoding/json"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func (p *program) jobs() *ucli.Command {
	return &ucli.Command{
		Name: "jobs", Usage: "list bulk jobs, newest first: acts on all tasks that match",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "state", Usage: "running, stopped, done or failed"},
			&ucli.IntFlag{Name: "limit", Usage: "how many", Value: ops.DefaultLimit},
		},
		Action: p.withBox(p.listJobs),
		Subcommands: []*ucli.Command{p.startJob(), p.onJob(p.withBox, "show", "show how far a bulk job is", nil,
			func(ctx context.Context, _ *ucli.Context, box *outbox.Box, id int64) (ops.Job, error) {
				return ops.ReadJob(ctx, box, id)
			}), p.onJob(p.changing, "stop", "stop a bulk job; resume goes on where it was", nil,
			func(ctx context.Context, _ *ucli.Context, box *outbox.Box, id int64) (ops.Job, error) {
				return ops.StopJob(ctx, box, id)
			}), p.onJob(p.changing, "resume", "have a bulk job that was stopped or has failed go on", nil,
			func(ctx context.Context, _ *ucli.Context, box *outbox.Box, id int64) (ops.Job, error) {
				return ops.ResumeJob(ctx, box, id)
			}), p.onJob(p.changing, "rate", "bound how many tasks a bulk job tries in a second", []ucli.Flag{
			&ucli.Float64Flag{Name: "to", Usage: "so many in a second; 0 for as many as it can"}}, setJobRate)},
	}
}

func setJobRate(ctx context.Context, c *ucli.Context, box *outbox.Box, id int64) (ops.Job, error) {
	if !c.IsSet("to") {
		return ops.Job{}, usagef("jobs rate: how many in a second? give --to")
	}
	return ops.SetJobRate(ctx, box, id, c.Float64("to"))
}

func (p *program) listJobs(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	if c.Args().Present() {
		return usagef("jobs: there is no %q; see `strunk jobs --help`", c.Args().First())
	}
	all, err := ops.Jobs(ctx, box, ops.JobFilter{State: ops.JobState(c.String("state")), Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	t := &table{header: []string{"ID#", "STATE", "ACT", "DONE#", "FAILED#", "SKIPPED#", "STARTED@", "BY~?", "FILTER~"}}
	for _, j := range all {
		t.add(j.ID, j.State, j.Act, j.Done, j.Failed, j.Skipped, j.StartedAt, clip(j.StartedBy, 30),
			clip(string(j.Filter), 60))
	}
	return p.showList(c, all, t, "no jobs")
}

// onJob is a command that reads or changes one job, and shows it. It is opened by withBox or by changing.
func (p *program) onJob(open func(func(context.Context, *ucli.Context, *outbox.Box) error) ucli.ActionFunc,
	name, usage string, flags []ucli.Flag,
	run func(context.Context, *ucli.Context, *outbox.Box, int64) (ops.Job, error)) *ucli.Command {
	return &ucli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID", Flags: flags, Before: needID,
		Action: open(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			id, err := idArg(c)
			if err != nil {
				return err
			}
			j, err := run(ctx, c, box, id)
			if err != nil {
				return err
			}
			p.changed++
			return p.show(c, j, jobTable(j))
		}),
	}
}

func jobTable(j ops.Job) *table {
	t := newFields("FIELD", "VALUE")
	add := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" && text != "-" {
			t.add(name, text)
		}
	}
	add("id", j.ID)
	add("state", j.State)
	add("act", j.Act)
	add("filter", string(j.Filter))
	add("due", stampOrDash(j.DueAt))
	if j.Priority != nil {
		add("priority", *j.Priority)
	}
	add("reason", j.Reason)
	add("started by", j.StartedBy)
	add("started", stamp(j.StartedAt))
	add("changed", stamp(j.ChangedAt))
	if j.PerSecond != nil {
		add("rate", fmt.Sprintf("%g a second", *j.PerSecond))
	}
	add("done", j.Done)
	add("failed", j.Failed)
	add("skipped", j.Skipped)
	add("looked at", j.Examined)
	add("position", fmt.Sprintf("id %d of %d", j.Position, j.UntilID))
	add("worked by", j.Process)
	add("last error", clip(j.LastError, 200))
	return t
}

// jobActs are the acts of jobs by the names of the commands that do the same to single tasks.
var jobActs = map[string]ops.Act{"retry": ops.ActRetry, "run-now": ops.ActRunNow, "reschedule": ops.ActReschedule,
	"priority": ops.ActSetPriority, "cancel": ops.ActCancel, "discard": ops.ActDiscard, "delete": ops.ActDelete}

func (p *program) startJob() *ucli.Command {
	return &ucli.Command{
		Name: "start", Usage: "do something to every task that matches, in the background", ArgsUsage: "ACT",
		Description: "ACT is retry, run-now, reschedule (--in or --at), priority (--to), cancel, discard or delete.\n" +
			"The job is worked by the processes that run strunk, and survives this one. --dry-run counts alone.",
		Flags: append(filterFlags(), append(dueFlags(),
			&ucli.IntFlag{Name: "to", Usage: "the priority, 0 to 9; higher ones go first"},
			&ucli.StringFlag{Name: "reason", Usage: "kept with the job, and as the last error of what it ends"},
			&ucli.BoolFlag{Name: "all", Usage: "all tasks that the act is for; needed where nothing else chooses some"},
			&ucli.Float64Flag{Name: "rate", Usage: "so many tasks in a second; as many as it can where it is missing"},
			&ucli.BoolFlag{Name: "one-first", Usage: "stop after the first task, until jobs resume"},
			&ucli.BoolFlag{Name: "dry-run", Usage: "count the tasks, and start nothing"},
			yesFlag())...),
		Before: func(c *ucli.Context) error {
			_, err := newJob(c)
			return err
		},
		Action: p.changing(p.runStartJob),
	}
}

// newJob reads the command's arguments; what chooses nothing is refused, not taken for everything.
func newJob(c *ucli.Context) (n ops.NewJob, err error) {
	name, err := oneArg(c, "ACT")
	if err != nil {
		return n, err
	}
	var known bool
	n = ops.NewJob{Filter: taskFilter(c), Reason: c.String("reason"), PerSecond: c.Float64("rate"),
		OneFirst: c.Bool("one-first")}
	chooses := false
	for _, f := range filterFlags() {
		chooses = chooses || f.Names()[0] != "status" && c.IsSet(f.Names()[0])
	}
	switch n.Act, known = jobActs[name]; {
	case !known:
		err = usagef("jobs start: %q is no act; see `strunk jobs start --help`", name)
	case chooses == c.Bool("all"):
		err = usagef("jobs start: say which tasks, such as --queue, or --all")
	case n.Act == ops.ActDelete && !c.Bool("yes") && !c.Bool("dry-run"):
		err = usagef("jobs start: they would be deleted for good; look with --dry-run, and say --yes")
	case n.Act == ops.ActSetPriority && !c.IsSet("to"):
		err = usagef("jobs start: which priority? give --to")
	case n.Act == ops.ActReschedule && c.IsSet("in") == c.IsSet("at"):
		err = usagef("jobs start: when? give --in or --at")
	}
	return n, err
}

func (p *program) runStartJob(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
	n, err := newJob(c)
	if err != nil {
		return err
	}
	if n.Act == ops.ActReschedule {
		due, err := dueArg(ctx, c, box)
		if err != nil {
			return err
		}
		n.DueAt = &due
	}
	if c.IsSet("to") {
		to := c.Int("to")
		n.Priority = &to
	}
	found, err := ops.PreviewJob(ctx, box, n)
	switch {
	case err != nil:
		return err
	case c.Bool("dry-run"):
		return p.say(c, found, "%v tasks match (looked at %d); nothing was started", found.Matching, found.Examined)
	}
	j, err := ops.StartJob(ctx, box, n)
	if err != nil {
		return err
	}
	p.changed++
	return p.say(c, j, "started job %d: %v tasks match; `strunk jobs show %d` says how far it is", j.ID, found.Matching,
		j.ID)
}

// filterFlags choose tasks; taskFilter reads them.
func filterFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "status", Usage: "scheduled, pending, claimed, dead, cancelled, discarded or " +
			"delivered"},
		&ucli.StringFlag{Name: "queue", Usage: "of this queue"},
		&ucli.StringFlag{Name: "key", Usage: "with this customer key"},
		&ucli.StringFlag{Name: "dedup-key", Usage: "with this dedup key"},
		&ucli.StringFlag{Name: "error", Usage: "whose last error contains this text"},
		&ucli.StringFlag{Name: "fingerprint", Usage: "whose last error is of this group: see errors --json"},
		&ucli.StringFlag{Name: "metadata", Usage: `whose metadata contain this JSON, such as {"tenant":"acme"}`},
		&ucli.StringFlag{Name: "payload", Usage: `whose payload contains this JSON, such as {"to":"ann"}`},
		&ucli.DurationFlag{Name: "older-than", Usage: "enqueued at least so long ago"},
		&ucli.DurationFlag{Name: "younger-than", Usage: "enqueued at most so long ago"},
	}
}

func taskFilter(c *ucli.Context) ops.TaskFilter {
	return ops.TaskFilter{Status: queue.Status(c.String("status")), Queue: c.String("queue"),
		CustomerKey: c.String("key"), DedupKey: c.String("dedup-key"), Error: c.String("error"),
		Fingerprint: c.String("fingerprint"), Metadata: json.RawMessage(c.String("metadata")),
		Payload: json.RawMessage(c.String("payload")), OlderThan: c.Duration("older-than"),
		YoungerThan: c.Duration("younger-than")}
}
