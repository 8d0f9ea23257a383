package outbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/internal/core"
)

// Binding is a consumer that Run drives: a *queue.Worker, an *events.Subscriber, or another loop of
// strunk's packages. Only they can make one.
type Binding interface {
	binder
}

type binder = core.Binder

// loopRestart is the pause before a loop that panicked is started again.
const loopRestart = time.Second

// afterGrace is the time between the end of the grace period and that of everything else: what handlers take to return
// and the database to store what became of them.
const afterGrace = core.StopPatience + 400*time.Millisecond

// Run drives the bindings and the maintenance loops until ctx ends, and returns nil after a clean stop,
// also where ctx ends while Run starts.
//
// It checks everything first and reports every problem at once: a nil binding, a bad configuration,
// two bindings of one name, a database that does not answer. When ctx ends, nothing more is
// claimed, running handlers have Config.Grace to finish, then their contexts end, and what is not
// finished is given back without spending an attempt. Run returns within Grace and two seconds,
// whatever does not answer: a handler that does not return by then is left behind, and what the
// database did not confirm is given back when the lease is over. Without bindings Run does the
// maintenance alone. Several Runs, in one process or in many, share the work.
func (b *Box) Run(ctx context.Context, bindings ...Binding) error {
	if err := b.usable(); err != nil {
		return err
	}
	bound, err := b.check(bindings)
	defer core.Dismiss(bound...)
	if err != nil {
		return err
	}
	if err := b.checkVersion(ctx); err != nil {
		if ctx.Err() != nil { // stopped while it started
			return nil
		}
		return fmt.Errorf("strunk/outbox: run: nothing was started: %w", err)
	}
	b.warnOfConnections(bound)
	r := newRun(b)
	return r.drive(ctx, bound)
}

func (b *Box) check(bindings []Binding) ([]core.Binding, error) {
	var problems []error
	bound := make([]core.Binding, 0, len(bindings))
	names := map[[2]string]bool{}
	for i, binding := range bindings {
		c, err := core.BindingOf(binding)
		if err != nil {
			problems = append(problems, fmt.Errorf("strunk/outbox: run: binding %d %w", i+1, err))
			continue
		}
		kind, name := c.Describe()
		if names[[2]string{kind, name}] {
			problems = append(problems, fmt.Errorf("strunk/outbox: run: two bindings are the %s %q; give one Run "+
				"each name once (raise its concurrency instead)", kind, name))
		}
		names[[2]string{kind, name}] = true
		problems = append(problems, c.Prepare(host{b})...)
		bound = append(bound, c)
	}
	return bound, errors.Join(append(problems, checkPreviousNames(bound)...)...)
}

// run is one call of Run: what bindings build on while it lasts.
type run struct {
	host
	leases      *leases
	maintenance *control
	slow        *control // for loops whose statements may take long: the reaper, the counter, bulk jobs
	relay       *relay
	rounds      *loopRounds
}

func newRun(b *Box) *run {
	maintenance, rounds := newControl(b), newLoopRounds()
	return &run{host: host{b}, leases: newLeases(b, maintenance), maintenance: maintenance, slow: newControl(b),
		relay: newRelay(b, rounds), rounds: rounds}
}

// Lease implements core.Runtime.
func (r *run) Lease(ctx context.Context, spec core.LeaseSpec, before ...core.Statement) (core.Lease, error) {
	l, err := r.leases.add(ctx, spec, before)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Control implements core.Runtime.
func (r *run) Control(ctx context.Context, fn func(conn *pgx.Conn) error) error {
	return r.maintenance.use(ctx, func(_ context.Context, conn *pgx.Conn) error { return fn(conn) })
}

// close returns when all connections are closed and all wake-ups are sent, and soon after end.
func (r *run) close(end context.Context) {
	var parts sync.WaitGroup
	for _, c := range []*control{r.leases.heartbeats, r.maintenance, r.slow, r.relay.conn} {
		parts.Go(c.close)
	}
	parts.Go(func() { r.b.notifier.flush(end) })
	parts.Wait()
}

// loops returns what runs beside the bindings and their heartbeats, once they have begun: those of
// constants Loop… unless they are disabled, the others always.
func (r *run) loops() map[string]func(context.Context) {
	loops := map[string]func(context.Context){"claims": r.leases.compareLoop}
	loops["counters"] = func(ctx context.Context) { r.b.counters.run(ctx, r.maintenance) }
	loops["schedule watch"] = (&scheduleWatch{box: r.b, maintenance: r.maintenance}).run
	if !r.b.cfg.PollOnly {
		loops["listener"] = r.b.listenShared
	}
	for loop, fn := range map[Loop]func(context.Context){
		LoopRescue:   (&rescuer{box: r.b, maintenance: r.maintenance, report: loopReport{LoopRescue, r.rounds}}).run,
		LoopPromoter: (&promoter{box: r.b, maintenance: r.maintenance, report: loopReport{LoopPromoter, r.rounds}}).run,
		LoopReaper:   newReaper(r.b, r.slow).run,
		LoopCounter:  (&counter{box: r.b, conn: r.slow}).run,
		LoopRelay:    r.relay.run,
		LoopJobs:     (&jobWorker{box: r.b, conn: r.slow, report: loopReport{LoopJobs, r.rounds}}).run,
	} {
		if !slices.Contains(r.b.cfg.Disable, loop) {
			loops[string(loop)] = fn
		}
	}
	return loops
}

func (r *run) drive(ctx context.Context, bound []core.Binding) error {
	soft, stop := context.WithCancel(ctx)
	defer stop()
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	end, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	maintenanceCtx, endMaintenance := context.WithCancel(context.WithoutCancel(ctx))

	start := newStart(bound)
	var maintenance sync.WaitGroup
	maintenance.Go(func() { r.keep(maintenanceCtx, "heartbeat", r.leases.heartbeatLoop) })
	for name, loop := range r.loops() {
		maintenance.Go(func() {
			start.await(maintenanceCtx)
			r.keep(maintenanceCtx, name, loop)
		})
	}
	context.AfterFunc(soft, func() {
		time.AfterFunc(r.b.cfg.Grace, kill)
		time.AfterFunc(r.b.cfg.Grace+afterGrace, cut)
	})

	err := r.runBindings(core.Life{Soft: soft, Hard: hard, End: end}, start, stop, bound)
	endMaintenance()
	maintenance.Wait()
	r.b.counters.flush(end, r.maintenance.use)
	r.close(end)
	return err
}

// runBindings returns when all have ended. One that fails stops the others, gracefully.
func (r *run) runBindings(life core.Life, start *start, stop func(), bound []core.Binding) error {
	errs := make([]error, len(bound))
	var wg sync.WaitGroup
	for i, c := range bound {
		wg.Go(func() {
			life := life
			life.OnBegun = start.begun(c)
			defer life.OnBegun()
			if errs[i] = r.runBinding(life, c); errs[i] != nil {
				stop()
			}
		})
	}
	<-life.Soft.Done()
	wg.Wait()
	return errors.Join(errs...)
}

func (r *run) runBinding(life core.Life, c core.Binding) (err error) {
	defer func() {
		if p := recover(); p != nil {
			kind, name := c.Describe()
			err = fmt.Errorf("strunk/outbox: run: the %s %q panicked: %v\n%s", kind, name, p, debug.Stack())
		}
	}()
	return c.Run(life, r)
}

// keep runs a loop and starts it again after a panic: one bad answer must not end the maintenance of a process.
func (r *run) keep(ctx context.Context, name string, loop func(context.Context)) {
	for ctx.Err() == nil {
		func() {
			defer func() {
				if p := recover(); p != nil {
					r.b.cfg.Logger.Error("strunk: a loop panicked and is started again", "loop", name, "panic", p,
						"stack", string(debug.Stack()))
				}
			}()
			loop(ctx)
		}()
		if ctx.Err() == nil {
			core.Sleep(ctx, loopRestart)
		}
	}
}
