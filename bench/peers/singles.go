package main

import (
	"context"
	"slices"
	"time"
)

// addSingly enqueues one task a transaction, beside a worker process and without.
func (b *bench) addSingly(ctx context.Context) error {
	adder, err := b.openAgent(ctx)
	if err != nil {
		return err
	}
	if b.peer.kind == forTasks {
		if err := b.addBesideWorker(ctx, adder); err != nil {
			return err
		}
	}
	return b.addAll(adder, func(s single) bool { return !s.worker })
}

func (b *bench) addBesideWorker(ctx context.Context, adder *process) error {
	worker, err := b.warmWorker(ctx, adder, 0)
	if err != nil {
		return err
	}
	if err := b.addAll(adder, func(s single) bool { return s.worker }); err != nil {
		return err
	}
	_, err = worker.ask(request{Do: doStop})
	return err
}

func (b *bench) addAll(adder *process, wanted func(single) bool) error {
	for _, s := range slices.Collect(filter(singles, wanted)) {
		said, err := adder.ask(request{Do: doAdd, Clients: s.clients, Row: s.row, For: b.sizes.addFor.Microseconds()})
		if err != nil {
			return err
		}
		b.add(s.line, perSecond(said))
	}
	return nil
}

// filter goes through those that are wanted.
func filter[T any](all []T, wanted func(T) bool) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for _, v := range all {
			if wanted(v) && !yield(v) {
				return
			}
		}
	}
}

func perSecond(said answer) float64 {
	return float64(said.N) / (time.Duration(said.Took) * time.Microsecond).Seconds()
}
