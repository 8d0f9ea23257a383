package ops_test

import (
	"testing"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/queue"
)

func TestLimitsOverHTTP(t *testing.T) {
	t.Parallel()
	h, box, _ := serve(t, ops.Config{})
	const emails = "/v1/queues/emails/"
	set := answer[ops.Limits](t, h, emails+"set-limits",
		`{"running":5,"rate":{"count":100,"seconds":60,"burst":20},"fifo":true,"hold_dead":true}`)
	if set.Running == nil || *set.Running != 5 || set.Rate == nil || set.Rate.Count != 100 || !set.HoldDead {
		t.Errorf("the limits that were set are %+v", set)
	}
	inForce, err := queue.Define[any]("emails", queue.Config{}).Limits(t.Context(), box)
	if err != nil || inForce.Running != 5 || inForce.Rate.Burst != 20 || inForce.Rate.Per.Seconds() != 60 ||
		!inForce.FIFO || inForce.RatePerKey.Count != 0 {
		t.Errorf("in force are %+v, %v", inForce, err)
	}
	answer[ops.Limits](t, h, "/v1/queues/sms/set-limits", `{"rate_per_key":{"count":1,"seconds":0.5}}`)
	first := get[ops.LimitsList](t, h, "/v1/limits?limit=1")
	rest := get[ops.LimitsList](t, h, "/v1/limits?limit=1&after="+first.Next)
	if len(first.Limits) != 1 || first.Limits[0].Queue != "emails" || len(rest.Limits) != 1 ||
		rest.Limits[0].RatePerKey.Per.Milliseconds() != 500 || rest.Limits[0].RatePerKey.Burst != 1 {
		t.Errorf("pages: %+v, %+v", first, rest)
	}
	for _, c := range []struct{ body, reason string }{
		{`{}`, "limits nothing, which is probably a mistake"},
		{`{"running":0}`, "a pause says who stopped the queue"},
		{`{"running":-1}`, "no limit is negative"},
		{`{"hold_dead":true}`, "only with fifo"},
		{`{"rate":{"count":1}}`, "in what time?"},
		{`{"runing":5}`, "is misspelt"},
	} {
		if status, body, _ := do(t, h, request{method: "POST", path: emails + "set-limits", token: changeToken,
			body: c.body}); status != 400 {
			t.Errorf("%s (%s): %d %s", c.body, c.reason, status, body)
		}
	}
	if done := post(t, h, emails+"delete-limits", ""); done.Changed != 1 {
		t.Errorf("taken away: %+v", done)
	}
	if done := post(t, h, emails+"delete-limits", ""); done.Changed != 0 {
		t.Errorf("taken away again: %+v", done)
	}
	if l := get[ops.Limits](t, h, emails+"limits"); !l.None() || l.Queue != "emails" {
		t.Errorf("left are %+v", l)
	}
}
