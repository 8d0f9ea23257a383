package cli

import (
	"context"
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

// diagnosis is one thing that doctor has looked at.
type diagnosis struct {
	Check  string     `json:"check"`
	Status ops.Status `json:"status"`
	Found  string     `json:"found"`
}

// doctor looks below the surface: at the table's maintenance, its indexes and what holds PostgreSQL's vacuum back.
func (p *program) doctor() *ucli.Command {
	return &ucli.Command{
		Name: "doctor", Usage: "look at the tables' maintenance, indexes, partitions and what holds vacuum back; " +
			"exit " +
			"code 3 when something is wrong",
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			found, err := diagnose(ctx, c, box)
			if err != nil {
				return err
			}
			t := &table{header: []string{"CHECK", "STATUS", "FOUND"}}
			worst := ops.StatusOK
			for _, d := range found {
				t.add(d.Check, d.Status, d.Found)
				if d.Status == ops.StatusFail {
					worst = d.Status
				}
			}
			if err := p.show(c, found, t); err != nil {
				return err
			}
			if worst == ops.StatusFail {
				return &exitError{ExitUnhealthy, ""}
			}
			return nil
		}),
	}
}

func diagnose(ctx context.Context, c *ucli.Context, box *outbox.Box) ([]diagnosis, error) {
	version, err := serverVersion(ctx, box)
	if err != nil {
		return nil, err
	}
	found := []diagnosis{version}
	report, err := ops.Health(ctx, box, ops.Thresholds{})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{ops.CheckHorizon, ops.CheckPartitions, ops.CheckNotify} {
		check := report.Check(name)
		found = append(found, diagnosis{check.Name, check.Status, check.Message})
	}
	looks := []func(context.Context, *outbox.Box) (diagnosis, error){deadRows, invalidIndexes, consistency}
	for _, look := range looks {
		d, err := look(ctx, box)
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return append(found, drift(ctx, c, box)), nil
}

func serverVersion(ctx context.Context, box *outbox.Box) (diagnosis, error) {
	server, err := ops.ServerVersion(ctx, box)
	d := diagnosis{"version", ops.StatusOK, fmt.Sprintf("PostgreSQL %s, strunk's tables at version %d",
		server.Version, outbox.LatestVersion())}
	if server.Major < oldestServer {
		d.Status, d.Found = ops.StatusFail, d.Found+fmt.Sprintf("; PostgreSQL %d is the oldest that is supported",
			oldestServer)
	}
	return d, err
}

// oldestServer is the oldest major version of PostgreSQL that strunk is for.
const oldestServer = 14

// deadRows says whether vacuum keeps up: many dead rows, compared with the living, say that it does not.
func deadRows(ctx context.Context, box *outbox.Box) (diagnosis, error) {
	worst, err := ops.WorstDeadRows(ctx, box)
	if err != nil || worst == nil {
		return diagnosis{"dead rows", ops.StatusOK, "vacuum keeps up with every table"}, err
	}
	return diagnosis{"dead rows", ops.StatusWarn, fmt.Sprintf("%s has %d dead rows and %d living ones: see what "+
		"holds the horizon back, then VACUUM it", worst.Table, worst.Dead, worst.Live)}, nil
}

func invalidIndexes(ctx context.Context, box *outbox.Box) (diagnosis, error) {
	names, err := ops.InvalidIndexes(ctx, box)
	if err != nil {
		return diagnosis{}, err
	}
	if len(names) > 0 {
		return diagnosis{"invalid indexes", ops.StatusFail, strings.Join(names, ", ") +
			": `strunk migrate` builds what it has begun anew; DROP others"}, nil
	}
	return diagnosis{"invalid indexes", ops.StatusOK, "every index is valid"}, nil
}

func consistency(ctx context.Context, box *outbox.Box) (diagnosis, error) {
	text, err := ops.Inconsistencies(ctx, box)
	if err != nil {
		return diagnosis{}, err
	}
	if text != "" {
		return diagnosis{"consistency", ops.StatusFail, text}, nil
	}
	return diagnosis{"consistency", ops.StatusOK, "sequences, fence and head go with the tables"}, nil
}

// drift compares with the migrations; a role that may not make a schema cannot look.
func drift(ctx context.Context, c *ucli.Context, box *outbox.Box) diagnosis {
	found, err := outbox.Check(ctx, box.Pool(), migrateConfig(c))
	switch {
	case err != nil:
		return diagnosis{"drift", ops.StatusWarn, "could not look (it takes a role that may create schemas): " +
			err.Error()}
	case len(found) > 0:
		return diagnosis{"drift", ops.StatusFail, fmt.Sprintf("%d objects are not as the migrations make them, "+
			"the first: %s; see `strunk migrate --check`", len(found), found[0])}
	}
	return diagnosis{"drift", ops.StatusOK, "every table, index and function is as the migrations make it"}
}
