package core

import "github.com/jackc/pgx/v5/pgxpool"

// Box is an *outbox.Box, which this package cannot name.
type Box interface {
	Schema() string
	Pool() *pgxpool.Pool
}

// Bridge is how strunk's other packages reach what package outbox does not show its users. Package outbox sets it.
var Bridge struct {
	Host func(Box) Host
	Tx   func(tx any) Tx
}

// BoxHost returns what a Box lends to strunk's own packages.
func BoxHost(box Box) Host { return Bridge.Host(box) }

// TxOf returns the transaction behind an outbox.Tx.
func TxOf(tx any) Tx { return Bridge.Tx(tx) }
