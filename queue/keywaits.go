package queue

import (
	"container/heap"
	"time"
)

// keyWait is a key whose rate lets its next task begin at a time.
type keyWait struct {
	key string
	at  time.Time
}

// keyWaits is a heap of them, the next first.
type keyWaits []keyWait

func (w *keyWaits) add(key string, at time.Time) { heap.Push(w, keyWait{key, at}) }

// due removes and returns the keys whose time has come, and returns when the next one's does; zero for none.
func (w *keyWaits) due(now time.Time) (keys []string, next time.Time) {
	for len(*w) > 0 {
		if at := (*w)[0].at; at.After(now) {
			return keys, at
		}
		keys = append(keys, heap.Pop(w).(keyWait).key)
	}
	return keys, time.Time{}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (w keyWaits) Len() int           { return len(w) }
func (w keyWaits) Less(i, j int) bool { return w[i].at.Before(w[j].at) }
func (w keyWaits) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *keyWaits) Push(x any)        { *w = append(*w, x.(keyWait)) }
func (w *keyWaits) Pop() any {
	old := *w
	last := old[len(old)-1]
	*w = old[:len(old)-1]
	return last
}
