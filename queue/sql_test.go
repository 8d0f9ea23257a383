package queue_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/strunk-go/strunk/internal/pgserver"
	"github.com/strunk-go/strunk/outbox/outboxtest"
	"github.com/strunk-go/strunk/queue"
)

// psql runs a script as a person would, and returns what it printed.
func psql(t *testing.T, b *bed, script string) string {
	t.Helper()
	program, err := pgserver.Psql()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", outboxtest.DSN(b.pool), "-c",
		script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// What SQL enqueues is what Go enqueues.
func TestEnqueueFromPsqlAndTriggers(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("from-sql", queue.Config{})
	got := make(chan queue.Task[note], 10)
	b.run(q.Worker(func(_ context.Context, task queue.Task[note]) error { got <- task; return nil },
		queue.PollInterval(soon)))

	id := psql(t, b, `SELECT public.strunk_enqueue('from-sql', '{"text": "psql"}', priority => 7, dedup_key =>
		'k', max_attempts => 3, metadata => '{"a": "b"}')`)
	if task := receive(t, "the task of psql wakes the worker", got); task.Payload.Text != "psql" ||
		strconv.FormatInt(task.ID, 10) != id ||
		task.Priority != 7 || task.DedupKey != "k" || task.MaxAttempts != 3 || task.Metadata["a"] != "b" {
		t.Errorf("psql enqueued %+v", task)
	}
	psql(t, b, `
		CREATE TABLE public.orders (id integer, status text);
		CREATE FUNCTION public.shipped() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM public.strunk_enqueue('from-sql', json_build_object('text', 'order ' || NEW.id));
			RETURN NEW;
		END $$;
		CREATE TRIGGER shipped AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.shipped()`)
	psql(t, b, `BEGIN; INSERT INTO public.orders VALUES (1, 'x'); ROLLBACK; INSERT INTO public.orders VALUES (2, 'x')`)
	if task := receive(t, "the trigger's task", got); task.Payload.Text != "order 2" {
		t.Errorf("the trigger enqueued %+v; want order 2 alone", task)
	}
	ids := psql(t, b, `SELECT public.strunk_enqueue('from-sql', delay => '1 hour', dedup_key => 'd') =
		public.strunk_enqueue('from-sql', dedup_key => 'd')`)
	if ids != "t" {
		t.Error("a duplicate did not get the first task's id")
	}
}

// A person at psql can cancel, pause and bring back.
func TestOperateFromPsql(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	q := queue.Define[note]("from-sql", queue.Config{})
	id := put(b, q, note{"x"})
	key := strconv.FormatInt(id, 10)
	if state := psql(t, b, `SELECT public.strunk_cancel(`+key+`, 'by hand')`); state != "cancelled" {
		t.Errorf("strunk_cancel: %s", state)
	}
	psql(t, b, `SELECT public.strunk_pause_queue('from-sql')`)
	if got := psql(t, b, `SELECT last_error FROM public.strunk_outbox WHERE status = 'cancelled' AND key =
		'from-sql'`); got != "cancelled: by hand" {
		t.Errorf("the cancelled task says %q", got)
	}
	psql(t, b, `UPDATE public.strunk_outbox SET status = 'pending', attempts = 0 WHERE id = `+key)
	psql(t, b, `SELECT public.strunk_resume_queue('from-sql')`)
	b.run(q.Worker(func(context.Context, queue.Task[note]) error { return nil }))
	reach(b, q, id, queue.StatusDelivered)
}

// Whoever draws a seq has a transaction id already: the low watermarks wait for ids, so a task of a
// transaction without one could be passed. The trigger runs after the seq was drawn and before the
// insert, which would assign an id by itself. Now and then a sequence assigns one, hence several.
func TestEnqueueDrawsItsTransactionIDFirst(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.exec(`CREATE FUNCTION public.has_id() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			ASSERT pg_current_xact_id_if_assigned() IS NOT NULL, 'a seq was drawn without a transaction id';
			RETURN NEW;
		END $$`)
	b.exec(`CREATE TRIGGER has_id BEFORE INSERT ON public.strunk_outbox_tasks FOR EACH ROW EXECUTE FUNCTION
		public.has_id()`)
	for i := range 5 {
		b.exec(`SELECT public.strunk_enqueue('first')`)
		b.exec(`SELECT public.strunk_enqueue('first', dedup_key => $1)`, strconv.Itoa(i))
	}
}

// JSON is taken as a literal, an untyped parameter, text, json and jsonb, with the other arguments
// by name and by place.
func TestSQLTakesEachKindOfJSON(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, doc := range []string{`'{"text": "x"}'`, `$$ {"text": "x"} $$`, `'{"text": "x"}'::text`,
		`'{"text": "x"}'::varchar`, `'{"text": "x"}'::json`, `'{"text": "x"}'::jsonb`,
		`json_build_object('text', 'x')`, `to_jsonb(r)`} {
		calls := []string{`public.strunk_enqueue('kinds', ` + doc + `)`,
			`public.strunk_enqueue('kinds', ` + doc + `, 5)`,
			`public.strunk_enqueue(queue => 'kinds', payload => ` + doc + `, metadata => '{"a": "b"}')`,
			`public.strunk_enqueue('kinds', '{}', metadata => ` + doc + `)`,
			`public.strunk_publish('kind', '1', ` + doc + `)`,
			`public.strunk_publish('kind', '1', ` + doc + `, '1.0', '{"a": "b"}', '[]')`,
			`public.strunk_publish('kind', '1', '{}', diff => ` + doc + `)`}
		const from = ` FROM (SELECT 'x' AS text) r`
		psql(t, b, `SELECT `+strings.Join(calls, from+`; SELECT `)+from)
	}
	b.exec(`SELECT public.strunk_enqueue('kinds', $1)`, `{"text": "x"}`)
	b.exec(`SELECT public.strunk_publish('kind', '1', $1)`, `{"text": "x"}`)
	psql(t, b, `SELECT public.strunk_enqueue('kinds'), public.strunk_publish('kind', '1', deleted => true)`)
	if n := value[int](b, `SELECT count(*) FROM public.strunk_outbox WHERE kind = 'task'
		AND payload ->> 'text' = 'x'`); n != 8*3+1 {
		t.Errorf("%d tasks have their payload; want 25", n)
	}
	if _, err := b.pool.Exec(t.Context(), `SELECT public.strunk_enqueue('kinds', 'no JSON')`); err == nil {
		t.Error("what is no JSON was enqueued")
	}
}
