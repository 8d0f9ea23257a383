package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/faults"
	"github.com/strunk-go/strunk/internal/pgserver"
	_ "github.com/strunk-go/strunk/internal/testkit/anyserver"
)

var (
	rounds = flag.Int("rounds", 2, "how many rounds, each with the next seed; in the short form one seed is fresh")
	seed   = flag.Uint64("seed", 0, "the seed of the first round; 0 for 1, and a fresh one for the last round")
	plant  = flag.String("plant", "", "a bug to plant: the rounds must find it")
	keep   = flag.Bool("keep-going", false, "go on after a round that failed")
)

func TestMain(m *testing.M) {
	faults.Main(faults.Roles{"works": childWorks})
	flag.Parse()
	os.Exit(m.Run())
}

// TestFaults runs rounds until one fails. With a planted bug one must.
func TestFaults(t *testing.T) {
	l := newLab(t)
	found := make(map[kind]int)
	for i := range *rounds {
		s := max(*seed, 1) + uint64(i)
		if *seed == 0 && i == *rounds-1 {
			s = rand.Uint64N(1 << 32)
		}
		r := l.round(t, s)
		for _, k := range r.done {
			found[k]++
		}
		if len(r.findings) == 0 {
			continue
		}
		if *plant != "" {
			t.Logf("found in round %d: %s", i+1, r.findings[0])
			return
		}
		t.Errorf("seed %d: %v", s, r)
		if !*keep {
			break
		}
	}
	t.Logf("faults: %v", found)
	if *plant != "" {
		t.Errorf("%s was not found in %d rounds", *plant, *rounds)
	}
}

// lab is a server of its own, which a round may crash, and a database to copy.
type lab struct {
	server   *pgserver.Server
	template string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ctx := context.Background()
	server, err := startServer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{server: server}
	l.template = l.makeTemplate(t, ctx)
	return l
}

// startServer starts a server from programs that are installed or downloaded: no other can be crashed.
func startServer(ctx context.Context) (*pgserver.Server, error) {
	var tried []error
	for _, way := range []string{"installed", "download"} {
		server, err := pgserver.Start(ctx, pgserver.Config{Only: way,
			Settings: map[string]string{"max_connections": "200", "synchronous_commit": "on"}})
		if err == nil {
			return server, nil
		}
		tried = append(tried, err)
	}
	return nil, fmt.Errorf("the fault suite needs a server of its own: %w", errors.Join(tried...))
}

// await calls done until it answers true; what it says last goes into the error.
func await(within time.Duration, what string, done func() (string, bool)) error {
	last := ""
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		said, ok := done()
		if ok {
			return nil
		}
		if last = said; time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s: %s", within, what, last)
		}
	}
}
