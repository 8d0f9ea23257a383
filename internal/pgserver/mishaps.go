package pgserver

import "context"

// mishaps is a backend to whose server more can happen than a crash.
type mishaps interface {
	startStandby(ctx context.Context) error
	stopStandby() error
	startWith(ctx context.Context, env []string) error
	skipTransactionIDs(ctx context.Context) error
}

// StartStandby starts a standby in the copy that CopyData has made, which follows the server. It goes with StopStandby,
// before UseCopy, or with the server.
func (s *Server) StartStandby(ctx context.Context) error {
	m, ok := s.backend.(mishaps)
	if !ok {
		return errNotOurs
	}
	return m.startStandby(ctx)
}

// StopStandby ends the standby at once and keeps its data.
func (s *Server) StopStandby() error {
	m, ok := s.backend.(mishaps)
	if !ok {
		return errNotOurs
	}
	return m.stopStandby()
}

// StartServerWith is StartServer with an environment ("NAME=value") that holds until the server stops.
func (s *Server) StartServerWith(ctx context.Context, env ...string) error {
	m, ok := s.backend.(mishaps)
	if !ok {
		return errNotOurs
	}
	return m.startWith(ctx, env)
}

// SkipTransactionIDs shuts the server down in good order and starts it again with its next transaction id 2^32 higher
// (pg_resetwal), as if so many transactions had come and gone.
func (s *Server) SkipTransactionIDs(ctx context.Context) error {
	m, ok := s.backend.(mishaps)
	if !ok {
		return errNotOurs
	}
	return m.skipTransactionIDs(ctx)
}
