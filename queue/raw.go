package queue

import "encoding/json"

// Raw returns the queue with each payload as its JSON, for code that passes payloads on without
// reading them. It is the same declaration: name, defaults, checks and middleware are those of q.
// Its enqueues are handled by the workers of q, for which a payload that is not a T is an
// [ErrPoison].
func (q *Queue[T]) Raw() *Queue[json.RawMessage] {
	if q == nil || q.def == nil {
		return &Queue[json.RawMessage]{}
	}
	return newQueue[json.RawMessage](q.def)
}
