package queue

import "testing"

// All handlers of the greatest Concurrency can run at once.
func TestRoomForTheGreatestConcurrency(t *testing.T) {
	t.Parallel()
	s := &session{worker: &worker{opts: workerOptions{concurrency: MostConcurrency}}}
	s.slots.active.Store(MostConcurrency - 1)
	s.unsettled.Store(MostConcurrency - 1)
	if n := s.want(); n != 1 {
		t.Errorf("with one of %d handlers free the worker claims %d; want 1", MostConcurrency, n)
	}
}
