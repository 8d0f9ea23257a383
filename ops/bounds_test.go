package ops_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// load fills a database with n rows: of 100, 20 are pending in 100 queues, 10 scheduled, 48
// delivered tasks, 20 events in the feed; beside them 200 workers with 2,000 claimed tasks, 50
// subscribers, 300,000 failures of 35 queues in a day, and a hundredth of n, at most 100,000, dead
// letters. Half of what is pending is of one queue, and a third of what is dead of it and of one
// subscriber. Nothing is vacuumed: every count has to look at the rows.
func load(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	const columns = `(id, seq, created_at, due_at, finished_at, attempts, priority, status, kind, key, payload)`
	dead := max(min(n/100, 100_000), 10_000)
	for _, sql := range []string{
		`ALTER TABLE public.strunk_outbox_tasks SET (autovacuum_enabled = off)`,
		`ALTER TABLE public.strunk_outbox_dead SET (autovacuum_enabled = off)`,
		`ALTER TABLE public.strunk_outbox_cancelled SET (autovacuum_enabled = off)`,
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_tasks %s SELECT i, i, now(), NULL, NULL, 0, i %% 3,
			'pending', 'task', 'queue-' || lpad(CASE WHEN i %% 2 = 0 THEN '42' ELSE (i::bigint * 7919 %%
			100)::text END, 3, '0'), '{"n":1}'
			FROM generate_series(1, %d) i`, columns, n/5),
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_tasks %s SELECT i, i, now(), now() + (i - 20000000) *
			interval '1 s', NULL, 0, 0, 'scheduled', 'task', 'queue-' || lpad((i::bigint * 7919 %% 100)::text,
			3, '0'), '{"n":1}'
			FROM generate_series(20000001, %d) i`, columns, 20000000+n/10),
		`INSERT INTO public.strunk_workers (id, lease_ms, pid, concurrency, queue, host) SELECT i, 30000, i, 10,
			'queue-' || lpad((i % 100)::text, 3, '0'), 'h' FROM generate_series(1, 200) i`,
		`INSERT INTO public.strunk_outbox_tasks (id, seq, created_at, claimed_at, worker_id, claim_no, status,
			kind, key, payload)
			SELECT 30000000 + i, 30000000 + i, now(), now(), i % 200 + 1, i, 'claimed', 'task',
			'queue-' || lpad(((i % 200 + 1) % 100)::text, 3, '0'), '{}' FROM generate_series(1, 2000) i`,
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_delivered_tasks %s SELECT i, i, now(), NULL, now(), 1, 0,
			'delivered', 'task', 'queue-' || lpad((i %% 100)::text, 3, '0'), '{"n":1}'
			FROM generate_series(40000001, %d) i`, columns, 40000000+n*48/100),
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_dead (id, seq, created_at, finished_at, attempts, status,
			kind, key, subscriber, last_error, payload)
			SELECT i, i, now(), now(), 12, 'dead', CASE WHEN i %% 2 = 0 THEN 'task' ELSE 'delivery' END,
			CASE WHEN i %% 2 = 0 THEN 'queue-' || CASE WHEN i %% 3 = 0 THEN '042' ELSE lpad((i / 2 %% 100)::text, 3,
			'0') END ELSE 'type-1' END,
			CASE WHEN i %% 2 = 1 THEN 'sub-' || CASE WHEN i %% 3 = 0 THEN '07' ELSE lpad((i / 2 %% 50)::text, 2,
			'0') END END, 'failed', '{}' FROM generate_series(60000001, %d) i`, 60000000+dead),
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_cancelled (id, seq, created_at, finished_at, attempts, status,
			kind, key, last_error, payload)
			SELECT i, i, now(), now(), 1, CASE WHEN i %% 2 = 0 THEN 'cancelled' ELSE 'discarded' END, 'task',
			'queue-' || CASE WHEN i %% 3 = 0 THEN '042' ELSE lpad((i / 2 %% 100)::text, 3, '0') END, 'no', '{}'
			FROM generate_series(60000001, %d) i`, 60000000+dead),
		// Partitions of the feed, as they come of themselves while it grows.
		fmt.Sprintf(`DO $$ BEGIN
			LOOP
				UPDATE public.strunk_feed SET head = least(%d, (SELECT max(past) - 1
				FROM public.strunk_feed_partitions)), high = %d;
				PERFORM public.strunk_ensure_feed_partitions();
				EXIT WHEN (SELECT head FROM public.strunk_feed) = %d;
			END LOOP; END $$`, n/5, n/5, n/5),
		fmt.Sprintf(`INSERT INTO public.strunk_outbox_delivered_events (id, seq, position, version, created_at,
			finished_at, status, kind, key, entity_id, payload)
			SELECT 70000000 + i, i, i, 1, now(), now(), 'delivered', 'event', 'type-' || i %% 10, (i %%
			1000)::text, '{}' FROM generate_series(1, %d) i`, n/5),
		`INSERT INTO public.strunk_subscribers (cursor, started, lease_ms, name, entity_type, start) SELECT i,
			i, 30000, 'sub-' || lpad(i::text, 2, '0'), 'type-' || i % 10, 'beginning' FROM generate_series(0, 49) i`,
		// A subscriber whose entities have 200 deliveries each.
		`INSERT INTO public.strunk_outbox_deliveries (id, seq, position, version, created_at, attempts, status,
			kind, key, entity_id, subscriber, payload)
			SELECT 80000000 + i, i, i, i, now(), 1, 'scheduled', 'delivery', 'type-1', (i % 30)::text, 'parking',
			'{}' FROM generate_series(1, 6000) i`,
		// Two hours of counters, of which the last minutes are not folded, and the sums of two days.
		`INSERT INTO public.strunk_counters (minute, in_totals, kind, name, done)
			SELECT date_trunc('minute', now()) - m * interval '1 minute', m > 3, 'queue',
			'queue-' || lpad(q::text, 3, '0'), 7 FROM generate_series(0, 119) m, generate_series(0, 99) q
 			ORDER BY m DESC, q`, // as they come
		`SELECT public.strunk_add_to_sums(array_agg(c)) FROM public.strunk_counters c WHERE c.in_totals`,
		`INSERT INTO public.strunk_counter_sums (began_at, kind, span_s, name, done)
			SELECT date_trunc('hour', now()) - h * interval '1 hour', 'queue', 3600, q, 420
			FROM generate_series(47, 3, -1) h, (SELECT 'queue-' || lpad(i::text, 3, '0') FROM generate_series(0, 99) i
				UNION ALL SELECT '') x (q)`,
		`INSERT INTO public.strunk_counter_totals (kind, name, done)
			SELECT 'queue', 'queue-' || lpad(q::text, 3, '0'), 7000 FROM generate_series(0, 99) q`,
		`INSERT INTO public.strunk_failure_groups (first_at, last_at, kind, name, fingerprint, example)
			SELECT now() - interval '20 days', now(), 'task', 'queue-' || lpad(q::text, 3, '0'), 'failed ' || e,
			'failed ' || e FROM generate_series(10, 44) q, unnest('{once,again}'::text[]) e`,
		`INSERT INTO public.strunk_failure_counts (counted_at, n, group_id, span_s)
			SELECT date_trunc(s.unit, now()) - m * s.span_s * interval '1 s', s.span_s / 20, g.id, s.span_s
			FROM (VALUES ('minute', 60, 1439), ('hour', 3600, 479)) s (unit, span_s, last),
			generate_series(0, s.last) m, public.strunk_failure_groups g ORDER BY m DESC`,
		`ANALYZE`,
	} {
		exec(t, pool, sql)
	}
}

// bounds are the most buffers (8 KiB) that a question may touch, whatever the number of rows.
// Counts visit a row's page for each that they count: nothing is vacuumed. Rates of two days read 4,800 sums twice, for
// the names and for what was counted; PostgreSQL 18 goes by the index both times, a page for each row.
var bounds = map[string]int64{
	"QueueStats": 2_000, "Queues": 50_000, "Queues of health": 12_000, "SubscriberStats": 1_000,
	"Subscribers": 15_000, "Workers": 2_500,
	"Schedules": 10, "OverallStats": 4_500, "Tables": 100, "Backlog of health": 100, "Horizon": 10, "Task": 90,
	"Ready": 10, "Rates": 2_000, "totals of counters": 200, "Parked": 6_000,
	"Snapshot": 10, "Versions": 2_000, "Entity at subscribers": 2_000, "Replay preview": 500,
	"Events by contract": 1_500, "Running tasks": 6_000, "Audit": 10, "Task states": 6_000,
	"queues of a page": 50_000, "rates of a page": 1_500, "rates of all queues together": 50,
	"rates of all queues together, of two days": 150, "Rates of two days": 12_000, "Rates of a queue in two days": 100,
	"queues by dead letters": 8_000, "queues by waiting tasks": 12_000, "queues by running tasks": 5_000,
	"the result of a task": 100, "trends of errors": 200,
	"error groups": 300, "error groups of 30 days": 1_000, "error groups that are new": 100,
	"error groups of a queue": 300, "entities by id": 500,
	"DeadLetters": 50, "DeadLetters, newest": 50, "DeadLetters of a queue": 50, "DeadLetters of a queue, newest": 50,
	"DeadLetters of a subscriber": 50, "cancelled tasks": 50, "discarded tasks of a queue, newest": 50,
}

// listed are those of listings and of bulk jobs, which look at a thousand tasks: a page of the table for each, and the
// index.
var listed = map[string]int64{
	"running tasks": 2_500, "running tasks of a queue": 2_500, "dead tasks": 2_500, "dead tasks of a queue": 2_500,
	"discarded tasks": 2_500, "cancelled tasks of a queue": 2_500, "delivered tasks": 2_500,
}

// checkBounds asks everything and holds it against the bounds and, where auto_explain is to be had,
// looks at the plans of what the functions do: no scan of a whole table of the outbox, and no node
// that reads more rows than a count may.
func checkBounds(t *testing.T, pool *pgxpool.Pool) map[string]int64 {
	t.Helper()
	var plans []string
	cfg := pool.Config().ConnConfig.Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans = append(plans, n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	watched := watchPlans(t, conn)
	if _, err := conn.Exec(t.Context(), `SET enable_seqscan = off`); err != nil { // as ask does
		t.Fatal(err)
	}
	used := map[string]int64{}
	for _, q := range ops.Questions("queue-042", "sub-07", 40000500, 60000500) {
		sql := strings.ReplaceAll(q.SQL, "{schema}", "public")
		plans = nil
		var doc []byte
		for range 2 { // the first time, the catalogues are read
			if err := conn.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
				`+sql, q.Args...).Scan(&doc); err != nil {
				t.Fatalf("%s: %v", q.Name, err)
			}
		}
		var explained []struct {
			Plan struct {
				Hit  int64 `json:"Shared Hit Blocks"`
				Read int64 `json:"Shared Read Blocks"`
				Temp int64 `json:"Temp Written Blocks"`
			}
		}
		if err := json.Unmarshal(doc, &explained); err != nil {
			t.Fatal(err)
		}
		p := explained[0].Plan
		used[q.Name] = p.Hit + p.Read
		bound, known := bounds[q.Name]
		if !known {
			listing, _, _ := strings.Cut(strings.TrimPrefix(q.Name, "window of "), ",")
			bound, known = listed[listing]
		}
		if !known || p.Hit+p.Read > bound || p.Temp > 0 {
			t.Errorf("%s touches %d buffers, the bound is %d; writes %d temporary ones", q.Name, p.Hit+p.Read, bound,
				p.Temp)
		}
		t.Logf("%-28s %6d buffers of at most %d", q.Name, p.Hit+p.Read, bound)
		if watched && len(plans) == 0 && strings.Contains(sql, "strunk_queue_states") {
			t.Errorf("%s: no plan was seen", q.Name)
		}
		for _, plan := range append(plans, string(doc)) {
			if strings.Contains(plan, "Query Text: EXPLAIN (FORMAT JSON)") {
				continue // an estimate, which is planned and not run
			}
			if m := scanOfAll.FindString(plan); m != "" {
				t.Errorf("%s: %s in\n%s", q.Name, m, plan)
			}
			for _, m := range rowsPassed.FindAllStringSubmatch(plan, -1) {
				loops, _ := strconv.Atoi(m[1])
				if rows, _ := strconv.Atoi(m[2]); rows*loops > ops.CountCap+1 {
					t.Errorf("%s: %d rows are read and thrown away in\n%s", q.Name, rows*loops, plan)
				}
			}
			for _, m := range rowsOfNode.FindAllStringSubmatch(plan, -1) {
				if rows, _ := strconv.Atoi(m[1]); rows > ops.CountCap+1 {
					t.Errorf("%s: a node reads %d rows in\n%s", q.Name, rows, plan)
				}
			}
		}
	}
	return used
}

// scanOfAll is a plan that reads a whole partition of the outbox.
var scanOfAll = regexp.MustCompile(`(?s)Seq Scan on (public\.)?strunk_outbox\w*|` +
	`"Seq Scan",[^{}]*"Relation Name": "strunk_outbox\w*"`)

// rowsOfNode is how many rows a scan of the outbox has returned each time it ran.
var rowsOfNode = regexp.MustCompile(`Scan[^\n]* on (?:public\.)?strunk_outbox[^\n]*\(actual rows=(\d+)`)

// rowsPassed is how often a node ran, and how many rows it has read each time and thrown away.
var rowsPassed = regexp.MustCompile(`loops=(\d+)\)\n` +
	`(?:[^\n]*(?:Cond|Filter|Fetches):[^\n]*\n)*?\s*Rows Removed by Filter: (\d+)`)

// watchPlans has the plans of statements within functions sent as notices; false where the role may not.
func watchPlans(t *testing.T, conn *pgx.Conn) bool {
	for _, sql := range []string{`LOAD 'auto_explain'`, `SET auto_explain.log_min_duration = 0`,
		`SET auto_explain.log_nested_statements = on`, `SET auto_explain.log_analyze = on`,
		`SET auto_explain.log_timing = off`,
		`SET auto_explain.log_level = notice`, `SET client_min_messages = notice`} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Logf("plans within functions are not looked at: %v", err)
			return false
		}
	}
	return true
}

// The bounds are absolute, so what holds for sixty thousand rows and for ten million holds in between.
func TestStatsAreBounded(t *testing.T) {
	t.Parallel()
	_, pool := open(t)
	load(t, pool, 60_000)
	checkBounds(t, pool)
}

// slowRows is how many rows the slow test loads: STRUNK_SLOW_ROWS=10000000 go test ./ops -run
// TenMillion -timeout 60m -v.
const slowRows = "STRUNK_SLOW_ROWS"

func TestStatsOnTenMillionRows(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(slowRows))
	if err != nil {
		t.Skipf("slow: set %s=10000000", slowRows)
	}
	pool := outboxtest.New(t)
	load(t, pool, n)
	checkBounds(t, pool)
	took := 0
	for range 3 { // the first one also marks rows that nobody has read before as committed
		exec(t, pool, `SELECT public.strunk_count(1000000)`)
		took = queryOne[int](t, pool, `SELECT took_ms FROM public.strunk_count_passes`)
		t.Logf("a pass that counts everything takes %d ms; its turn comes every %d s", took, max(15, took/20))
	}
	if took > 8000 {
		t.Error("that is more than a pass may take: it would be given up")
	}
	box, err := outbox.Open(t.Context(), pool, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := outbox.DeadFilter{Limit: ops.MaxLimit}
	total, pages := 0, 0
	for {
		letters, err := ops.DeadLetters(t.Context(), box, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range letters {
			if d.ID <= f.After {
				t.Fatalf("%d after %d", d.ID, f.After)
			}
			f.After = d.ID
			total++
		}
		if pages++; len(letters) < f.Limit {
			break
		}
	}
	if want := queryOne[int](t, pool, `SELECT count(*) FROM public.strunk_outbox_dead`); total != want {
		t.Errorf("%d dead letters page by page, %d there", total, want)
	}
	t.Logf("%d dead letters in %d pages; of the last page: see DeadLetters, newest", total, pages)
}
