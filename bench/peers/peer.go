package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
)

// peer is a library, or the floor, under measurement.
type peer struct {
	name string // as in the table
	kind kind
	argv []string // starts an agent
	env  []string // of the agent, beside the server's address
	// left counts the tasks that are not stored as done.
	left              string
	version, settings string
}

// kind is what a peer can do.
type kind string

const (
	forTasks      kind = "tasks"
	forEvents     kind = "events"
	forFloor      kind = "floor" // adds rows singly, and has no worker
	forEventFloor kind = "event floor"
)

// floor reports whether a peer is no library.
func (k kind) floor() bool { return k == forFloor || k == forEventFloor }

// allPeers are those of the tables, in their order.
func allPeers(node nodeAgents) []peer {
	return []peer{
		goPeer("strunk", "strunk", forTasks, "SELECT count(*) FROM public.strunk_outbox WHERE status <> 'delivered'"),
		goPeer("River", "River", forTasks, "SELECT count(*) FROM public.river_job WHERE state <> 'completed'"),
		goPeer("gue", "gue", forTasks, "SELECT count(*) FROM public.gue_jobs"),
		{name: "graphile-worker", kind: forTasks, argv: node.argv("graphile-worker"),
			left: "SELECT count(*) FROM graphile_worker._private_jobs"},
		{name: "pg-boss", kind: forTasks, argv: node.argv("pg-boss"),
			left: "SELECT count(*) FROM pgboss.job WHERE name = 'bench' AND state <> 'completed'"},
		goPeer("bare task row", "bare task", forFloor, ""),
		goPeer("plain row", "plain row", forFloor, ""),
		goPeer("strunk", "strunk events", forEvents, ""),
		goPeer("watermill-sql", "watermill-sql", forEvents, ""),
		goPeer("bare event rows", "bare event", forEventFloor, ""),
	}
}

func goPeer(name, agent string, kind kind, left string) peer {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return peer{name: name, kind: kind, argv: []string{program}, env: []string{agentVariable + "=" + agent}, left: left}
}

// findPeers returns those that are wanted and can be had, and a line for each that cannot.
func findPeers(ctx context.Context, s *server, c config) (found []peer, missing []string) {
	var node nodeAgents
	var noNode error
	if wantsNode(c.peers) {
		node, noNode = findNode(ctx, c.install)
	}
	for _, p := range allPeers(node) {
		if !wanted(c.peers, p.name) {
			continue
		}
		err := noNode
		if len(p.env) > 0 { // this program
			err = nil
		}
		if err == nil {
			err = p.hello(ctx, s)
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s is left out: %v", p.name, err))
			continue
		}
		found = append(found, p)
	}
	return found, missing
}

func wantsNode(peers []string) bool {
	return wanted(peers, "graphile-worker") || wanted(peers, "pg-boss")
}

func wanted(peers []string, name string) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(begin string) bool {
		return strings.HasPrefix(strings.ToLower(name), begin)
	})
}

// hello asks for the version and the settings.
func (p *peer) hello(ctx context.Context, s *server) error {
	agent, err := startProcess(ctx, p.argv, append(s.env(), p.env...))
	if err != nil {
		return err
	}
	said, err := agent.ask(request{Do: doHello})
	if err != nil {
		return err
	}
	p.version, p.settings = said.Version, said.Settings
	return agent.close()
}
