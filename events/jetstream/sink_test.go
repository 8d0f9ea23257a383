package jetstream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/strunk-go/strunk/events/forward"
)

// A message that is not looked at closely because its bound is small enough must be as small.
func TestSizeBoundIsNotBelowTheSize(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"1", "", "a b\"c%d", "größe", "line\r\nbreak", strings.Repeat("long ", 100)} {
		for _, structured := range []bool{false, true} {
			m := &forward.Message{ID: id, Source: id, EntityType: "order", EntityID: id, Version: 7, Position: 8,
				Time: time.Unix(1, 2), Metadata: map[string]string{id: id}, Data: json.RawMessage(`{"a":1}`)}
			msg := (&sink{cfg: Config{Structured: structured}}).message(m)
			if bound, size := sizeBound(msg), int64(msg.Size()); bound < size || size < int64(len(msg.Data)) {
				t.Errorf("id %q, structured %v: the bound is %d, the size %d", id, structured, bound, size)
			}
		}
	}
}
