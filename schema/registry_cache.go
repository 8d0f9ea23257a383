package schema

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// askTimeout bounds one question to the database.
const askTimeout = 10 * time.Second

// cache is what a Box has seen of the registry. Versions never change, so they stay; which one is the newest is asked
// again. That a version is not there is never kept.
type cache struct {
	changed <-chan struct{} // receives after something was registered

	mu       sync.Mutex
	versions map[place]*compiled
	newest   map[string]newest
	asking   map[place]*question
	epoch    int // counts changes
}

// place is a version of a subject, as it is asked for.
type place struct{ subject, version string }

// compiled is a registered version, ready for use.
type compiled struct {
	version string
	schema  *Schema
}

// newest is an answer about a subject; nil means that it has no versions.
type newest struct {
	*compiled
	asked time.Time
}

// question is one that is on its way to the database, for all who have it.
type question struct {
	done   chan struct{}
	answer *compiled
	err    error
}

// cacheKey is where a Box keeps its cache.
type cacheKey struct{}

func registryOf(host core.Host) *Registry {
	box := host.Box().(*outbox.Box)
	shared := host.Shared(cacheKey{}, func() any {
		changed, _ := host.Subscribe(topic) // for as long as the Box lives
		return &Registry{box: box, host: host, cache: &cache{changed: changed,
			versions: map[place]*compiled{}, newest: map[string]newest{}, asking: map[place]*question{}}}
	})
	return shared.(*Registry)
}

// lookUp returns a version of a subject, or the newest; nil where none was asked for and there is none.
func (r *Registry) lookUp(ctx context.Context, subject, version string) (*compiled, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	if version != "" {
		if _, err := ParseVersion(version); err != nil {
			return nil, err
		}
	}
	p := place{subject, version}
	found, q, first := r.cache.get(p)
	if q == nil {
		return found, nil
	}
	if first {
		go r.answer(context.WithoutCancel(ctx), p, q)
	}
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		return nil, &core.NotChecked{Err: fmt.Errorf("strunk/schema: waiting for the registry: %w", ctx.Err())}
	}
}

// get returns what is known, or the question that is being asked, and whether the caller is the
// first to have it, who is to see to its answer.
func (c *cache) get(p place) (found *compiled, q *question, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notice()
	if p.version != "" {
		if found = c.versions[p]; found != nil {
			return found, nil, false
		}
	} else if last, ok := c.newest[p.subject]; ok && time.Since(last.asked) < LatestMaxAge {
		return last.compiled, nil, false
	}
	if q = c.asking[p]; q != nil {
		return nil, q, false
	}
	q = &question{done: make(chan struct{})}
	c.asking[p] = q
	return nil, q, true
}

// notice forgets what is newest after something was registered, and lets nobody wait for answers from before.
func (c *cache) notice() {
	select {
	case <-c.changed:
		clear(c.newest)
		clear(c.asking)
		c.epoch++
	default:
	}
}

// answer asks the database and hands the answer to all who wait for it.
func (r *Registry) answer(ctx context.Context, p place, q *question) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	defer close(q.done)
	c := r.cache
	c.mu.Lock()
	epoch, asked := c.epoch, time.Now()
	c.mu.Unlock()
	q.answer, q.err = r.fetch(ctx, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking[p] == q {
		delete(c.asking, p)
	}
	switch {
	case q.err != nil:
	case p.version != "":
		c.versions[p] = q.answer
	case epoch == c.epoch:
		c.newest[p.subject] = newest{q.answer, asked}
	}
}

// fetch reads and compiles a version.
func (r *Registry) fetch(ctx context.Context, p place) (*compiled, error) {
	found, err := r.ask(ctx, sqlVersion, p.subject, orNull(p.version))
	if err != nil {
		return nil, &core.NotChecked{Err: fmt.Errorf("strunk/schema: asking the registry for %q: %w",
			clipName(p.subject), err)}
	}
	if len(found) == 0 && p.version != "" {
		return nil, notRegistered(p.subject, p.version)
	}
	if len(found) == 0 {
		return nil, nil
	}
	if done := r.cache.known(p.subject, found[0].Version); done != nil {
		return done, nil
	}
	schema, err := Compile(found[0].Document)
	if err != nil {
		return nil, &core.NotChecked{Err: fmt.Errorf("strunk/schema: %q %s is registered and does not compile: %w",
			clipName(p.subject), found[0].Version, err)}
	}
	done := &compiled{found[0].Version, schema}
	r.cache.keep(place{p.subject, done.version}, done)
	return done, nil
}

func (c *cache) known(subject, version string) *compiled {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versions[place{subject, version}]
}

func (c *cache) keep(p place, v *compiled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[p] = v
}
