package events

import "encoding/json"

// Raw returns the stream with each state as its JSON, for code that passes states on without
// reading them. It is the same declaration: entity type, previous names and checks are those of s.
func (s *Stream[T]) Raw() *Stream[json.RawMessage] {
	if s == nil || s.def == nil {
		return &Stream[json.RawMessage]{}
	}
	return newStream(s.def, func(doc json.RawMessage) string {
		var state T
		if json.Unmarshal(doc, &state) != nil {
			return "" // the publish reports an empty id
		}
		return s.id(state)
	})
}
