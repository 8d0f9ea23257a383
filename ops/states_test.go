package ops_test

import (
	"testing"
	"time"

	"github.com/strunk-go/strunk/ops"
)

func waiting(name string, age time.Duration, workers int64) ops.Queue {
	since := time.Now().Add(-age)
	return ops.Queue{Name: name, WaitingSince: &since, WaitingFor: ops.Duration{Duration: age}, Workers: workers}
}

// Each state has its cause, and the worst comes first, whatever the order was before.
func TestStatesOfQueues(t *testing.T) {
	t.Parallel()
	now := time.Now()
	paused := waiting("paused", time.Hour, 0)
	paused.PausedAt = &now
	held := waiting("held", time.Hour, 0)
	held.HeldUntil = &now
	dead := ops.Queue{Name: "z-dead", Dead: ops.Count{N: 3}}
	queues := []ops.Queue{{Name: "idle"}, dead, waiting("works", time.Second, 1), held, paused,
		waiting("late", time.Hour, 1), waiting("later", 2*time.Hour, 1), waiting("alone", time.Second, 0)}
	want := []struct {
		name  string
		state ops.State
	}{{"alone", ops.StateNoWorker}, {"later", ops.StateBehind}, {"late", ops.StateBehind}, {"paused", ops.StatePaused},
		{"held", ops.StateOnHold}, {"works", ops.StateWorking}, {"z-dead", ops.StateIdle}, {"idle", ops.StateIdle}}
	for i, q := range ops.WorstFirst(queues, ops.Thresholds{}) {
		if state := q.State(ops.Thresholds{}); q.Name != want[i].name || state != want[i].state {
			t.Errorf("%d is %s, %s, not %v", i, q.Name, state, want[i])
		}
	}
	if state := queues[6].State(ops.Thresholds{OldestPending: 3 * time.Hour}); state != ops.StateWorking {
		t.Errorf("2h where 3h are allowed: %s", state)
	}
}

func TestStatesOfSubscribers(t *testing.T) {
	t.Parallel()
	for want, s := range map[ops.State]ops.Subscriber{
		ops.StateNeedsRestart:  {NeedsRestart: true, Blocked: &ops.Blocked{}, Paused: true},
		ops.StateBlocked:       {Blocked: &ops.Blocked{}, Paused: true},
		ops.StatePaused:        {Paused: true},
		ops.StateNotRunning:    {Silent: true},
		ops.StateSilent:        {Owner: "a", Silent: true, Deliveries: ops.Count{N: 1}},
		ops.StateFailing:       {Owner: "a", Deliveries: ops.Count{N: 1}, Bootstrapping: true},
		ops.StateBootstrapping: {Owner: "a", Bootstrapping: true, Lag: ops.Duration{Duration: 24 * time.Hour}},
		ops.StateBehind:        {Owner: "a", Lag: ops.Duration{Duration: 24 * time.Hour}},
		ops.StateRunning:       {Owner: "a"},
	} {
		if got := s.State(ops.Thresholds{}); got != want {
			t.Errorf("%s, not %s: %+v", got, want, s)
		}
	}
	for want, p := range map[ops.State]ops.Process{
		ops.StateExpired: {Workers: []ops.Worker{{Silent: true}, {Expired: true}}},
		ops.StateSilent:  {Workers: []ops.Worker{{Silent: true}, {}}},
		ops.StateRunning: {Workers: []ops.Worker{{}}},
	} {
		if got := p.State(); got != want {
			t.Errorf("%s, not %s: %+v", got, want, p)
		}
	}
}
