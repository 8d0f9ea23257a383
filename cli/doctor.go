package cli

import (
	"context"
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

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
			t := &table{header: []string{"CHECK", "STATUS", "FOUND&"}}
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

func diagnose(ctx context.Context, c *ucli.Context, box *outbox.Box) ([]ops.Finding, error) {
	found, err := ops.Doctor(ctx, box)
	if err != nil {
		return nil, err
	}
	return append(found, drift(ctx, c, box)), nil
}

// drift compares with the migrations; a role that may not make a schema cannot look.
func drift(ctx context.Context, c *ucli.Context, box *outbox.Box) ops.Finding {
	found, err := outbox.Check(ctx, box.Pool(), migrateConfig(c))
	switch {
	case err != nil:
		return ops.Finding{Check: "drift", Status: ops.StatusWarn,
			Found: "could not look (it takes a role that may create schemas): " + err.Error()}
	case len(found) > 0:
		return ops.Finding{Check: "drift", Status: ops.StatusFail,
			Found: fmt.Sprintf("%d objects are not as the migrations make them, the first: %s; see `strunk migrate "+
				"--check`", len(found), found[0])}
	}
	return ops.Finding{Check: "drift", Status: ops.StatusOK,
		Found: "every table, index and function is as the migrations make it"}
}
