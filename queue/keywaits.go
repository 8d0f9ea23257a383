package queue

import (
	"container/heap"
	"time"
)

// keyWait is a key whose rate, or whose hold, lets its next task begin at a time.
type keyWait struct {
	key string
	at  time.Time
}

// keyWaits says when keys that are held up are to be looked at again. The zero value is none.
type keyWaits struct {
	order keyWaitHeap
	next  map[string]time.Time // the earliest look at each key
}

// add plans a look at a key, unless an earlier one is planned: that one finds out what holds the key up then.
func (w *keyWaits) add(key string, at time.Time) {
	if next, planned := w.next[key]; planned && !at.Before(next) {
		return
	}
	if w.next == nil {
		w.next = map[string]time.Time{}
	}
	w.next[key] = at
	heap.Push(&w.order, keyWait{key, at})
}

// due removes and returns the keys whose time has come, and returns when the next one's does; zero for none.
func (w *keyWaits) due(now time.Time) (keys []string, next time.Time) {
	for len(w.order) > 0 {
		if at := w.order[0].at; at.After(now) {
			return keys, at
		}
		key := heap.Pop(&w.order).(keyWait).key
		keys = append(keys, key)
		if at := w.next[key]; !at.After(now) {
			delete(w.next, key)
		}
	}
	return keys, time.Time{}
}

// keyWaitHeap has the next key first.
type keyWaitHeap []keyWait

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h keyWaitHeap) Len() int           { return len(h) }
func (h keyWaitHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h keyWaitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *keyWaitHeap) Push(x any)        { *h = append(*h, x.(keyWait)) }
func (h *keyWaitHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
