package queue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// A process asks for all of its quiet queues at once: what it sends depends on the time, not on how many they are.
// Each of them still finds what nobody has announced.
func TestIdleCostIsBounded(t *testing.T) {
	t.Parallel()
	const queues, window = 50, 4 * time.Second
	pool, sent := wired(t, outboxtest.DSN(outboxtest.New(t)))
	b := bedOn(t, pool, outbox.Config{})
	handled := make(chan string, 1)
	var bindings []outbox.Binding
	for i := range queues {
		q := queue.Define[note](fmt.Sprintf("idle-%02d", i), queue.Config{})
		bindings = append(bindings, q.Worker(func(_ context.Context, task queue.Task[note]) error {
			handled <- q.Name() + " " + task.Payload.Text
			return nil
		}))
	}
	b.run(bindings...)
	eventually(t, "one statement asks for many queues", func() (string, bool) {
		all, _ := sent.all()
		last, asked := 0, 0
		for _, s := range all {
			if s.name() == "strunk_queues_with_work" {
				last, asked = asked, len(s.args[0].([]string))
			}
		}
		return fmt.Sprintf("the last two asked for %d and %d", last, asked), last >= queues/2 && asked >= queues/2
	})

	sent.restart()
	began := time.Now()
	time.Sleep(window)
	all, _ := sent.all()
	seconds := time.Since(began).Seconds()
	t.Logf("in %.1f s: %d statements: %v", seconds, len(all), counted(all))
	// There are fewer than 5 a second. What comes once in a longer time, or once after the start, may come
	// within the window, and on a slow machine the questions of a moment go out in several parts.
	if most := int(20*seconds) + 60; len(all) > most {
		t.Errorf("%d statements in %.1f s; want %d at most: %v", len(all), seconds, most, counted(all))
	}
	if n := counted(all)["strunk_queues_with_work"]; n < 1 || n > queues/4*int(seconds+1) {
		t.Errorf("%d statements in %.1f s have asked for work; want about one a second", n, seconds)
	}
	if n := value[int](b, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database()
		AND backend_type = 'client backend'`); n > 10 {
		t.Errorf("%d connections; want about 6: five of Run, and those of the pool", n)
	}
	b.exec(`SELECT public.strunk_enqueue_many('{idle-31}', ARRAY['{"text": "unannounced"}'], NULL, NULL, NULL, NULL,
		NULL, NULL, NULL, false)`)
	if got := receive(t, "the task that nobody announced", handled); got != "idle-31 unannounced" {
		t.Errorf("handled %q", got)
	}
}
