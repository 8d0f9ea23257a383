package queue

import (
	"errors"
	"slices"
)

// SharedSlots bounds how many handlers of several workers run at once in this process, all together: one pool for many
// kinds of tasks. Make it with [Slots], and give it to each of the workers as an option.
//
// A task takes a slot when it is claimed, and gives it up when its handler has returned or was left behind. A worker
// without a free slot claims nothing: what it could not begin is left to other processes. One worker alone may have
// all slots. Where several want more than there are, each slot that becomes free goes to the worker that has the
// fewest for its [SlotWeight]. [MinSlots] are kept for a worker. [Concurrency] is how many slots a worker may have at
// most; without it, all.
//
// Workers of several boxes may share slots, and processes do not: that is [Limits.Running]. Batch workers and workers
// at a broker cannot. Safe for concurrent use.
type SharedSlots struct {
	size int
	slotTable
}

// Slots makes n slots, from 1 to MaxConcurrency, for workers to share.
func Slots(n int) *SharedSlots { return &SharedSlots{size: n, slotTable: slotTable{free: n}} }

func (s *SharedSlots) applyWorker(o *workerOptions) {
	if o.slots = s; s == nil {
		o.slots = &SharedSlots{} // which is refused
	}
}

// MinSlots keeps n of the slots that a worker shares for it, from when Run checks it until Run ends, also while it
// has nothing to do; without it 0. Slots that other handlers have by then are kept as soon as those have returned.
func MinSlots(n int) WorkerOption {
	return workerOption(func(o *workerOptions) { o.minSlots = &n })
}

// SlotWeight sets a worker's weight among those that share slots, from 1 to 1000; without it 1. Where all want more
// slots than there are, a worker of weight 3 has three times as many as one of weight 1.
func SlotWeight(n int) WorkerOption {
	return workerOption(func(o *workerOptions) { o.slotWeight = &n })
}

const maxSlotWeight = 1000

// settleSlots sets what depends on the slots that are shared: nobody has more of them than there are.
func (o *workerOptions) settleSlots() {
	if o.slots == nil || o.slots.size < 1 {
		return
	}
	if !o.concurrencyGiven {
		o.concurrency = min(o.slots.size, MaxConcurrency)
	}
	o.concurrency = min(o.concurrency, o.slots.size)
}

func (o workerOptions) slotProblems() (errs []error) {
	if o.slots == nil {
		if o.minSlots != nil || o.slotWeight != nil {
			errs = append(errs, errors.New("MinSlots and SlotWeight are options of workers that share Slots"))
		}
		return errs
	}
	errs = append(errs, checkRange("Slots", o.slots.size, 1, MaxConcurrency))
	if o.minSlots != nil {
		errs = append(errs, checkRange("MinSlots", *o.minSlots, 0, max(o.concurrency, 0)))
	}
	if o.slotWeight != nil {
		errs = append(errs, checkRange("SlotWeight", *o.slotWeight, 1, maxSlotWeight))
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// newShare returns the worker's share of slots; nil where it shares none.
func (o workerOptions) newShare() *slotShare {
	if o.slots == nil {
		return nil
	}
	sh := &slotShare{slots: o.slots, most: o.concurrency, weight: orElse(o.slotWeight, 1)}
	sh.min = orElse(o.minSlots, 0)
	return sh
}
