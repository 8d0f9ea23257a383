package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/internal/brokertest"
	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/outbox"
)

const (
	processes = 3
	producers = 4
	// producing is how long producers and faults go on; faults that take longer end after it.
	producing = 600 * time.Millisecond
	// settling bounds the time from the last fault's end until all has come to rest.
	settling = 2 * time.Minute
	// settlingLong is after how long a round says what it waits for.
	settlingLong = 20 * time.Second
)

// round is everything that runs, on a database of its own. Several rounds follow each other there, each with the faults
// of its seed, and at the end of each the whole record is checked.
type round struct {
	t          *testing.T
	lab        *lab
	dsn        string
	database   string // quoted
	pool       *pgxpool.Pool
	box        *outbox.Box
	links      []*faults.Proxy // one for each process, the last one for the producers
	broker     *brokertest.Fake
	producers  []*producer
	record     record
	server     sync.Mutex // held while the server is down
	lapses     []lapse    // guarded by server
	crashed    bool       // the server has lost what was committed asynchronously
	clockMoved bool       // guarded by server; the server's clock has been wrong
	syncClaims bool       // claims are committed synchronously
	busy       sync.WaitGroup

	mu       sync.Mutex // the fields below
	rng      *rand.Rand
	children []*faults.Child
	done     []kind
	log      []string
	began    time.Time
	rounds   int
	gone     []int64 // the intents that the database has lost with a time in which it may lose them
	findings []string
	most     int // tasks of the limited queue that were claimed at once
}

// rounds runs a round for each seed, one after the other, until its checker finds something.
func (l *lab) rounds(t *testing.T, seeds []uint64) *round {
	r := &round{t: t, lab: l, began: time.Now(), syncClaims: seeds[0]/uint64(*together)%2 == 0}
	report := t.Errorf
	if *plant != "" {
		report = t.Logf
	}
	t.Run(fmt.Sprint("seed ", seeds[0]), func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		var watching sync.WaitGroup
		defer watching.Wait()
		defer cancel()
		r.t = t
		r.open(ctx)
		r.start(ctx)
		watching.Go(func() { r.watch(ctx) })
		for _, s := range seeds {
			r.round(ctx, s)
			if len(r.findings) > 0 {
				report("seed %d, round %d from seed %d: %v", s, r.rounds, seeds[0], r)
				break
			}
		}
		for i := range r.children {
			r.child(i).Kill()
		}
	})
	return r
}

// round runs one round.
func (r *round) round(ctx context.Context, seed uint64) {
	began, faults := time.Now(), len(r.done)
	r.rng = rand.New(rand.NewPCG(seed, 1))
	for i, p := range r.producers {
		p.rng = rand.New(rand.NewPCG(seed, uint64(10+i)))
	}
	r.say("seed %d", seed)
	r.rounds++
	r.produceBeside(ctx, func() { r.inject(ctx, producing) })
	if r.settle(ctx) {
		r.check(ctx)
	}
	r.t.Logf("seed %d: %d intents so far, %d faults, %d findings, %v", seed, len(r.record.intents),
		len(r.done)-faults, len(r.findings), time.Since(began).Round(time.Millisecond))
}

// open copies the template's database.
func (r *round) open(ctx context.Context) {
	dsn, drop, err := r.lab.server.NewDatabase(ctx, r.lab.template)
	r.must(err)
	r.dsn = dsn
	cfg, err := pgxpool.ParseConfig(dsn)
	r.must(err)
	r.database = pgx.Identifier{cfg.ConnConfig.Database}.Sanitize()
	cfg.ConnConfig.RuntimeParams["application_name"] = "suite"
	// What faults set for the database does not concern those who set and mend it.
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = "0"
	cfg.ConnConfig.RuntimeParams["lock_timeout"] = "0"
	cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	cfg.ConnConfig.RuntimeParams["default_transaction_read_only"] = "off"
	r.pool, err = pgxpool.NewWithConfig(ctx, cfg)
	r.must(err)
	r.t.Cleanup(func() {
		r.pool.Close()
		_ = drop() // a connection may still be ending; the server goes at the end in any case
	})
	r.box, err = outbox.Open(ctx, r.pool, outbox.Config{Logger: quiet})
	r.must(err)
}

// start starts the broker and the processes, and waits until the subscribers are registered.
func (r *round) start(ctx context.Context) {
	r.broker = brokertest.NewFake(r.t)
	for range processes + 1 {
		r.links = append(r.links, faults.NewProxy(r.t, r.dsn))
	}
	r.children = make([]*faults.Child, processes)
	for i := range processes {
		r.spawn(i)
	}
	r.openProducers(ctx)
	r.must(await(settling, "the subscribers are there", func() (string, bool) {
		var n int
		err := r.pool.QueryRow(ctx, `SELECT count(*) FROM public.strunk_subscribers`).Scan(&n)
		return fmt.Sprint(n, err), n == 3
	}))
}

// spawn starts process i, and another one in its place where it was killed.
func (r *round) spawn(i int) {
	dsn, err := r.links[i].DSN(r.dsn)
	r.must(err)
	binary := os.Args[0]
	if i == 0 && *beside != "" {
		binary = *beside
	}
	c := faults.SpawnOf(r.t, binary, "works", "CHILD_DSN="+dsn, "CHILD_BROKER="+r.broker.Address(),
		fmt.Sprint("CHILD_SYNC=", r.syncClaims))
	go c.EachLine(func(line string) {
		if line != "up" {
			r.say("process %d: %s", i, line)
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.children[i] = c
}

func (r *round) child(i int) *faults.Child {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.children[i]
}

// openProducers gives the producers a pool over their link.
func (r *round) openProducers(ctx context.Context) {
	dsn, err := r.links[processes].DSN(r.dsn)
	r.must(err)
	pool, err := pgxpool.New(ctx, dsn)
	r.must(err)
	r.t.Cleanup(pool.Close)
	through, err := outbox.Open(ctx, pool, outbox.Config{Logger: quiet})
	r.must(err)
	for i := range producers {
		r.producers = append(r.producers, &producer{number: i, box: through, pool: pool, record: &r.record})
	}
}

// produceBeside has producers send while fn runs, and for as long as producing.
func (r *round) produceBeside(ctx context.Context, fn func()) {
	ctx, cancel := context.WithTimeout(ctx, producing)
	defer cancel()
	var sending sync.WaitGroup
	for _, p := range r.producers {
		sending.Go(func() { p.produce(ctx) })
	}
	fn()
	sending.Wait()
}

// watch counts, while all goes on, what must never be more than a limit.
func (r *round) watch(ctx context.Context) {
	for ctx.Err() == nil {
		var n int
		err := r.pool.QueryRow(ctx, `SELECT count(*) FROM public.strunk_outbox_tasks
			WHERE status = 'claimed' AND key = 'limited'`).Scan(&n)
		if err == nil && n > r.most {
			r.most = n
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settle waits until no task is left and all subscribers are at the head, and reports whether that came about. Where it
// takes long, it says once what is waited for.
func (r *round) settle(ctx context.Context) bool {
	began, said := time.Now(), false
	err := await(settling, "all has come to rest", func() (string, bool) {
		if !said && time.Since(began) > settlingLong {
			said = true
			r.t.Logf("not at rest after %v:\n%s", time.Since(began), r.evidence(ctx))
		}
		var tasks, unrelayed, behind int
		err := r.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM public.strunk_outbox_tasks),
			(SELECT count(*) FROM public.strunk_outbox_events),
			(SELECT count(*) FROM public.strunk_subscribers s
				WHERE s.cursor < (SELECT max(f.head) FROM public.strunk_feed f))`).Scan(&tasks, &unrelayed, &behind)
		left := fmt.Sprintf("%d tasks, %d events without a position, %d subscribers behind; %v", tasks, unrelayed,
			behind, err)
		return left, err == nil && tasks+unrelayed+behind == 0
	})
	if err != nil {
		r.found("%v\n%s", err, r.evidence(ctx))
	}
	return err == nil
}

// exec executes a statement as an operator does, over restarts of the server.
func (r *round) exec(ctx context.Context, sql string) (err error) {
	for range 50 {
		if err = r.execOnce(ctx, sql); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s: %w", sql, err)
}

// execOnce waits until the server is up.
func (r *round) execOnce(ctx context.Context, sql string) error {
	r.server.Lock()
	defer r.server.Unlock()
	_, err := r.pool.Exec(ctx, sql)
	return err
}

func (r *round) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// intN draws a number below n.
func (r *round) intN(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.IntN(n)
}

// sleep sleeps for up to so many milliseconds.
func (r *round) sleep(most int) { time.Sleep(time.Duration(r.intN(most)) * time.Millisecond) }

// count counts a fault that was done.
func (r *round) count(k kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, k)
}

func (r *round) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%6d ms ", time.Since(r.began).Milliseconds())+fmt.Sprintf(format, args...))
}

// found records what the checker found.
func (r *round) found(format string, args ...any) {
	r.findings = append(r.findings, fmt.Sprintf(format, args...))
}

// String is the report of a round that failed.
func (r *round) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%s\nwhat was done:\n%s", strings.Join(r.findings, "\n"), strings.Join(r.log, "\n"))
}
