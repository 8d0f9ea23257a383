// Package anyserver lets the tests and examples of this repository run on any machine: it registers every way to a
// PostgreSQL server that outboxtest knows.
package anyserver

import (
	_ "github.com/strunk-go/strunk/outbox/outboxtest/docker"
	_ "github.com/strunk-go/strunk/outbox/outboxtest/download"
)
