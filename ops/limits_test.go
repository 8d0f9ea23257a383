package ops_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	keyLimitsOverHTTP(t, h, emails)
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

// What is different for a customer key is set, listed page by page, refused and taken away.
func keyLimitsOverHTTP(t *testing.T, h http.Handler, emails string) {
	t.Helper()
	answer[ops.KeyLimits](t, h, emails+"set-key-limits", `{"customer_key":"acme","weight":9}`)
	acme := answer[ops.KeyLimits](t, h, emails+"set-key-limits", `{"customer_key":"acme","running":20}`)
	globex := answer[ops.KeyLimits](t, h, emails+"set-key-limits",
		`{"customer_key":"globex","weight":3,"rate":{"count":5,"seconds":60,"burst":2}}`)
	first := get[ops.KeyLimitsList](t, h, emails+"key-limits?limit=1")
	rest := get[ops.KeyLimitsList](t, h, emails+"key-limits?limit=5&after="+first.Next)
	want := []ops.KeyLimits{{Queue: "emails", CustomerKey: "acme", Running: 20},
		{Queue: "emails", CustomerKey: "globex", Weight: 3,
			Rate: &ops.Rate{Count: 5, Per: ops.Duration{Duration: time.Minute}, Burst: 2}}}
	if diff := cmp.Diff(want, append(first.KeyLimits, rest.KeyLimits...)); diff != "" || rest.Next != "" {
		t.Errorf("the limits of keys (-want +got): %s, after them %q", diff, rest.Next)
	}
	if diff := cmp.Diff(want, []ops.KeyLimits{acme, globex}); diff != "" {
		t.Errorf("what was answered (-want +got): %s", diff)
	}
	for _, c := range []struct{ body, reason string }{
		{`{"customer_key":"acme"}`, "nothing is different, which is probably a mistake"},
		{`{"weight":2}`, "of which key?"},
		{`{"customer_key":"acme","weight":101}`, "more than MaxWeight"},
		{`{"customer_key":"acme","running":-1}`, "no limit is negative"},
		{`{"customer_key":"a\u0000","weight":2}`, "PostgreSQL stores no NUL"},
		{`{"customer_key":"acme","rate":{"count":5,"seconds":0,"burst":1}}`, "five in no time"},
		{`{"customer_key":"acme","wieght":2}`, "is misspelt"},
	} {
		if status, body, _ := do(t, h, request{method: "POST", path: emails + "set-key-limits", token: changeToken,
			body: c.body}); status != 400 {
			t.Errorf("%s (%s): %d %s", c.body, c.reason, status, body)
		}
	}
	for i, changed := range []int64{1, 0} {
		if done := post(t, h, emails+"delete-key-limits", `{"customer_key":"acme"}`); done.Changed != changed {
			t.Errorf("taken away, time %d: %+v", i+1, done)
		}
	}
	left := get[ops.KeyLimitsList](t, h, emails+"key-limits")
	if diff := cmp.Diff(want[1:], left.KeyLimits); diff != "" {
		t.Errorf("left (-want +got): %s", diff)
	}
}
