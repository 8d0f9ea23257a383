package queue

import (
	"context"
	"sync"
	"time"

	"github.com/strunk-go/strunk/internal/core"
)

// gatherPause is how long questions are gathered before they go out.
const gatherPause = 5 * time.Millisecond

// gathering asks the database in one statement what several sessions of a process want to know. Questions that come
// while a statement is under way go out together with the next one, so that one connection is all it takes.
type gathering[Q, A any] struct {
	turn chan struct{} // held while a statement is under way
	mu   sync.Mutex
	next *gathered[Q, A] // the questions of the next statement; nil for none
}

// gathered are the questions of one statement, and from done on their answers.
type gathered[Q, A any] struct {
	questions []Q
	done      chan struct{}
	answers   []A
	err       error
}

func newGathering[Q, A any]() *gathering[Q, A] { return &gathering[Q, A]{turn: make(chan struct{}, 1)} }

// asker sends a statement that answers questions, in their order.
type asker[Q, A any] func(ctx context.Context, questions []Q) ([]A, error)

// put adds a question and returns what it goes out with, and its place there. The statement is sent by the asker of the
// question that came first, and ends with its end.
func (g *gathering[Q, A]) put(end context.Context, ask asker[Q, A], question Q) (with *gathered[Q, A], place int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		g.next = &gathered[Q, A]{done: make(chan struct{})}
		go g.send(end, ask, g.next)
	}
	g.next.questions = append(g.next.questions, question)
	return g.next, len(g.next.questions) - 1
}

func (g *gathering[Q, A]) send(end context.Context, ask asker[Q, A], with *gathered[Q, A]) {
	defer close(with.done)
	core.Sleep(end, gatherPause)
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	ctx, cancel := context.WithTimeout(end, claimTimeout)
	defer cancel()
	with.answers, with.err = ask(ctx, with.questions)
}

// at is the answer to the question at a place; after done.
func (w *gathered[Q, A]) at(place int) (a A, err error) {
	if w.err != nil {
		return a, w.err
	}
	return w.answers[place], nil
}
