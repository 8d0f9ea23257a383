package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// Preview says how many tasks a bulk job would try.
type Preview struct {
	// Matching is exact, or at_least where MaxExamine tasks were looked at and there are more.
	Matching Count `json:"matching"`
	// Examined is how many tasks were looked at.
	Examined int64 `json:"examined"`
}

const (
	// sqlTaskFilter checks filter $2 for act $1, and reads up to which id it counts.
	sqlTaskFilter = `SELECT {schema}.strunk_task_filter($1::text, $2::text::jsonb)::text,
	(SELECT s.last_value FROM {schema}.strunk_outbox_id_seq s)`
	// sqlMatching counts what filter $2 chooses for act $1 of the next $5 tasks with ids above $3, up to $4.
	sqlMatching = `SELECT pg_catalog.cardinality(m.ids), m.last_id, m.examined, m.over
FROM {schema}.strunk_matching($1::text, $2::text::jsonb, $3::bigint, $4::bigint, $5::integer, NULL) m`
)

// PreviewJob counts what a bulk job would do, and starts none: by a look at MaxExamine tasks at most. In SQL it
// is strunk_preview_job. Errors: [ErrInvalid].
func PreviewJob(ctx context.Context, box *outbox.Box, n NewJob) (p Preview, err error) {
	filter, err := n.filter()
	var until, last int64
	var over bool
	if err == nil {
		err = refusal(ask(ctx, box, one(sqlTaskFilter, []any{string(n.Act), filter}, &filter, &until)))
	}
	for err == nil && !over && p.Examined < MaxExamine {
		var matching, examined int64
		err = ask(ctx, box, one(sqlMatching, []any{string(n.Act), filter, last, until, examinedAtOnce}, &matching,
			&last, &examined, &over))
		p.Matching.N, p.Examined = p.Matching.N+matching, p.Examined+examined
	}
	if p.Matching.Precision = AtLeast; over {
		p.Matching.Precision = Exact
	}
	if err != nil {
		return Preview{}, wrap("preview job", err)
	}
	return p, nil
}

// jobFilter is a TaskFilter as strunk_start_job reads it.
type jobFilter struct {
	Status      string          `json:"status,omitempty"`
	Queue       string          `json:"queue,omitempty"`
	CustomerKey string          `json:"customer_key,omitempty"`
	DedupKey    string          `json:"dedup_key,omitempty"`
	Error       string          `json:"error,omitempty"`
	Fingerprint string          `json:"fingerprint,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	OlderThan   float64         `json:"older_than_seconds,omitempty"`
	YoungerThan float64         `json:"younger_than_seconds,omitempty"`
}

// filter returns the filter as JSON, checked.
func (n NewJob) filter() (string, error) {
	f := n.Filter
	if err := f.check(); err != nil {
		return "", err
	}
	if f.After != "" || f.Limit != 0 || f.Examine != 0 {
		return "", fmt.Errorf("NewJob.Filter: After, Limit and Examine are for pages: %w", ErrInvalid)
	}
	doc, err := json.Marshal(jobFilter{string(f.Status), f.Queue, f.CustomerKey, f.DedupKey, f.Error, f.Fingerprint,
		f.Metadata, f.Payload, seconds(f.OlderThan), seconds(f.YoungerThan)})
	if err != nil {
		return "", fmt.Errorf("NewJob.Filter: %w: %w", err, ErrInvalid)
	}
	return string(doc), nil
}

func seconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }
