package pgserver

import "context"

// copier is a backend whose data can be copied while it runs, and replaced by the copy.
type copier interface {
	baseBackup(ctx context.Context) (string, error)
	copyData(ctx context.Context) error
	useCopy(standby bool) error
}

// CanCopy returns why CopyData cannot work here: exec.ErrNotFound where pg_basebackup is not installed, or only one
// that is older than the server.
func (s *Server) CanCopy(ctx context.Context) error {
	c, ok := s.backend.(copier)
	if !ok {
		return errNotOurs
	}
	_, err := c.baseBackup(ctx)
	return err
}

// CopyData copies the running server's data with pg_basebackup, as a standby begins: what UseCopy
// goes back to. Only servers started from installed programs can be copied; otherwise the error is
// errors.ErrUnsupported.
func (s *Server) CopyData(ctx context.Context) error {
	c, ok := s.backend.(copier)
	if !ok {
		return errNotOurs
	}
	return c.copyData(ctx)
}

// UseCopy puts what CopyData has copied in the place of a stopped server's data: the next StartServer, with the same
// connection strings, serves the copy. With standby it starts in recovery and is promoted by pg_promote().
func (s *Server) UseCopy(standby bool) error {
	c, ok := s.backend.(copier)
	if !ok {
		return errNotOurs
	}
	return c.useCopy(standby)
}
