package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// deadLetters makes dead letters of a queue, whose errors are the texts.
func deadLetters(b *bed, q *queue.Queue[note], texts ...string) (ids []int64) {
	b.t.Helper()
	for _, text := range texts {
		ids = append(ids, put(b, q, note{text}, queue.MaxAttempts(1)))
	}
	stop := b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error {
		return errors.New(task.Payload.Text)
	}))
	for _, id := range ids {
		reach(b, q, id, queue.StatusDead)
	}
	stop()
	return ids
}

func TestDeadLettersFilters(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	mail, bills := queue.Define[note]("mail", queue.Config{}), queue.Define[note]("bills", queue.Config{})
	m, o := deadLetters(b, mail, "no such user", "100% full"), deadLetters(b, bills, "no such account")
	b.exec(`UPDATE public.strunk_outbox SET finished_at = finished_at - interval '1 hour' WHERE id = $1`, m[0])
	for _, c := range []struct {
		name, reason string
		filter       outbox.DeadFilter
		want         []int64
	}{
		{"all", "the zero filter", outbox.DeadFilter{}, []int64{m[0], m[1], o[0]}},
		{"a queue", "by its name", outbox.DeadFilter{Queue: "mail"}, m},
		{"an error", "a part of its text", outbox.DeadFilter{Error: "no such"}, []int64{m[0], o[0]}},
		{"a percent sign", "the text is no pattern", outbox.DeadFilter{Error: "%"}, []int64{m[1]}},
		{"old ones", "died before", outbox.DeadFilter{OlderThan: time.Minute}, []int64{m[0]}},
		{"young ones", "died since", outbox.DeadFilter{YoungerThan: time.Minute}, []int64{m[1], o[0]}},
		{"ids", "by id", outbox.DeadFilter{IDs: []int64{o[0], 1 << 40}}, o},
		{"a page", "after an id, at most one", outbox.DeadFilter{After: m[0], Limit: 1}, []int64{m[1]}},
		{"the newest", "backwards", outbox.DeadFilter{Newest: true, Limit: 2}, []int64{o[0], m[1]}},
		{"the page behind", "backwards from an id", outbox.DeadFilter{Newest: true, After: m[1]}, []int64{m[0]}},
	} {
		letters, err := queue.DeadLetters(t.Context(), b.box, c.filter)
		var got []int64
		for _, l := range letters {
			got = append(got, l.ID)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %v; want %v: %s", c.name, got, err, c.want, c.reason)
		}
	}
	letters, err := queue.DeadLetters(t.Context(), b.box, outbox.DeadFilter{Queue: "bills"})
	if err != nil || letters[0].Queue != "bills" || letters[0].LastError != "no such account" ||
		string(letters[0].Payload) != `{"text":"no such account"}` {
		t.Errorf("%+v, %v", letters, err)
	}
	_, err = queue.DeadLetters(t.Context(), b.box, outbox.DeadFilter{Limit: -1})
	wantError(t, err, queue.ErrInvalid)
	_, err = queue.DeadLetters(t.Context(), b.box, outbox.DeadFilter{Subscriber: "indexer"})
	wantError(t, err, queue.ErrInvalid)
	_, err = queue.PurgeDead(t.Context(), b.box, outbox.DeadFilter{Newest: true})
	wantError(t, err, queue.ErrInvalid)
}

func TestDeadLettersRetryAndPurge(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("mail", queue.Config{MaxAttempts: 2, Retry: atOnce})
	held := put(b, q, note{"held"}, queue.DedupKey("k"))
	stop := b.run(q.Worker(func(context.Context, queue.Task[note]) error { return errors.New("no") }))
	reach(b, q, held, queue.StatusDead)
	stop()
	ids := append([]int64{held}, deadLetters(b, q, "a", "b", "c")...)
	holder := put(b, q, note{"holder"}, queue.DedupKey("k"))

	if n, err := queue.RetryDead(t.Context(), b.box, outbox.DeadFilter{IDs: ids[:2]}); n != 2 || err != nil {
		t.Errorf("retry two: %d, %v", n, err)
	}
	for _, id := range ids[:2] {
		if rec := get(b, q, id); rec.Status != queue.StatusPending || rec.Attempt != 0 || rec.DedupKey != "" ||
			len(rec.Attempts) == 0 {
			t.Errorf("a retried dead letter: %+v; want it pending, all attempts left, its history kept, the key "+
				"that another holds given up", rec)
		}
	}
	if n, err := queue.PurgeDead(t.Context(), b.box, outbox.DeadFilter{Error: "b"}); n != 1 || err != nil {
		t.Errorf("purge one: %d, %v", n, err)
	}
	if n, err := queue.RetryDead(t.Context(), b.box, outbox.DeadFilter{Queue: "mail", Limit: 10}); n != 1 ||
		err != nil {
		t.Errorf("retry the rest: %d, %v", n, err)
	}
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	for _, id := range []int64{ids[0], ids[1], ids[3], holder} {
		reach(b, q, id, queue.StatusDelivered)
	}
	_, err := q.Get(t.Context(), b.box, ids[2])
	wantError(t, err, queue.ErrNotFound)
}

// More dead letters than one transaction takes.
func TestDeadLettersRetryManyChunks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("mail", queue.Config{})
	putMany(b, q, 1234)
	b.exec(`UPDATE public.strunk_outbox SET status = 'dead', finished_at = now() WHERE key = 'mail'`)
	if n, err := queue.RetryDead(t.Context(), b.box, outbox.DeadFilter{Limit: 700}); n != 700 || err != nil {
		t.Errorf("retried %d, %v; want 700", n, err)
	}
	if n, err := queue.RetryDead(t.Context(), b.box, outbox.DeadFilter{}); n != 534 || err != nil {
		t.Errorf("retried %d, %v; want the other 534", n, err)
	}
}

func TestDeadHookIsCalled(t *testing.T) {
	t.Parallel()
	died := make(chan queue.DeadLetter, 10)
	hook := queue.Middleware{Dead: func(_ context.Context, letter queue.DeadLetter) { died <- letter }}
	b := bedOn(t, outboxtest.New(t), outbox.Config{Extensions: []outbox.Extension{hook}})
	q := queue.Define[note]("mail", queue.Config{})
	id := deadLetters(b, q, "gone")[0]
	if l := receive(t, "the hook, for a handler's outcome", died); l.ID != id || l.LastError != "gone" ||
		!strings.Contains(string(l.Payload), "gone") {
		t.Errorf("%+v", l)
	}
	crashed := put(b, q, note{"crash"}, queue.MaxAttempts(1))
	child := spawnWorker(b, q.Name(), toTheKill, 1)
	awaitStarted(t, child, 1)
	child.Kill()
	b.expireLeases()
	b.run()
	if l := receive(t, "the hook, for a lost worker", died); l.ID != crashed || l.Queue != "mail" ||
		l.LastError != "the worker was lost" {
		t.Errorf("%+v", l)
	}
}
