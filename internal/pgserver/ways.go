package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// places is where a server is looked for; tests give other ones.
type places struct {
	databaseURL string
	path        string   // as PATH
	programs    []string // globs of directories of server programs
	registered  []Way    // the further ways
}

func systemPlaces() places {
	return places{
		databaseURL: os.Getenv("DATABASE_URL"),
		path:        os.Getenv("PATH"),
		programs:    usualPlaces,
		registered:  registeredWays(),
	}
}

// errNotSet is the one reason to pass over a way without a word in the log.
var errNotSet = errors.New("DATABASE_URL is not set")

// request is what a way needs to know.
type request struct {
	cfg    Config
	places places
	run    string
}

type way struct {
	name   string
	open   func(context.Context, request) (Backend, error)
	remedy string // what makes this way work, for who has no server
}

func ways(p places) []way {
	all := []way{
		{"env", openExternal, "set DATABASE_URL to a server, with a role that may create databases"},
		{"installed", openInstalled, installRemedy},
	}
	for _, w := range p.registered {
		open := func(ctx context.Context, r request) (Backend, error) { return w.Open(ctx, r.cfg) }
		all = append(all, way{w.Name, open, w.Remedy})
	}
	return all
}

func start(ctx context.Context, cfg Config, p places) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	chosen, err := choose(cfg, p)
	if err != nil {
		return nil, err
	}
	r := request{cfg: cfg, places: p, run: RandomHex(4)}
	var tried, remedies []string
	for _, w := range chosen {
		b, err := w.open(ctx, r)
		if err == nil {
			cfg.Logger.Info("PostgreSQL server is up", "source", b.Source())
			return &Server{backend: b, run: r.run}, nil
		}
		if ctx.Err() != nil {
			return nil, failed("start a PostgreSQL server (%s): %w", w.name, errors.Join(context.Cause(ctx), err))
		}
		if w.name == "env" && p.databaseURL != "" {
			return nil, failed("DATABASE_URL: %w", err)
		}
		if !errors.Is(err, errNotSet) {
			cfg.Logger.Warn("no PostgreSQL server this way", "way", w.name, "error", err)
		}
		tried = append(tried, "  "+w.name+": "+indent(err.Error()))
		remedies = append(remedies, "  "+w.remedy)
	}
	return nil, nothingToBeHad(tried, remedies)
}

func choose(cfg Config, p places) ([]way, error) {
	all := ways(p)
	only := cfg.Only
	if cfg.BinDir != "" {
		only = "installed"
	}
	if only == "" {
		return all, nil
	}
	i := slices.IndexFunc(all, func(w way) bool { return w.name == only })
	if i < 0 {
		return nil, failed("Config.Only is %q: use \"env\", \"installed\", the name of a registered way, or nothing",
			only)
	}
	return all[i : i+1], nil
}

// installRemedy names the packages of the systems that most people use.
var installRemedy = fmt.Sprintf("install the server programs, version %d or newer (Debian, Ubuntu: apt install "+
	"postgresql; "+
	"Fedora, Red Hat: dnf install postgresql-server; macOS: brew install postgresql@18)", MinVersion)

// registerRemedy is for programs that link no further way.
const registerRemedy = "  in a Go test, import outbox/outboxtest/docker or outbox/outboxtest/download for one more way"

func nothingToBeHad(tried, remedies []string) error {
	if len(remedies) == 2 {
		remedies = append(remedies, registerRemedy)
	}
	return failed("no PostgreSQL server can be had. Tried:\n%s\nDo one of these:\n%s",
		strings.Join(tried, "\n"), strings.Join(remedies, "\n"))
}

func indent(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}
