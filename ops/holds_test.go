package ops_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strunk-go/strunk/ops"
)

// Holds are set, listed in pages and lifted, in Go and over HTTP alike, and a queue says that it is on hold.
func TestHolds(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	for _, hold := range []ops.NewHold{{Queue: "sms", CustomerKey: "umbrella"}, {Queue: "mail"}, {Queue: "sms"},
		{Queue: "sms", CustomerKey: "acme"}} {
		hold.For, hold.Reason = time.Hour, "the provider asks for a pause"
		if _, err := ops.SetHold(t.Context(), box, hold); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, pool, `SELECT public.strunk_hold('over', now());
		UPDATE public.strunk_holds SET until = now() - interval '1 s' WHERE queue = 'over'`)
	checkHolds(t, get[ops.HoldList](t, h, "/v1/holds").Holds, "mail", "sms", "sms acme", "sms umbrella")
	page := get[ops.HoldList](t, h, "/v1/holds?queue=sms&limit=2")
	checkHolds(t, page.Holds, "sms", "sms acme")
	page = get[ops.HoldList](t, h, fmt.Sprintf("/v1/holds?queue=sms&after_queue=%s&after_key=%s", page.NextQueue,
		page.NextKey))
	checkHolds(t, page.Holds, "sms umbrella")
	if hold := page.Holds[0]; hold.Reason != "the provider asks for a pause" || hold.HeldBy == "" ||
		hold.Until.Sub(hold.Since).Round(time.Minute) != time.Hour {
		t.Errorf("%+v", hold)
	}
	q, err := ops.QueueStats(t.Context(), box, "sms")
	if err != nil || q.HeldUntil == nil || q.PausedAt != nil {
		t.Errorf("a queue on hold: %+v, %v", q, err)
	}
	if done := post(t, h, "/v1/queues/sms/hold", `{"for_seconds":7200}`); !strings.HasPrefix(done.State, "until 2") {
		t.Errorf("%+v", done)
	}
	for _, body := range []string{`{}`, `{"customer_key":"acme"}`} {
		if done := post(t, h, "/v1/queues/sms/lift-hold", body); done.Changed != 1 {
			t.Errorf("%s: %+v", body, done)
		}
	}
	if done := post(t, h, "/v1/queues/sms/lift-hold", `{}`); done.Changed != 0 {
		t.Errorf("there was nothing to lift any more: %+v", done)
	}
	checkHolds(t, get[ops.HoldList](t, h, "/v1/holds").Holds, "mail", "sms umbrella")
	for _, bad := range []ops.NewHold{{Queue: "sms"}, {Queue: "sms", For: 2 * ops.MaxHold}, {For: 1},
		{Queue: "sms", For: 1, CustomerKey: strings.Repeat("k", 501)}} {
		if _, err := ops.SetHold(t.Context(), box, bad); !errors.Is(err, ops.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func checkHolds(t *testing.T, holds []ops.Hold, want ...string) {
	t.Helper()
	var got []string
	for _, h := range holds {
		got = append(got, strings.TrimSpace(h.Queue+" "+h.CustomerKey))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
