package outbox

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/core"
)

// Patience is the longest that the reaper waits for a lock.
const Patience = patience

// ReadCatalogue returns what a schema holds, each object with its definition.
func ReadCatalogue(ctx context.Context, pool *pgxpool.Pool, schema string) (found map[string][]string, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		found, err = readCatalogue(ctx, tx, schema)
		return err
	})
	return found, err
}

// MigrateMore runs the embedded migrations and then others, whose texts are given as up, down, up, down.
func MigrateMore(ctx context.Context, pool *pgxpool.Pool, texts ...string) error {
	m, err := withMore(pool, texts)
	if err != nil {
		return err
	}
	return m.up(ctx)
}

// MigrateMoreDown reverts them to a version.
func MigrateMoreDown(ctx context.Context, pool *pgxpool.Pool, version int, texts ...string) error {
	m, err := withMore(pool, texts)
	if err != nil {
		return err
	}
	return m.down(ctx, version)
}

// MigrateMoreSQL prints them.
func MigrateMoreSQL(from, to int, texts ...string) (string, error) {
	m, err := withMore(nil, texts)
	if err != nil {
		return "", err
	}
	return m.script(from, to), nil
}

// CheckMore is Check with them.
func CheckMore(ctx context.Context, pool *pgxpool.Pool, texts ...string) ([]Difference, error) {
	m, err := withMore(pool, texts)
	if err != nil {
		return nil, err
	}
	return m.check(ctx)
}

func withMore(pool *pgxpool.Pool, texts []string) (*migrator, error) {
	m, err := newMigrator(pool, MigrateConfig{})
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(texts); i += 2 {
		more, err := newMigration(len(m.all)+1, "more", texts[i], texts[i+1])
		if err != nil {
			return nil, err
		}
		m.all = append(m.all, more)
	}
	return m, nil
}

// MigrateTo runs the embedded migrations up to a version.
func MigrateTo(ctx context.Context, pool *pgxpool.Pool, version int) error {
	m, err := newMigrator(pool, MigrateConfig{})
	if err != nil {
		return err
	}
	m.all = m.all[:version]
	return m.up(ctx)
}

// MigrationPatience is the longest that a migration waits for a lock at a time.
const MigrationPatience = migrationPatience

// GrantedFunctions lists what each role may execute, by its rights of its own and those it has from another.
func GrantedFunctions() map[string][]string {
	all := map[string][]string{}
	for _, g := range grants() {
		all[g.role] = append(append([]string{}, g.functions...), all[g.also]...)
	}
	return all
}

// LookForUnrunSchedules is one look of the loop that says when nobody runs the schedules.
func LookForUnrunSchedules(ctx context.Context, b *Box, overdue time.Duration) (said bool, err error) {
	c := newControl(b)
	defer c.close()
	return (&scheduleWatch{box: b, maintenance: c}).look(ctx, overdue)
}

// TakeLease has the rescue take a worker that it has seen at a heartbeat.
func TakeLease(ctx context.Context, b *Box, worker, heartbeat int64) error {
	c := newControl(b)
	defer c.close()
	return (&rescuer{box: b}).take(ctx, c, workerRow{ID: worker, Heartbeat: heartbeat})
}

// CompareClaims compares the claims of a worker's lease with those that the worker knows, once.
func CompareClaims(ctx context.Context, b *Box, worker int64, claims func() (low int64, known []int64)) error {
	c := newControl(b)
	defer c.close()
	ls := newLeases(b, c)
	due, _, err := ls.begin(ctx, &lease{owner: ls, id: worker, spec: core.LeaseSpec{Queue: "q", Claims: claims}})
	if err != nil {
		return err
	}
	open, err := openClaims(ctx, b, c, []int64{worker}, []int64{due.low})
	if err != nil {
		return err
	}
	return ls.returnUnknown(ctx, due, open[worker])
}

// Control returns the use of a control connection of b, and what counts its breaks.
func Control(b *Box) (use func(context.Context, func(context.Context, *pgx.Conn) error) error, breaks func() int64) {
	return newControl(b).use, b.breaks.n.Load
}

// TestRelay is the relay of a box, step by step.
type TestRelay struct{ r *relay }

// NewTestRelay returns a relay that has looked before.
func NewTestRelay(ctx context.Context, b *Box) (TestRelay, error) {
	r := newRelay(b, newLoopRounds())
	_, err := r.poll(ctx)
	return TestRelay{r}, err
}

// StayAlert tells the relay how many events a look has found, and reports whether it is awake.
func (t TestRelay) StayAlert(ctx context.Context, found int) bool {
	t.r.stayAlert(ctx, found)
	return t.r.alert.Noted()
}

// Look returns how many events a poll without a wake-up has moved.
func (t TestRelay) Look(ctx context.Context) (int, error) { return t.r.poll(ctx) }

// Pause returns the next pause, of longest at most.
func (t TestRelay) Pause(longest time.Duration) time.Duration {
	return t.r.alert.Pause(t.r.pauses.Take(longest))
}

// End ends the relay as run does.
func (t TestRelay) End(ctx context.Context) { t.r.sleep(ctx) }

// PromoterWakesRelay has the promoter look once, and reports whether that has woken the relay.
func PromoterWakesRelay(ctx context.Context, b *Box) (bool, error) {
	woken, stop := b.wakeUps.subscribe([]string{core.TopicRelay})
	defer stop()
	conn := newControl(b)
	defer conn.close()
	p := promoter{box: b, maintenance: conn, limit: core.NewBatchLimit(promoteChunk, 0)}
	if _, err := p.promote(ctx); err != nil {
		return false, err
	}
	select {
	case <-woken:
		return true, nil
	default:
		return false, nil
	}
}

// LongestRelayPause returns how long a relay that is asleep waits for a wake-up, in poll intervals.
func LongestRelayPause(b *Box) int {
	return int(newRelay(b, newLoopRounds()).longestPause() / b.cfg.PollInterval)
}

// NotifiedAfterCommits reports whether the box has sent a NOTIFY after a commit, or is about to.
func NotifiedAfterCommits(b *Box) bool {
	b.notifier.mu.Lock()
	defer b.notifier.mu.Unlock()
	return b.notifier.next != nil
}
