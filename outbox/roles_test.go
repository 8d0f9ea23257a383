package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

type order struct {
	ID     string
	Status string
}

var orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})

// internalFunctions are called by strunk's own functions, or by the owner's reaper.
var internalFunctions = []string{
	"strunk_act_on", "strunk_act_on_each",
	"strunk_add_error", "strunk_add_to_sums", "strunk_add_to_totals", "strunk_admission_key",
	"strunk_admit_keys", "strunk_advance_feed", "strunk_announce", "strunk_announce_tasks",
	"strunk_attach_partition", "strunk_cancel_waiting", "strunk_keep_worker",
	"strunk_enqueue_follow_up", "strunk_finish_batch", "strunk_fold_batch", "strunk_hold_batch_open",
	"strunk_note_deleted", "strunk_note_members", "strunk_publish_outcomes", "strunk_sum_of_changes",
	"strunk_cap_rates", "strunk_count_admitted", "strunk_count_all", "strunk_give_turns",
	"strunk_take_turns", "strunk_turn_step", "strunk_crash_states", "strunk_days_of_ids", "strunk_dead_letter_delivery",
	"strunk_delivered_task", "strunk_document_bytes",
	"strunk_epoch_holds", "strunk_forget_feed_partition", "strunk_holds_key", "strunk_mend_feed",
	"strunk_ensure_task_partition", "strunk_is_partition", "strunk_make_feed_partition",
	"strunk_mend_feed_partitions", "strunk_highest_id", "strunk_feed_ahead", "strunk_raise_head",
	"strunk_key_rate", "strunk_mend_edits", "strunk_mend_rates", "strunk_rate_us", "strunk_rates_ahead",
	"strunk_take_dedup_key", "strunk_wrong_rate",
	"strunk_next_delivery", "strunk_next_epoch", "strunk_pay", "strunk_quota_key", "strunk_raise_floor",
	"strunk_recount", "strunk_rename_subscriber", "strunk_sum_arrays",
	"strunk_tokens", "strunk_rate_step", "strunk_store_ended",
	"strunk_reap_steps", "strunk_store_late",
	"strunk_enqueue_keyed", "strunk_enqueue_or_find", "strunk_enqueue_or_replace", "strunk_enqueue_in_period",
	"strunk_tasks_to_enqueue",
	"strunk_pauses", "strunk_revive", "strunk_revive_delivery", "strunk_schedule_enqueue", "strunk_schema_parts",
	"strunk_take_delivered", "strunk_task_part",
	"strunk_failure_sums", "strunk_fold_failures",
	"strunk_queue_heads", "strunk_forget_counters", "strunk_forget_failures",
	"strunk_tell_workers", "strunk_whoami", "strunk_fingerprint",
	"strunk_note_failure", "strunk_why_not_admitted",
	"strunk_why_not_claimed", "strunk_write_task",
}

// roles is a database with the roles of Grants, under a prefix of its own.
type roles struct {
	owner  *pgxpool.Pool
	prefix string
}

func newRoles(t *testing.T) *roles {
	t.Helper()
	r := &roles{owner: outboxtest.New(t), prefix: fmt.Sprintf("strunk_test_%x", rand.Uint64())}
	text, err := outbox.Grants(outbox.GrantsConfig{RolePrefix: r.prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.drop(t) })
	mustExec(t, r.owner, text)
	mustExec(t, r.owner, text) // again, as after a migration
	return r
}

func (r *roles) drop(t *testing.T) {
	for _, role := range []string{outbox.RoleOperator, outbox.RoleReader, outbox.RoleSubscriber, outbox.RoleWorker,
		outbox.RoleProducer} {
		name := pgx.Identifier{r.name(role)}.Sanitize()
		if _, err := r.owner.Exec(context.Background(), "DROP OWNED BY "+name+"; DROP ROLE "+name); err != nil {
			t.Error(err)
		}
	}
}

func (r *roles) name(role string) string { return r.prefix + "_" + role }

// as returns a pool whose connections, and those beside it, have a role from the start.
func (r *roles) as(t *testing.T, role string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(outboxtest.DSN(r.owner))
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["role"] = r.name(role)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if got := query[string](t, pool, `SELECT current_user`); got != r.name(role) {
		t.Fatalf("connected as %s; want %s", got, r.name(role))
	}
	return pool
}

// TestRolesCanDoTheirWorkOnly has each role do its work, end to end, and be refused that of the others.
func TestRolesCanDoTheirWorkOnly(t *testing.T) {
	t.Parallel()
	t.Run("privileges", testPrivileges)
	t.Run("work", testWork)
}

// testPrivileges compares what the catalogue says with what is meant, for every function and table.
func testPrivileges(t *testing.T) {
	r := newRoles(t)
	// A function that is there for several types is named with its arguments.
	const named = `(SELECT p.oid, (CASE WHEN count(*) OVER (PARTITION BY p.proname) > 1
			THEN p.proname || '(' || oidvectortypes(p.proargtypes) || ')' ELSE p.proname::text END) COLLATE "C" AS name
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace AND starts_with(p.proname, 'strunk_')) f`
	functions := query[[]string](t, r.owner, `SELECT array_agg(name ORDER BY name) FROM `+named)
	granted := outbox.GrantedFunctions()
	known := slices.Clone(internalFunctions)
	for role, want := range granted {
		known = append(known, want...)
		got := query[[]string](t, r.owner, `SELECT coalesce(array_agg(name ORDER BY name), '{}')
			FROM `+named+` WHERE has_function_privilege($1, oid, 'EXECUTE')`, r.name(role))
		slices.Sort(want)
		if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
			t.Errorf("what %s may execute (-want +got):\n%s", role, diff)
		}
	}
	for _, f := range functions {
		if !slices.Contains(known, f) {
			t.Errorf("%s is for nobody: put it into grants() in grants.go, or, if only strunk's own functions "+
				"call it, into internalFunctions", f)
		}
	}
	writes := map[string][]string{}
	for role := range maps.Keys(granted) {
		writes[role] = query[[]string](t, r.owner, `SELECT coalesce(array_agg(relname::text || ' ' || p
			ORDER BY relname, p), '{}')
			FROM pg_catalog.pg_class, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
			WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
			AND has_table_privilege($1, oid, p)`, r.name(role))
	}
	want := map[string][]string{"producer": {}, "worker": {"strunk_workers INSERT"}, "subscriber": {}, "reader": {},
		"operator": {"strunk_outbox UPDATE", "strunk_tasks DELETE", "strunk_tasks UPDATE"}}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("what may be written past the functions (-want +got):\n%s", diff)
	}
}

// refused runs statements and wants each refused for want of a privilege.
func refused(t *testing.T, pool *pgxpool.Pool, role string, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := pool.Exec(t.Context(), statement)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != pgerrcode.InsufficientPrivilege {
			t.Errorf("%s: %s: %v; want it refused", role, statement, err)
		}
	}
}

const (
	anEnqueue = `SELECT public.strunk_enqueue('jobs')`
	aPublish  = `SELECT public.strunk_publish('order', '1', '{}')`
	aClaim    = `SELECT * FROM public.strunk_claim(1, 1, 'jobs', 1, NULL, NULL)`
	aRead     = `SELECT * FROM public.strunk_outbox`
	aRevival  = `UPDATE public.strunk_outbox SET status = 'pending' WHERE status = 'dead'`
	aPurge    = `SELECT public.strunk_purge_ended('{1}')`
	aDeletion = `DELETE FROM public.strunk_outbox`
	aNumber   = `SELECT nextval('public.strunk_outbox_id_seq')`
	aDrop     = `DROP TABLE public.strunk_outbox`
	aLeaf     = `SELECT * FROM public.strunk_outbox_tasks`
	aFeed     = `SELECT * FROM public.strunk_read_feed(ARRAY['order'], 0, 1, 1000)`
	aSwitch   = `SELECT public.strunk_schedule_switch('s', false, NULL, false)`
	aRewind   = `SELECT * FROM public.strunk_rewind('s', 0, false)`
)

func testWork(t *testing.T) {
	r := newRoles(t)
	ctx := t.Context()

	producer := r.as(t, outbox.RoleProducer)
	produce(t, openBox(t, producer, outbox.Config{}))
	refused(t, producer, "producer", aClaim, aRead, aRevival, aPurge, aDeletion, aDrop, aFeed, aSwitch, aRewind)

	worker := r.as(t, outbox.RoleWorker)
	box := openBox(t, worker, outbox.Config{Retention: outbox.Retention{Every: 100 * time.Millisecond}})
	if _, err := schedule.Register(ctx, box, "tick", jobs, job{N: 9}, "every 100ms"); err != nil {
		t.Fatal(err)
	}
	var ticks, done atomic.Int64
	stopWorker := start(t, box, schedule.Runner(), jobs.Worker(func(_ context.Context, task queue.Task[job]) error {
		switch task.Payload.N {
		case 9:
			ticks.Add(1)
		case 0:
			return queue.ErrPoison
		default:
			done.Add(1)
		}
		return nil
	}))
	testkit.Eventually(t, "tasks are worked on, and schedules fire",
		func() bool { return done.Load() == 3 && ticks.Load() >= 3 })
	testkit.Eventually(t, "the maintenance is done, but for what takes the owner", func() bool {
		well := query[[]string](t, r.owner, `SELECT coalesce(array_agg(loop ORDER BY loop), '{}')
			FROM public.strunk_loops WHERE last_ok_at IS NOT NULL AND last_error IS NULL`)
		return slices.Equal(well, []string{"counter", "jobs", "promoter", "reaper of rows", "relay", "rescue",
			"scheduler"})
	})
	stopWorker()
	refused(t, worker, "worker", anEnqueue, aPublish, aRevival, aPurge, aDeletion, aDrop, aLeaf, aFeed, aSwitch,
		aRewind)

	subscriber := r.as(t, outbox.RoleSubscriber)
	var seen atomic.Int64
	stopSubscriber := start(t, openBox(t, subscriber, outbox.Config{}),
		orders.Subscriber("indexer", func(context.Context, events.Event[order]) error {
			seen.Add(1)
			return nil
		}, events.From(events.FromBeginning)))
	testkit.Eventually(t, "events are handled", func() bool { return seen.Load() == 2 })
	stopSubscriber()
	refused(t, subscriber, "subscriber", anEnqueue, aPublish, aClaim, aRead, aRevival, aPurge, aDeletion, aDrop,
		aLeaf, aSwitch, aRewind)

	testOperators(t, r)
}

func produce(t *testing.T, box *outbox.Box) {
	t.Helper()
	err := box.InTx(t.Context(), func(tx *outbox.OwnedTx) error {
		for n := range 3 {
			if _, err := jobs.Enqueue(t.Context(), tx, job{N: n}); err != nil {
				return err
			}
			if _, err := jobs.Enqueue(t.Context(), tx, job{N: 2}, queue.DedupKey("one")); err != nil {
				return err
			}
		}
		for _, status := range []string{"placed", "shipped"} {
			if _, err := orders.Publish(t.Context(), tx, order{ID: "1", Status: status}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testOperators(t *testing.T, r *roles) {
	t.Helper()
	ctx := t.Context()
	for _, role := range []string{outbox.RoleReader, outbox.RoleOperator} {
		pool := r.as(t, role)
		box := openBox(t, pool, outbox.Config{})
		read(t, role, box, pool)
		if report, err := outbox.CheckPayloads(ctx, box, 0, jobs, orders); err != nil || report.Checked == 0 {
			t.Errorf("%s: check payloads: %+v, %v", role, report, err)
		}
		refused(t, pool, role, anEnqueue, aPublish, aClaim, aDeletion, aDrop, aFeed)
	}
	refused(t, r.as(t, outbox.RoleReader), "reader", aNumber, aRevival, aPurge, aSwitch, aRewind)

	box := openBox(t, r.as(t, outbox.RoleOperator), outbox.Config{})
	if err := schedule.Disable(ctx, box, "tick"); err != nil {
		t.Error(err)
	}
	if _, err := schedule.RunNow(ctx, box, "tick"); err != nil {
		t.Error(err)
	}
	if err := jobs.Pause(ctx, box, ""); err != nil {
		t.Error(err)
	}
	if err := jobs.Resume(ctx, box); err != nil {
		t.Error(err)
	}
	if err := errors.Join(queue.PauseAll(ctx, box, "maintenance"), queue.ResumeAll(ctx, box)); err != nil {
		t.Error(err)
	}
	if err := events.Reset(ctx, box, "indexer"); err != nil {
		t.Error(err)
	}
	if tag, err := box.Pool().Exec(ctx, aRevival); err != nil || tag.RowsAffected() != 1 {
		t.Errorf("operator: %s: %v, %v; want one row", aRevival, tag, err)
	}
}

// read asks for everything that dashboards show.
func read(t *testing.T, role string, box *outbox.Box, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := box.Loops(t.Context()); err != nil {
		t.Errorf("%s: loops: %v", role, err)
	}
	if _, err := schedule.List(t.Context(), box); err != nil {
		t.Errorf("%s: schedules: %v", role, err)
	}
	if _, err := ops.OverallStats(t.Context(), box); err != nil {
		t.Errorf("%s: %v", role, err)
	}
	if _, err := ops.Health(t.Context(), box, ops.Thresholds{}); err != nil {
		t.Errorf("%s: %v", role, err)
	}
	for _, view := range query[[]string](t, pool, `SELECT array_agg(relname::text) FROM pg_catalog.pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'`) {
		if _, err := pool.Exec(t.Context(), `SELECT * FROM public.`+view); err != nil {
			t.Errorf("%s: %s: %v", role, view, err)
		}
	}
}

func TestGrantsNeedsNames(t *testing.T) {
	t.Parallel()
	for _, cfg := range []outbox.GrantsConfig{{RolePrefix: `a"b`}, {RolePrefix: "pg_mine"}, {Schema: "a'b"},
		{RolePrefix: string(make([]byte, 60))}} {
		if text, err := outbox.Grants(cfg); err == nil {
			t.Errorf("%+v gave %d bytes of SQL", cfg, len(text))
		}
	}
}
