package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// The answer and the bodies of the operations on bulk jobs.
type (
	// JobList is a page of bulk jobs.
	JobList struct {
		Jobs []Job  `json:"jobs"`
		Next string `json:"next,omitempty"`
	}
	// JobBody is the body of start_job: an act, what chooses the tasks, and how it is done. See NewJob.
	JobBody struct {
		Act         Act             `json:"act"`
		Status      string          `json:"status,omitempty"`
		Queue       string          `json:"queue,omitempty"`
		CustomerKey string          `json:"customer_key,omitempty"`
		DedupKey    string          `json:"dedup_key,omitempty"`
		Error       string          `json:"error,omitempty"`
		Fingerprint string          `json:"fingerprint,omitempty"`
		Metadata    json.RawMessage `json:"metadata_contains,omitempty"`
		Payload     json.RawMessage `json:"payload_contains,omitempty"`
		OlderThan   Duration        `json:"older_than_seconds,omitzero"`
		YoungerThan Duration        `json:"younger_than_seconds,omitzero"`
		DueAt       *time.Time      `json:"due_at,omitempty"`
		Priority    *int            `json:"priority,omitempty"`
		Reason      string          `json:"reason,omitempty"`
		PerSecond   float64         `json:"per_second,omitempty"`
		OneFirst    bool            `json:"one_first,omitempty"`
		// All says that the act is for all tasks that it can be for: needed where nothing else chooses some.
		All bool `json:"all,omitempty"`
	}
	// JobRateBody is the body of set_job_rate.
	JobRateBody struct {
		// PerSecond is 0 for no rate.
		PerSecond float64 `json:"per_second"`
	}
)

// jobOperations are the operations on bulk jobs.
func jobOperations() []operation {
	return []operation{
		reading("list_jobs", "/v1/jobs", "Bulk jobs, newest first", listJobs,
			parameter{"state", "string", "running, stopped, done or failed"}, after, upTo),
		reading("get_job", "/v1/jobs/{id}", "One bulk job", func(c *call) (Job, error) { return onJob(c, ReadJob) }),
		reading("preview_job", "/v1/jobs/preview", "How many tasks a bulk job would try", previewJob,
			append([]parameter{{"act", "string",
				"retry, run_now, reschedule, set_priority, cancel, discard or delete"}},
				filterParameters...)...),
		changing("start_job", "/v1/jobs/start", "Do something to every task that matches", startJob),
		changing("stop_job", "/v1/jobs/{id}/stop", "Stop a bulk job", func(c *call, _ none) (Job, error) {
			return onJob(c, StopJob)
		}),
		changing("resume_job", "/v1/jobs/{id}/resume", "Have a bulk job that was stopped or has failed go on",
			func(c *call, _ none) (Job, error) { return onJob(c, ResumeJob) }),
		changing("set_job_rate", "/v1/jobs/{id}/rate", "Bound how many tasks a bulk job tries in a second",
			func(c *call, b JobRateBody) (Job, error) {
				return onJob(c, func(ctx context.Context, box *outbox.Box, id int64) (Job, error) {
					return SetJobRate(ctx, box, id, b.PerSecond)
				})
			}),
	}
}

func onJob(c *call, run func(context.Context, *outbox.Box, int64) (Job, error)) (Job, error) {
	id, err := c.id()
	if err != nil {
		return Job{}, err
	}
	return run(c.ctx, c.box, id)
}

func listJobs(c *call) (list JobList, err error) {
	page, err := c.page()
	if err != nil {
		return list, err
	}
	from, err := parseID(page.After)
	if err == nil {
		list.Jobs, err = Jobs(c.ctx, c.box, JobFilter{State: JobState(c.query.Get("state")), After: from,
			Limit: page.Limit})
	}
	if n := len(list.Jobs); n > 0 && n == page.Limit {
		list.Next = fmt.Sprint(list.Jobs[n-1].ID)
	}
	return list, err
}

func previewJob(c *call) (Preview, error) {
	f, err := c.taskFilter()
	if err != nil {
		return Preview{}, err
	}
	return PreviewJob(c.ctx, c.box, NewJob{Act: Act(c.query.Get("act")), Filter: f})
}

// startJob refuses what chooses nothing, unless it says that all are meant.
func startJob(c *call, b JobBody) (Job, error) {
	f := TaskFilter{Status: queue.Status(b.Status), Queue: b.Queue, CustomerKey: b.CustomerKey, DedupKey: b.DedupKey,
		Error: b.Error, Fingerprint: b.Fingerprint, Metadata: b.Metadata, Payload: b.Payload,
		OlderThan: b.OlderThan.Duration, YoungerThan: b.YoungerThan.Duration}
	if f.choosesAll() != b.All {
		return Job{}, fmt.Errorf("give all, or what chooses some: %w", ErrInvalid)
	}
	if err := c.maySearch(f); err != nil {
		return Job{}, err
	}
	return StartJob(c.ctx, c.box, NewJob{Act: b.Act, Filter: f, DueAt: b.DueAt, Priority: b.Priority, Reason: b.Reason,
		PerSecond: b.PerSecond, OneFirst: b.OneFirst, By: c.actor()})
}

// choosesAll reports whether nothing but a status chooses.
func (f TaskFilter) choosesAll() bool {
	return f.Queue+f.CustomerKey+f.DedupKey+f.Error+f.Fingerprint == "" && len(f.Metadata)+len(f.Payload) == 0 &&
		f.OlderThan == 0 && f.YoungerThan == 0
}
