package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/internal/testkit"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
)

var (
	rounds = flag.Int("rounds", 2, "how many rounds, each with the next seed; in the short form one seed is fresh")
	seed   = flag.Uint64("seed", 0, "the seed of the first round; 0 for 1, and a fresh one for the last round")
	plant  = flag.String("plant", "", "a bug to plant: the rounds must find it")
	keep   = flag.Bool("keep-going", false, "go on after a round that failed")

	slowly   = flag.Bool("slow", false, "draw slow faults too: failovers, restores, a full disk, a wrong clock")
	only     = flag.String("only", "", "draw only faults whose name contains this")
	together = flag.Int("together", 10, "how many rounds follow each other on one database, with the same processes")
	beside   = flag.String("beside", "", "a binary of this suite, of another version of the library, for one process")
	servers  = flag.Int("servers", 1, "how many servers, each with rounds of its own, run beside each other")
)

func TestMain(m *testing.M) {
	end := make(chan struct{})
	go beats.run(end)
	testkit.AtEnd(func() { close(end) })
	faults.Heard = childHears
	faults.Main(faults.Roles{"works": childWorks})
	flag.Parse()
	testkit.Main(m)
}

// TestFaults runs rounds until one fails. With a planted bug one must.
func TestFaults(t *testing.T) {
	var all tally
	var running sync.WaitGroup
	batches := make(chan []uint64)
	for range *servers {
		l := newLab(t)
		running.Go(func() {
			for batch := range batches {
				all.add(l.rounds(t, batch))
			}
		})
	}
	for batch := range slices.Chunk(seeds(), *together) {
		if all.ended() {
			break
		}
		batches <- batch
	}
	close(batches)
	running.Wait()
	switch {
	case *plant != "" && all.finding == "":
		t.Errorf("%s was not found in %d rounds", *plant, all.rounds)
	case *plant != "":
		t.Logf("%s was found in round %d: %s", *plant, all.rounds, all.finding)
	}
	t.Logf("%d rounds, faults: %v", all.rounds, all.faults)
}

// seeds are those of all rounds.
func seeds() (all []uint64) {
	for i := range *rounds {
		all = append(all, max(*seed, 1)+uint64(i))
	}
	if *seed == 0 && *rounds > 0 {
		all[*rounds-1] = rand.Uint64N(1 << 32)
	}
	return all
}

// tally sums up rounds.
type tally struct {
	mu      sync.Mutex
	rounds  int
	faults  map[kind]int
	finding string // the first one
}

// add adds the rounds of a batch.
func (a *tally) add(r *round) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.faults == nil {
		a.faults = make(map[kind]int)
	}
	a.rounds += r.rounds
	for _, k := range r.done {
		a.faults[k]++
	}
	if a.finding == "" && len(r.findings) > 0 {
		a.finding = r.findings[0]
	}
}

// ended reports whether no further round is wanted.
func (a *tally) ended() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.finding != "" && !*keep
}

// lab is a server of its own, which a round may crash, and a database to copy.
type lab struct {
	server     *pgserver.Server
	template   string
	disk       string   // a small file system that the server is on; empty where there is none
	shortQueue bool     // the queue of NOTIFY can be filled
	left       sync.Map // of kinds of faults that this machine does not have, and that was said
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ctx := context.Background()
	l := &lab{}
	if *slowly {
		l.disk = mountDisk(t)
	}
	server, err := startServer(ctx, l.disk)
	if err != nil {
		t.Fatal(err)
	}
	l.server = server
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if *slowly {
		if err := l.shortenNotifyQueue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	l.template = l.makeTemplate(t, ctx)
	return l
}

// startServer starts a server from programs that are installed or downloaded, in this directory unless it is empty: no
// other server can be crashed.
func startServer(ctx context.Context, dir string) (*pgserver.Server, error) {
	var tried []error
	for _, way := range []string{"installed", "download"} {
		server, err := pgserver.Start(ctx, pgserver.Config{Only: way, Dir: dir,
			Settings: map[string]string{"max_connections": "200", "synchronous_commit": "on", "max_wal_size": "128MB"}})
		if err == nil {
			return server, nil
		}
		tried = append(tried, err)
	}
	return nil, fmt.Errorf("the fault suite needs a server of its own: %w", errors.Join(tried...))
}

// leaveOut says once that a kind of fault is not to be had here, and why.
func (l *lab) leaveOut(t *testing.T, k kind, why error) {
	if _, said := l.left.LoadOrStore(k, true); !said {
		t.Logf("%s: %v", k, why)
	}
}

// await calls done until it answers true; what it says last goes into the error. It gives up after within, and not
// before as many calls as take half of it on a quiet machine: on one where nothing gets on, neither do those calls.
func await(within time.Duration, what string, done func() (string, bool)) error {
	const pause = 20 * time.Millisecond
	began := time.Now()
	for calls := 1; ; calls++ {
		said, ok := done()
		if ok {
			return nil
		}
		if time.Since(began) > within && time.Duration(calls)*pause > within/2 {
			return fmt.Errorf("not within %v and %d looks: %s: %s", time.Since(began).Round(time.Second), calls, what,
				said)
		}
		time.Sleep(pause)
	}
}
