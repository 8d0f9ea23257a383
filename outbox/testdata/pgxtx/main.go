// Command pgxtx does not compile: TestForeignTransactionDoesNotCompile reads why.
package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/inbox"
)

func main() {
	var tx pgx.Tx
	_, _ = inbox.Once(context.Background(), tx, "consumer", "message", func(context.Context) error { return nil })
}
