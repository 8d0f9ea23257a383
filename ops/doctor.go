package ops

import (
	"context"
	"fmt"
	"strings"

	"github.com/strunk-go/strunk/outbox"
)

// Finding is one thing that Doctor has looked at.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Found  string `json:"found"`
}

// oldestServer is the oldest major version of PostgreSQL that strunk is for.
const oldestServer = 14

// Doctor looks below the surface: at the tables' maintenance, their indexes, and what holds PostgreSQL's vacuum back.
// The command doctor of the program strunk compares the tables with the migrations too, see outbox.Check.
func Doctor(ctx context.Context, box *outbox.Box) ([]Finding, error) {
	report, err := Health(ctx, box, Thresholds{})
	if err != nil {
		return nil, err
	}
	return examine(ctx, box, report)
}

// examine is Doctor with a report that was read before.
func examine(ctx context.Context, box *outbox.Box, report Report) ([]Finding, error) {
	version, err := serverVersion(ctx, box)
	if err != nil {
		return nil, err
	}
	found := []Finding{version}
	for _, name := range []string{CheckHorizon, CheckPartitions, CheckNotify} {
		check := report.Check(name)
		found = append(found, Finding{check.Name, check.Status, check.Message})
	}
	looks := []func(context.Context, *outbox.Box) (Finding, error){deadRows, invalidIndexes, consistency}
	for _, look := range looks {
		f, err := look(ctx, box)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

func serverVersion(ctx context.Context, box *outbox.Box) (Finding, error) {
	server, err := ServerVersion(ctx, box)
	f := Finding{"version", StatusOK, fmt.Sprintf("PostgreSQL %s, strunk's tables at version %d", server.Version,
		outbox.LatestVersion())}
	if server.Major < oldestServer {
		f.Status, f.Found = StatusFail, f.Found+fmt.Sprintf("; PostgreSQL %d is the oldest that is supported",
			oldestServer)
	}
	return f, err
}

// deadRows says whether vacuum keeps up: many dead rows, compared with the living, say that it does not.
func deadRows(ctx context.Context, box *outbox.Box) (Finding, error) {
	worst, err := WorstDeadRows(ctx, box)
	if err != nil || worst == nil {
		return Finding{"dead rows", StatusOK, "vacuum keeps up with every table"}, err
	}
	return Finding{"dead rows", StatusWarn, fmt.Sprintf("%s has %d dead rows and %d living ones: see what "+
		"holds the horizon back, then VACUUM it", worst.Table, worst.Dead, worst.Live)}, nil
}

func invalidIndexes(ctx context.Context, box *outbox.Box) (Finding, error) {
	names, err := InvalidIndexes(ctx, box)
	if err != nil {
		return Finding{}, err
	}
	if len(names) > 0 {
		return Finding{"invalid indexes", StatusFail, strings.Join(names, ", ") +
			": `strunk migrate` builds what it has begun anew; DROP others"}, nil
	}
	return Finding{"invalid indexes", StatusOK, "every index is valid"}, nil
}

func consistency(ctx context.Context, box *outbox.Box) (Finding, error) {
	text, err := Inconsistencies(ctx, box)
	if err != nil {
		return Finding{}, err
	}
	if text != "" {
		return Finding{"consistency", StatusFail, text}, nil
	}
	return Finding{"consistency", StatusOK, "sequences, fence and head go with the tables"}, nil
}
