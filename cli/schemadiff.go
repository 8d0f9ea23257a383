package cli

import (
	"context"
	"encoding/json"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) diffSchemas() *ucli.Command {
	return &ucli.Command{
		Name: "diff", ArgsUsage: "SUBJECT [OLD [NEW]]",
		Usage: "show how two versions of a contract differ: the newest and the one before it where none is given",
		Before: func(c *ucli.Context) error {
			if c.NArg() < 1 || c.NArg() > 3 {
				return usagef("diff: give a subject and, if others than the newest two are meant, versions")
			}
			return nil
		},
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			d, err := ops.SchemaDiff(ctx, box, c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
			if err != nil {
				return err
			}
			t := &table{header: []string{"CHANGE", "PATH~", d.Old + "~", d.New + "~"}}
			for _, change := range d.Changes {
				t.add(change.Change, change.Path, valueOrDash(change.Old), valueOrDash(change.New))
			}
			return p.showList(c, d, t, "versions "+d.Old+" and "+d.New+" do not differ")
		}),
	}
}

func valueOrDash(doc json.RawMessage) string {
	if doc == nil {
		return "-"
	}
	return clip(string(doc), 60)
}
