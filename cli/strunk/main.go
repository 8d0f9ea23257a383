// Command strunk operates a strunk outbox: migrations, stats, dead letters, subscribers, schedules and health.
package main

import (
	"os"

	"github.com/strunk-go/strunk/cli"
)

func main() { os.Exit(cli.Main()) }
