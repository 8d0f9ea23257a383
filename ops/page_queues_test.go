package ops_test

import (
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/ops"
)

func TestQueuesAreSortedFilteredAndChanged(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	const script = `<script>alert(1)</script>`
	exec(t, pool, `SELECT public.strunk_enqueue('q' || i, '{}') FROM generate_series(100, 204) i`)
	exec(t, pool, `SELECT public.strunk_enqueue($1, '{}')`, script)
	die(t, pool, "q104", `{}`, "no", 2)
	exec(t, pool, `SELECT public.strunk_pause_queue('q150', 'maintenance', 'ann')`)
	carl, rita := browse(t, h, changeToken), browse(t, h, readToken)
	list := rita.see("queues?sort=name")
	shows(t, list, "<small>106</small>", `id="q-q100"`, "&lt;script&gt;", `rel="next" href="queues?from=50`)
	hides(t, list, script, `id="q-q150"`, "Pause all …")
	shows(t, rita.see("queues?sort=name&from=100"), `id="q-q204"`)
	shows(t, rita.see("queues?state=paused"), "q150", "<small>1 match</small>")
	if view := rita.see("queues?sort=dead"); strings.Index(view, "q-q104") > strings.Index(view, "q-q100") {
		t.Errorf("the queue with dead letters is not first: %s", view[:3000])
	}
	if status, _, _ := rita.send("GET", "queues?sort=colour", ""); status != http.StatusBadRequest {
		t.Errorf("a column that is not there: %d", status)
	}
	shows(t, rita.see("queue?name=q150"), "Paused since", "maintenance", "No process works this queue",
		"Nothing limits this queue")
	hides(t, rita.see("queue?name=q150"), "confirm?op=")
	shows(t, carl.act("confirm?op=set_limits&queue=q150&back=queue%3Fname%3Dq150", "running", "7", "rate.count", "100",
		"rate.seconds", "1m", "fifo", "true"), "<dt>Running at once</dt><dd>7</dd>", "100 in 1m", "FIFO")
	shows(t, carl.see("confirm?op=set_limits&queue=q150&running=7&rate.count=100&rate.seconds=1m&fifo=true"),
		"strunk limits q150 --running 7 --rate 100/1m --fifo")
	shows(t, carl.act("confirm?op=hold_queue&queue=q150&back=queue%3Fname%3Dq150", "for_seconds", "10m", "customer_key",
		"acme", "reason", "too fast"), "customer key acme", "too fast", "Put on hold: until")
	hides(t, carl.see("queue?name=q150"), "set_key_limits") // where all keys are alike whatever is set
	carl.act("confirm?op=set_limits&queue=q150", "fair", "true")
	ofKey := linkTo(t, carl.see("queue?name=q150"), "Limits of one customer key …")
	shows(t, carl.act(ofKey, "customer_key", "acme & co", "weight", "3"), "with limits of their own",
		`<th scope="row" dir="auto">acme &amp; co</th><td class="n">3</td><td class="n">–</td><td>–</td>`,
		"customer_key=acme%20%26%20co")
	shows(t, carl.see("confirm?op=set_key_limits&queue=q150&customer_key=acme%20%26%20co&weight=3"),
		"strunk key-limits q150 &#39;acme &amp; co&#39; --weight 3<")
	rated := carl.act(ofKey, "customer_key", "slow", "rate.count", "10", "rate.seconds", "1m", "rate.burst", "2")
	shows(t, rated, "<td>10 in 1m, of which 2 at once</td>")
	change := rated[strings.Index(rated, "customer_key=slow&amp;rate.burst=2"):]
	shows(t, carl.see("confirm?op=set_key_limits&queue=q150&"+html.UnescapeString(change[:strings.Index(change, `"`)])),
		"strunk key-limits q150 slow --rate 10/1m0s/2<", `value="10"`)
	carl.act("confirm?op=delete_key_limits&queue=q150&customer_key=slow")
	shows(t, carl.see("confirm?op=delete_key_limits&queue=q150&customer_key=-x"),
		"strunk key-limits q150 --none -- -x<")
	hides(t, rita.see("queue?name=q150"), "confirm?op=")
	hides(t, carl.act("confirm?op=delete_key_limits&queue=q150&customer_key=acme%20%26%20co&back=queue%3Fname%3Dq150"),
		"with limits of their own")
	hides(t, carl.act("confirm?op=lift_hold&queue=q150&customer_key=acme&back=queue%3Fname%3Dq150"), "too fast")
	shows(t, carl.act("confirm?op=delete_limits&queue=q150&back=queue%3Fname%3Dq150"), "Nothing limits this queue")
	carl.act("confirm?op=resume_queue&queue=q150")
	if q, err := ops.QueueStats(t.Context(), box, "q150"); err != nil || q.PausedAt != nil {
		t.Errorf("%+v %v", q, err)
	}
	shows(t, carl.act("confirm?op=pause_all_queues&back=queues", "reason", "fire"), "All queues are paused", "fire")
}

func TestErrorsAreGroupedAndRetried(t *testing.T) {
	t.Parallel()
	h, box, pool := serve(t, ops.Config{})
	carl, rita := browse(t, h, changeToken), browse(t, h, readToken)
	const why = `dial tcp 10.0.0.7:25: <script>alert(1)</script> refused`
	die(t, pool, "emails", `{}`, why, 4)
	die(t, pool, "sms", `{}`, "the handler panicked: nil map", 1)
	exec(t, pool, `INSERT INTO public.strunk_failures (failed_at, n, kind, name, fingerprint, error)
		SELECT now(), 4, 'task', 'emails', public.strunk_fingerprint($1), $1
		UNION ALL SELECT now() - interval '3 hours', 1, 'task', 'sms',
			public.strunk_fingerprint($2), $2`, why, "the handler panicked: nil map")
	list := rita.see("errors")
	shows(t, list, "2 kinds", "&lt;script&gt;", `<em class="bad">panic</em>`, `<em class="warn">new</em>`, "<polyline",
		`<a href="queue?name=emails">`)
	hides(t, list, "<script>alert", "confirm?op=")
	hides(t, rita.see("errors?of=sms"), "dial tcp")
	group := "errors?group=" + urlEncoded(queryOne[string](t, pool, `SELECT public.strunk_fingerprint($1)`, why))
	shows(t, rita.see(group), "The newest dead letters", "10.0.0.7:25")
	view := carl.see(group)
	first := linkTo(t, view, "Retry one first …")
	shows(t, carl.see(first), "<b>4</b> in all", "--one-first", " checked")
	shows(t, carl.see(linkTo(t, view, "Retry at 20/s …")), `value="20"`, "--rate 20")
	shows(t, carl.act(first), "Bulk job", "One first", "running")
	jobs, err := ops.Jobs(t.Context(), box, ops.JobFilter{})
	if err != nil || len(jobs) != 1 || !jobs[0].OneFirst || jobs[0].Act != ops.ActRetry {
		t.Errorf("%+v %v", jobs, err)
	}
}

func TestSearchFinds(t *testing.T) {
	t.Parallel()
	h, _, pool := serve(t, ops.Config{})
	seed(t, pool)
	rita := browse(t, h, readToken)
	leads := func(q, want string) {
		t.Helper()
		status, text, header := rita.send("GET", "search?q="+urlEncoded(q), "")
		if status != http.StatusSeeOther || header.Get("Location") != want {
			t.Errorf("%q leads to %d %q, want %q: %s", q, status, header.Get("Location"), want, text)
		}
	}
	leads("indexer", "subscriber?name=indexer")
	leads("emails", "queue?name=emails")
	exec(t, pool, `SELECT public.strunk_publish('order', 'o-77', '{}')`)
	leads("o-77", "entity?id=o-77&type=order")
	exec(t, pool, `SELECT public.strunk_enqueue('emails', '{}') FROM generate_series(1, 9)`) // orders are 1 to 5
	id := queryOne[int64](t, pool, `SELECT max(id) FROM public.strunk_outbox_tasks`)
	leads(str(id), "task?id="+str(id))
	shows(t, rita.see("search?q=EMAI"), `<a href="queue?name=emails">emails</a>`, "Look through", `value="EMAI"`)
	shows(t, rita.see("search?q="+urlEncoded("<script>nothing")), "is called so", "&lt;script&gt;")
	shows(t, rita.see("search"), "Search for a task")
}
