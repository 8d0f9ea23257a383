// Package anyserver lets the tests and examples of this repository run on any machine: it registers every way to a
// PostgreSQL server that outboxtest knows. Who imports it has pools with an empty search_path, unless SearchPath says
// otherwise: a statement of ours that forgets to qualify a name fails.
package anyserver

import (
	"github.com/strunk-go/strunk/internal/pgserver"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
)

func init() { pgserver.DefaultSearchPath = "" }
