package ops

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Live is what live updates and metrics show, read at one moment.
type Live struct {
	At      time.Time `json:"at"`
	Overall Overall   `json:"overall"`
	Health  Report    `json:"health"`
	Queues  []Queue   `json:"queues"`
	// Subscribers and Queues are the first Config.MetricSeries by name; Truncated says that there are more.
	Subscribers []Subscriber `json:"subscribers"`
	Truncated   bool         `json:"truncated"`
	Forwarders  []Forwarder  `json:"forwarders"`

	// RelayWaiting is how long the first event that waits for the relay has done so; 0 where none does.
	RelayWaiting Duration `json:"relay_waiting_seconds"`

	queueTotals, subscriberTotals []counted

	loops   map[string]outbox.LoopStatus
	holders []Horizon
	notify  float64
}

// ReadLive reads the state of everything at one moment, with at most series queues and subscribers.
func ReadLive(ctx context.Context, box *outbox.Box, t Thresholds, series int) (Live, error) {
	if err := t.validate(); err != nil {
		return Live{}, wrap("live", err)
	}
	n, err := limit(series)
	if err != nil {
		return Live{}, wrap("live", err)
	}
	return live(ctx, box, n, stateOf(box, t.withDefaults()))
}

// live adds to the state of the whole what each of series queues and subscribers counts.
func live(ctx context.Context, box *outbox.Box, series int, of func(context.Context) (state, error)) (Live, error) {
	st, err := of(ctx)
	if err != nil {
		return Live{}, wrap("live", err)
	}
	l := Live{At: st.now, Overall: st.overall, Health: st.report, loops: st.loops, holders: st.holders,
		notify: st.notify}
	var exemplars []exemplarOf
	err = ask(ctx, box, tablesQuestion(&l.Overall.Tables), queuesQuestion(&l.Queues, "", series, ListCountCap),
		subscribersQuestion(&l.Subscribers, "", series, ListCountCap),
		forwardersQuestion(&l.Forwarders, "", series, ListCountCap),
		totalsQuestion(&l.queueTotals, core.CountersOfQueue),
		totalsQuestion(&l.subscriberTotals, core.CountersOfSubscriber), exemplarsQuestion(&exemplars))
	if err != nil {
		return Live{}, wrap("live", err)
	}
	addExemplars(l.queueTotals, core.CountersOfQueue, exemplars)
	addExemplars(l.subscriberTotals, core.CountersOfSubscriber, exemplars)
	for _, table := range l.Overall.Tables {
		l.Overall.TableBytes += table.TotalBytes
	}
	if st.relaySince != nil {
		l.RelayWaiting.Duration = st.now.Sub(*st.relaySince)
	}
	l.Truncated = len(st.queues) > len(l.Queues) || len(st.subscribers) > len(l.Subscribers)
	l.boundTotals(series)
	return l, nil
}

// stream sends Live as server-sent events.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	if parameters(w, r) {
		s.sendEvents(w, r, s.liveEvent)
	}
}

// sendEvents sends what next returns as server-sent events, each Config.Refresh, until the client goes, Config.Done is
// closed or DefaultStreamFor is over.
func (s *server) sendEvents(w http.ResponseWriter, r *http.Request, next nextEvent) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		unavailable(w, "too_many_streams", "there are too many live streams already")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	end := time.NewTimer(DefaultStreamFor)
	defer end.Stop()
	tick := time.NewTicker(s.cfg.Refresh)
	defer tick.Stop()
	for {
		if name, doc := next(r.Context()); !s.send(w, out, name, doc) {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-s.cfg.Done:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// nextEvent returns the name and the document of the next event of a stream.
type nextEvent func(context.Context) (name string, doc []byte)

func (s *server) liveEvent(ctx context.Context) (name string, doc []byte) {
	now, err := s.shared.get(ctx)
	if err == nil {
		doc, err = json.Marshal(now)
	}
	if err != nil {
		core.BoxHost(s.box).Logger().Warn("strunk: a live update failed", "error", err)
		return "problem", []byte(`{"code":"internal","message":"the database could not be asked; trying again"}`)
	}
	return "live", doc
}

// send writes one event; a client that does not read within the timeout is dropped.
func (s *server) send(w http.ResponseWriter, out *http.ResponseController, name string, doc []byte) bool {
	_ = out.SetWriteDeadline(time.Now().Add(s.cfg.Timeout)) // not every writer can
	if _, err := w.Write([]byte("event: " + name + "\ndata: " + string(doc) + "\n\n")); err != nil {
		return false
	}
	return out.Flush() == nil
}
