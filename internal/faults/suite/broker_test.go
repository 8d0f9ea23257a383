package suite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/inbox/receive"
	"github.com/strunk-go/strunk/internal/brokertest"
	"github.com/strunk-go/strunk/internal/faults/histories"
)

const (
	// forwarder is the name of the forwarder, and sentTo where it sends at the broker, which is in the process of the
	// test: what may happen to it are faults of its own.
	forwarder = "forwarder"
	sentTo    = "log"
)

// sink is that of the forwarder in a child.
func sink() forward.Sink {
	return &brokertest.FakeSink{Client: http.DefaultClient, Address: os.Getenv("CHILD_BROKER"), Destination: sentTo,
		Config: brokertest.Config{Create: true}}
}

// seenAtBroker returns what a consumer sees in messages.
func (r *round) seenAtBroker(messages []receive.Message) (seen []histories.Seen) {
	for _, m := range messages {
		var state entity
		r.must(json.Unmarshal(m.Data, &state))
		s := histories.Seen{State: histories.State{Entity: m.Attributes["subject"], Mark: state.Intent}}
		_, err := fmt.Sscan(m.Attributes["version"], &s.Version)
		r.must(err)
		seen = append(seen, s)
	}
	return seen
}
