package outbox_test

import (
	"slices"
	"testing"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// A short transaction of ours that announces something, where little is announced, does so inside: what hears it hears
// it with the commit, and nothing is sent after that.
func TestShortTransactionAnnouncesInside(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	heard := testkit.Listen(t, pool, "strunk:public")
	testkit.Eventually(t, "a transaction was short, and nothing was sent after it", func() bool {
		box := openBox(t, pool, outbox.Config{})
		began := time.Now()
		publishTick(t, box)
		short := time.Since(began) < core.FirstPause
		if got := heard(); !slices.Contains(got, core.TopicRelay) {
			t.Fatalf("heard %q; want the relay's topic with the commit", got)
		}
		return short && !outbox.NotifiedAfterCommits(box)
	})
	box := openBox(t, pool, outbox.Config{PollOnly: true})
	publishTick(t, box)
	if got := heard(); len(got) > 0 {
		t.Errorf("with PollOnly heard %q; want nothing", got)
	}
}

// A relay that falls asleep while a transaction of ours is open is told after the commit: it was awake when the
// statement asked, and may rest for as long as the transaction took.
func TestLongTransactionAnnouncesAfterTheCommit(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := outboxtest.New(t)
	heard := testkit.Listen(t, pool, "strunk:public")
	box, r := openBox(t, pool, outbox.Config{}), awakeRelay(t, pool)
	tx, err := box.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ticks.Publish(ctx, tx, 1); err != nil {
		t.Fatal(err)
	}
	relayFallsAsleep(t, r)
	if got := heard(); len(got) > 0 {
		t.Errorf("before the commit heard %q; want nothing", got)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the relay is told", func() bool { return slices.Contains(heard(), core.TopicRelay) })
}

func publishTick(t *testing.T, box *outbox.Box) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		_, err := ticks.Publish(t.Context(), tx, 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
