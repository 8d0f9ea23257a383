package cli

import ucli "github.com/urfave/cli/v2"

// commands lists all commands; each is made in the file of its group.
func (p *program) commands() []*ucli.Command {
	groups := []struct {
		name     string
		commands []*ucli.Command
	}{
		{"Look", []*ucli.Command{p.stats(), p.queues(), p.rates(), p.health(), p.doctor(), p.top(), p.tail(),
			p.workers(), p.audit()}},
		{"Tasks", []*ucli.Command{p.tasks(), p.deadLetters(), p.errors(), p.showTask(), p.why(), p.retry(),
			p.retryAll(), p.purge(), p.enqueue(), p.cancel(), p.runNow(), p.reschedule(), p.setPriority(), p.discard(),
			p.deleteTasks(), p.jobs(), p.pause(), p.resume(), p.holds(), p.limits(), p.keyLimits(),
			p.batches()}},
		{"Events", []*ucli.Command{p.subscribers(), p.lag(), p.replay(), p.resetSubscriber(), p.skip(), p.parked(),
			p.unpark()}},
		{"Other systems", []*ucli.Command{p.forwarders(), p.importJobs()}},
		{"Schedules", []*ucli.Command{p.schedules()}},
		{"Schemas", []*ucli.Command{p.schemas()}},
		{"Installation", []*ucli.Command{p.migrate(), p.grants(), p.serve(), p.demo(),
			p.completion(), p.version()}},
	}
	var all []*ucli.Command
	for _, g := range groups {
		for _, c := range g.commands {
			c.Category = g.name
			all = append(all, c)
		}
	}
	return all
}
