package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/strunk-go/strunk/queue"
)

// admission is one that was committed: of which key, and whether it was the first of its task.
type admission struct {
	key   string
	first bool
}

// logAdmissions has the database note each admission of a queue.
func logAdmissions(b *bed, name string) {
	b.exec(`CREATE TABLE public.admissions (seq bigint PRIMARY KEY, key text NOT NULL, task bigint NOT NULL)`)
	b.exec(`CREATE FUNCTION public.note_admission() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.admissions VALUES (NEW.seq, NEW.customer_key, NEW.id); RETURN NULL; END $$`)
	b.exec(`CREATE TRIGGER note_admission AFTER UPDATE ON public.strunk_outbox_tasks FOR EACH ROW
		WHEN (NEW.admitted AND NOT OLD.admitted AND NEW.key = '` + name + `') EXECUTE FUNCTION public.note_admission()`)
}

func admissions(b *bed) []admission {
	b.t.Helper()
	rows, err := b.pool.Query(context.Background(), `SELECT key, seq = min(seq) OVER (PARTITION BY task)
		FROM public.admissions ORDER BY seq`)
	if err != nil {
		b.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a admission, err error) {
		return a, row.Scan(&a.key, &a.first)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// checkTurns checks that of no key more is admitted between two admissions of a key that waits than its weight
// lets it, and one.
func checkTurns(t *testing.T, all []admission, weight func(string) int) {
	t.Helper()
	since := map[string]map[string]int{} // by a key, what was admitted of each other since its last admission
	for i, a := range all {
		for key, n := range since[a.key] {
			most := (weight(key)+weight(a.key)-1)/weight(a.key) + 1
			if a.first && n > most { // its task has waited since the last
				t.Errorf("admission %d, of %s: %d of %s since the last; want at most %d", i, a.key, n, key, most)
			}
		}
		since[a.key] = map[string]int{}
		for key, counts := range since {
			if key != a.key {
				counts[a.key]++
			}
		}
	}
}

// Three processes work the tasks of a customer with many, of one with a weight of 3 and of twenty with a few, while
// some are killed and one is frozen and wakes again: each task is done once, and the keys take turns all the time.
func TestFairShare(t *testing.T) {
	t.Parallel()
	const big, gold, keys, each = 500, 240, 20, 10
	l := newLimited(t, queue.Limits{Fair: true}, 4)
	logAdmissions(l.bed, "limited")
	if err := l.q.SetKeyLimits(t.Context(), l.box, queue.KeyLimits{Weight: 3}, "gold"); err != nil {
		t.Fatal(err)
	}
	all := append(repeated("big", big), repeated("gold", gold)...)
	for i := range keys * each {
		all = append(all, fmt.Sprint("key-", i%keys))
	}
	ids := putKeys(l.bed, l.q, all...)
	for range 3 {
		l.spawn()
	}
	frozen := l.children[0]
	l.children = l.children[1:] // killSome leaves it alone
	l.spawn()
	if err := frozen.Freeze(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	takeLease(l.bed, frozen)
	l.killSome(3)
	if err := frozen.Wake(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	l.killSome(2)
	l.awaitDone(len(all))
	if n := value[int](l.bed, `SELECT count(DISTINCT id) FROM public.strunk_outbox WHERE key = 'limited'
		AND status = 'delivered' AND id = ANY ($1)`, ids); n != len(all) {
		t.Errorf("%d of %d tasks are done once", n, len(all))
	}
	log := admissions(l.bed)
	weight := func(key string) int {
		if key == "gold" {
			return 3
		}
		return 1
	}
	checkTurns(t, log, weight)
	n := map[string]int{}
	for _, a := range log { // while all of them wait
		if n[a.key]++; n["key-0"] == each || n["gold"] == gold {
			break
		}
	}
	if n["gold"] < 5*n["big"]/2-3 || n["big"] < n["key-0"]-2 {
		t.Errorf("%v were admitted while all waited; want three of gold for each of the others", n)
	}
	eventually(t, "no key has a turn", func() (string, bool) {
		n := value[int](l.bed, `SELECT count(*) FROM public.strunk_turns`)
		return fmt.Sprint(n), n == 0
	})
}
