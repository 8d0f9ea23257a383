package events_test

import "testing"

// A mark that comes late, from the look that keeps a quiet subscriber's place, must not undo one
// that a handler's transaction has committed: those states would be handled twice.
func TestScanMarkNeverGoesBack(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`INSERT INTO public.strunk_subscribers (cursor, started, epoch, lease_ms, bootstrap, name,
		entity_type, start, server_started)
		VALUES (0, 0, 7, 30000, 'snapshots', 'boot', 'order', 'snapshots', pg_postmaster_start_time())`)
	for _, move := range []struct {
		name, reason string
		epoch        int
		saved        string
		mark, want   string
		held         bool
	}{
		{"first", "a fresh scan has no mark", 7, "", "k05", "k05", true},
		{"forward", "a handler's transaction moves it", 7, "k05", "k10", "k10", true},
		{"late", "an older place must change nothing, and the epoch holds all the same", 7, "", "k07", "k10", true},
		{"fenced", "an owner of another epoch must hear of it", 6, "k10", "k20", "k10", false},
		{"lost", "a mark behind the one that was stored was lost in a crash, and must not pass what was lost with it",
			7, "k11", "k20", "k10", false},
	} {
		if held := value[bool](b, `SELECT public.strunk_move_bootstrap('boot', $1, $2,
			$3)`, move.epoch, move.saved, move.mark); held != move.held {
			t.Errorf("%s (%s): the epoch holds: %v; want %v", move.name, move.reason, held, move.held)
		}
		if mark := value[string](b, `SELECT bootstrap_mark FROM public.strunk_subscribers`); mark != move.want {
			t.Errorf("%s (%s): the mark is %q; want %q", move.name, move.reason, mark, move.want)
		}
	}
}
