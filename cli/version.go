package cli

import (
	"runtime"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// programDoc is what the program is, as --json prints it.
type programDoc struct {
	Version string `json:"version"`
	Release string `json:"release"`
	Tables  int    `json:"tables"`
	Go      string `json:"go"`
}

func (p *program) version() *ucli.Command {
	return &ucli.Command{
		Name:   "version",
		Usage:  "print the versions of the program, of the tables that it makes, and of Go; needs no database",
		Before: noArgs,
		Action: func(c *ucli.Context) error {
			doc := programDoc{Version: core.LibraryVersion(), Release: core.Release(), Tables: outbox.LatestVersion(),
				Go: runtime.Version()}
			return p.say(c, doc, "strunk %s, tables at version %d, %s", doc.Version, doc.Tables, doc.Go)
		},
	}
}
