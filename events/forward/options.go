package forward

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/strunk-go/strunk/events"
)

// Defaults of forwarders.
const (
	// DefaultSource is the CloudEvents source where the option Source names none.
	DefaultSource = "strunk"
	// DefaultInFlight is how many messages may wait for their Ack at once.
	DefaultInFlight = 2000
)

// MaxInFlight bounds InFlight.
const MaxInFlight = lanes * events.MaxBatchSize

// lanes is how many batches are under way at once.
const lanes = 4

// Option changes a forwarder.
type Option interface{ apply(*options) }

type option func(*options)

func (f option) apply(o *options) { f(o) }

type options struct {
	source, schemas string
	inFlight        int
	first, most     time.Duration
	subscribe       []events.SubscribeOption
}

func newOptions(opts []Option) options {
	o := options{source: DefaultSource, inFlight: DefaultInFlight, first: 50 * time.Millisecond, most: 5 * time.Second}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&o)
		}
	}
	return o
}

// Source sets the CloudEvents source, a URI reference that names the publishing application;
// without it [DefaultSource].
func Source(uri string) Option { return option(func(o *options) { o.source = uri }) }

// DataSchema sets where the schemas of the states can be read. An event that has a schema version gets the attribute
// dataschema: the base, the entity type and the version, with slashes between. Without it there is no such attribute.
func DataSchema(base string) Option {
	return option(func(o *options) { o.schemas = strings.TrimSuffix(base, "/") })
}

// InFlight bounds the messages that wait for their Ack at once, each of another entity; without it [DefaultInFlight].
func InFlight(n int) Option { return option(func(o *options) { o.inFlight = n }) }

// Backoff sets the first and the longest wait before a message is sent again; without it 50 ms doubling to 5 s.
func Backoff(first, longest time.Duration) Option {
	return option(func(o *options) { o.first, o.most = first, longest })
}

// From sets where a new forwarder starts, as events.From does for a subscriber.
func From(start events.Start) Option { return subscribe(events.From(start)) }

// VisibilityTimeout sets how long the owner may be silent before another process takes over, as
// events.VisibilityTimeout does for a subscriber.
func VisibilityTimeout(d time.Duration) Option { return subscribe(events.VisibilityTimeout(d)) }

// PollInterval sets how often the forwarder looks for events that no notification announced.
func PollInterval(d time.Duration) Option { return subscribe(events.PollInterval(d)) }

func subscribe(opt events.SubscribeOption) Option {
	return option(func(o *options) { o.subscribe = append(o.subscribe, opt) })
}

func (o options) problems() (problems []error) {
	if o.source == "" {
		problems = append(problems, errors.New("Source: is empty"))
	}
	if o.inFlight < 1 || o.inFlight > MaxInFlight {
		problems = append(problems, fmt.Errorf("InFlight: %d is not from 1 to %d", o.inFlight, MaxInFlight))
	}
	if o.first <= 0 || o.most < o.first {
		problems = append(problems, fmt.Errorf("Backoff: %v to %v: the first must be above 0 and not above the "+
			"longest", o.first, o.most))
	}
	return problems
}
