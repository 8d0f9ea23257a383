package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// section is a table of the page with its pictures.
type section struct {
	title string
	text  string
	rows  []string
	plots []plot
}

var sections = []section{
	{
		title: "Throughput",
		text: "Tasks of about 60 bytes are enqueued in batches and worked off by one process whose handler does " +
			"nothing. strunk, River and pg-boss keep what is done, with its history; gue and graphile-worker " +
			"delete it. A drain ends when the last task is stored as done, or is cut after some seconds (the limits " +
			"are above); then the rate is that of the tasks handled, and the last tenth is that of those. Under the " +
			"open snapshot, a `REPEATABLE READ` transaction such as a dump or a report, no dead row can be " +
			"removed: this is where tables of tasks grow slow.",
		rows: []string{"drain", "snapshot", "processes"},
		plots: []plot{
			{file: "drain", title: "Drain", lines: []*line{lineDrain, lineProcesses, lineSnapshot, lineSnapshotTail}},
			{file: "batch", title: "Batch enqueue", lines: []*line{lineBatch}},
			{file: "cpu", title: "CPU of a task", lines: []*line{lineServerCPU, lineClientCPU}},
			{file: "wal", title: "WAL of a task", lines: []*line{lineWAL}},
		},
	},
	{
		title: "Enqueue in transactions",
		text: "One task a transaction, by clients of one process: in a transaction that holds nothing else, " +
			"begun in the library's way if it has one, and in the application's transaction after the `INSERT` " +
			"of a row of its own. The plain row is that `INSERT` alone between `BEGIN` and `COMMIT`: the floor " +
			"of what a transaction costs. The bare task row is strunk's by such an `INSERT`: the floor of its table. " +
			"The worker process works the tasks off meanwhile, with the settings for latency.",
		rows:  []string{"singles"},
		plots: singlePlots(),
	},
	{
		title: "From the commit to the handler",
		text: "One process enqueues, one task a transaction, by 16 clients at a fixed rate; another one works. " +
			"Taken is the time from the end of the `COMMIT` to the start of the handler. A library that cannot " +
			"enqueue at the rate on this machine has less to do; the table says of it that " +
			"fewer came. Due tasks are enqueued ahead, each for a time " +
			"of its own; a task that was not handled 5 s after the last was due counts with that time.",
		rows: []string{"latency", "rate", "rate-snapshot", "due", "start"},
		plots: []plot{
			{file: "latency", title: "Commit to handler, 200 a second", lines: []*line{lineSlow50, lineSlow99},
				log: true},
			{file: "rate", title: "Commit to handler, 2,000 a second", lines: linesFast.all()[:4], log: true},
			{file: "rate-snapshot", title: "Commit to handler, 2,000 a second, under an open snapshot",
				lines: linesFastSnapshot.all()[:4], log: true},
			{file: "due", title: "Lateness of due tasks", lines: []*line{lineDue50, lineDue99}, log: true},
			{file: "start", title: "Start to first handler", lines: []*line{lineStart}},
		},
	},
	{
		title: "Idle",
		text: "One worker process with 50 queues and nothing to do, each library with its defaults. Queries are " +
			"counted on the wire.",
		rows: []string{"idle"},
		plots: []plot{
			{file: "idle-queries", title: "Idle: queries", lines: []*line{lineIdleQueries}},
			{file: "idle-connections", title: "Idle: connections", lines: []*line{lineIdleConnections}},
			{file: "idle-cpu", title: "Idle: CPU", lines: []*line{lineIdleServerCPU, lineIdleClientCPU}},
		},
	},
	{
		title: "Events",
		text: "strunk publishes states with versions and snapshots, which watermill-sql has not. The first 8 " +
			"subscribers begin with what has been published, in a fresh process: in strunk its relay works " +
			"beside them. The second 8 find that done. The handler does nothing. The bare event rows are strunk's by " +
			"two statements alone: the floor of its tables.",
		rows: []string{"publish", "publish-single", "subscribers"},
		plots: []plot{
			{file: "publish", title: "Publish", lines: []*line{linePublishBatch, linePublishSingle}},
			{file: "subscribers", title: "Deliveries to 8 subscribers",
				lines: []*line{lineSubscribers, lineSubscribers2}},
		},
	},
}

func singlePlots() []plot {
	lines := singleLines()
	return []plot{
		{file: "own", title: "Enqueue in a transaction that holds nothing else", lines: lines[:4]},
		{file: "borrowed", title: "Enqueue in the application's transaction, with a row", lines: lines[4:]},
	}
}

// writePage writes benchmarks.md and the pictures of a directory anew.
func (r *report) writePage(dir string, rows []row) error {
	pictures := filepath.Join(dir, "benchmarks")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(pictures, "*.svg"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	var text strings.Builder
	r.writeHead(&text)
	for _, s := range sections {
		if err := r.writeSection(&text, s, rows, pictures); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(text.String()), 0o644)
}

func (r *report) writeHead(out *strings.Builder) {
	out.WriteString("# Benchmarks\n\nWritten by `make bench-peers`, whole: do not edit it.\n\n")
	if r.config.rounds < 3 || r.config.size < 1 || len(r.missing)+len(r.config.peers)+len(r.config.only) > 0 {
		fmt.Fprintf(out, "**This was a short or partial run (%s, %v of the usual size): its figures show that the "+
			"page works, and no more.**\n\n", r.rounds(), r.config.size)
	}
	fmt.Fprintf(out, "On %s, of strunk at %s, in %v. The machine: %d cores that the server and all clients share, %s; "+
		"PostgreSQL %s, started for this run, fsync on, its settings the defaults but `max_connections`; %s.\n\n",
		time.Now().UTC().Format("2006-01-02"), r.commit, r.took.Round(time.Minute), runtime.NumCPU(),
		runtime.GOOS+"/"+runtime.GOARCH, r.server.version, runtime.Version())
	fmt.Fprintf(out, "Each library runs in processes of its own, in the same way, with the best settings that its "+
		"documents name; the rows below are the same requests to all of them. Each row begins with empty tables and "+
		"a checkpoint. There were %s, the libraries by turns within each row, each round beginning with another one. "+
		"A figure is the median of the rounds, in brackets the least and the most. The best of a row is bold. What "+
		"shares its cores with its server measures both: ratios say more than figures, and other machines give "+
		"others.\n\n", r.rounds())
	r.writePeers(out)
	s := usualSizes.scaled(r.config.size)
	fmt.Fprintf(out, "\nSizes: %s tasks in the drain, for %v at most; %s under the snapshot, for %v at most; %v "+
		"for each count of clients; %v at each rate; %s tasks due over %v; %v idle after %v; %s events. Again, or "+
		"in part: `make bench-peers`, `cd bench/peers && go run . -help`.\n", number(float64(s.drain)), s.drainFor,
		number(float64(s.snapshot)), s.snapshotFor, s.addFor, s.paceFor, number(float64(s.due)), s.dueFor, s.idleFor,
		s.idleWarm, number(float64(s.events)))
}

// rounds says how many there were.
func (r *report) rounds() string {
	if r.config.rounds == 1 {
		return "1 round"
	}
	return fmt.Sprintf("%d rounds", r.config.rounds)
}

func (r *report) writePeers(out *strings.Builder) {
	out.WriteString("| library | version | settings |\n|---|---|---|\n")
	for _, p := range r.peers {
		version := strings.TrimPrefix(p.version, "v")
		if p.name == "strunk" {
			version = "this repository"
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", p.name, version, p.settings)
	}
	for _, why := range r.missing {
		fmt.Fprintf(out, "\n%s\n", why)
	}
}

// commit names the state of the repository.
func commit() string {
	out, err := exec.CommandContext(context.Background(), "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "no known commit"
	}
	return "`" + strings.TrimSpace(string(out)) + "`"
}

func (r *report) writeSection(out *strings.Builder, s section, rows []row, pictures string) error {
	fmt.Fprintf(out, "\n## %s\n\n%s\n", s.title, s.text)
	var measured []row
	for _, name := range s.rows {
		for _, of := range rows {
			if of.name == name && len(r.columns(of)) > 0 {
				measured = append(measured, of)
			}
		}
	}
	if len(measured) == 0 {
		out.WriteString("\nNot measured in this run.\n")
		return nil
	}
	columns := r.columns(measured...)
	writeHeader(out, columns)
	for _, of := range measured {
		r.writeLines(out, of, columns)
	}
	out.WriteString("\n")
	for _, p := range s.plots {
		svg := r.draw(p, columns)
		if err := os.WriteFile(filepath.Join(pictures, p.file+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(out, "![%s](benchmarks/%s.svg)\n", p.title, p.file)
	}
	return nil
}

func writeHeader(out *strings.Builder, columns []peer) {
	out.WriteString("\n| |")
	for _, p := range columns {
		out.WriteString(" " + p.name + " |")
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
}

func (r *report) writeLines(out *strings.Builder, of row, columns []peer) {
	for _, l := range of.lines {
		fmt.Fprintf(out, "| %s, %s |", l.what, l.unit)
		best := r.best(l, columns)
		for _, p := range columns {
			f, ok := r.figures(l, p)
			if !ok {
				out.WriteString(" - |")
				continue
			}
			middle := number(f.median)
			if p.name == best {
				middle = "**" + middle + "**"
			}
			fmt.Fprintf(out, " %s (%s to %s)%s |", middle, number(f.least), number(f.most), r.noted(l, p))
		}
		out.WriteString("\n")
	}
}

// best names the library with the best median. One that did not keep the pace had less to do, and cannot be it.
func (r *report) best(l *line, columns []peer) (name string) {
	var best float64
	for _, p := range columns {
		f, ok := r.figures(l, p)
		if !ok || p.kind.floor() || r.notes[cell{l, p.name}] == noteSlower {
			continue
		}
		if name == "" || (f.median > best) == l.more && f.median != best {
			name, best = p.name, f.median
		}
	}
	return name
}
