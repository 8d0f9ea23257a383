package pgserver

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// places is where a server is looked for; tests give other ones.
type places struct {
	databaseURL    string
	path           string   // as PATH
	programs       []string // globs of directories of server programs
	dockerEndpoint string   // "" is the environment's or the system's
	repository     string   // the address that embedded-postgres downloads from; "" is its own default
	cache          string   // where downloaded programs are kept; "" is the user's cache directory
}

func systemPlaces() places {
	return places{
		databaseURL: os.Getenv("DATABASE_URL"),
		path:        os.Getenv("PATH"),
		programs:    usualPlaces,
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
	name string
	open func(context.Context, request) (backend, error)
}

func ways() []way {
	return []way{
		{"env", openExternal},
		{"installed", openInstalled},
		{"docker", openContainer},
		{"download", openDownloaded},
	}
}

func start(ctx context.Context, cfg Config, p places) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	chosen, err := choose(cfg, p)
	if err != nil {
		return nil, err
	}
	r := request{cfg: cfg, places: p, run: randomHex(4)}
	var tried []string
	for _, w := range chosen {
		b, err := w.open(ctx, r)
		if err == nil {
			cfg.Logger.Info("PostgreSQL server is up", "source", b.source())
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
	}
	return nil, nothingToBeHad(tried)
}

func choose(cfg Config, p places) ([]way, error) {
	all := ways()
	only := cfg.Only
	if cfg.BinDir != "" {
		only = "installed"
	}
	if only == "" {
		return all, nil
	}
	i := slices.IndexFunc(all, func(w way) bool { return w.name == only })
	if i < 0 {
		return nil, failed("Config.Only is %q: use \"env\", \"installed\", \"docker\", \"download\" or nothing", only)
	}
	return all[i : i+1], nil
}

func nothingToBeHad(tried []string) error {
	return failed("no PostgreSQL server can be had. Tried:\n%s\n"+
		"Do one of these:\n"+
		"  install the server programs, version %d or newer (Debian, Ubuntu: apt install postgresql; "+
		"Fedora, Red Hat: dnf install postgresql-server; macOS: brew install postgresql@18)\n"+
		"  start Docker\n"+
		"  set DATABASE_URL to a server, with a role that may create databases",
		strings.Join(tried, "\n"), MinVersion)
}

func indent(s string) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}
