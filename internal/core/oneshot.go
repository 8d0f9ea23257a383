package core

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Statement is one statement of a OneMessage, and what reads its rows (nil: none).
type Statement struct {
	SQL  string
	Args []any
	Scan func(pgx.Rows) error
}

// undoTimeout bounds the rollback after a statement that failed.
const undoTimeout = time.Second

// OneMessage runs statements as one READ COMMITTED, READ WRITE transaction whose BEGIN, statements and COMMIT travel in
// one message: a process that is frozen in between holds nothing, and one round trip is all it takes. It returns after
// the server has confirmed the commit, and only then may the caller act on what it read: rows of a statement still open
// have not been committed.
func OneMessage(ctx context.Context, conn *pgx.Conn, statements ...Statement) error {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
	for _, s := range statements {
		batch.Queue(s.SQL, s.Args...)
	}
	batch.Queue("COMMIT")
	err := readAnswers(conn.SendBatch(ctx, batch), statements)
	if err != nil && !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		_, _ = conn.Exec(undo, "ROLLBACK") // where it fails, the connection is closed
	}
	return err
}

func readAnswers(results pgx.BatchResults, statements []Statement) (err error) {
	defer func() {
		if closeErr := results.Close(); err == nil {
			err = closeErr
		}
	}()
	if _, err := results.Exec(); err != nil {
		return err
	}
	for _, s := range statements {
		if err := readAnswer(results, s); err != nil {
			return err
		}
	}
	_, err = results.Exec()
	return err
}

func readAnswer(results pgx.BatchResults, s Statement) error {
	if s.Scan == nil {
		_, err := results.Exec()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := s.Scan(rows); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}
