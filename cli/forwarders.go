package cli

import (
	"context"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
)

func (p *program) forwarders() *ucli.Command {
	return &ucli.Command{
		Name: "forwarders", Usage: "list what carries events and tasks to other systems",
		Flags:  pageFlags(),
		Before: noArgs,
		Action: p.withBox(func(ctx context.Context, c *ucli.Context, box *outbox.Box) error {
			all, err := ops.Forwarders(ctx, box, page(c))
			if err != nil {
				return err
			}
			t := &table{header: []string{"FORWARDER~", "OF?", "TO~", "SENT#?", "WAITING#", "LAG#", "THERE#?",
				"LAG THERE#?", "PARKED#?", "STATE", "ERROR~"}}
			for _, f := range all {
				there, lag := any("-"), "-"
				if f.There != nil {
					there = *f.There
				}
				if f.ThereLag != nil {
					lag = ago(*f.ThereLag)
				}
				t.add(f.Name, f.Kind, f.Destination, f.Sent, f.Waiting, ago(f.Lag), there, lag, f.Deliveries,
					f.State(), dash(clip(f.Error, 80)))
			}
			return p.showList(c, all, t, "no forwarders")
		}),
	}
}
