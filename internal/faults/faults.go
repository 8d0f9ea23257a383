// Package faults makes real things go wrong in tests: a proxy that cuts, holds or drops what
// travels between a client and PostgreSQL, and child processes that are killed or frozen in the
// middle of their work.
package faults
