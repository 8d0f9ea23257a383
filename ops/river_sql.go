package ops

import "strings"

// The statements of an import from River. {river} is the quoted schema of river_job, {schema} that of strunk.
const (
	// sqlRiverThere says whether $1 is a table of River's migration 6 or a later one.
	sqlRiverThere = `SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a
WHERE a.attrelid = pg_catalog.to_regclass($1::text) AND a.attname = 'unique_states' AND NOT a.attisdropped)`

	// sqlRiverTables makes the tables beside river_job: which queue takes which kind, and the jobs that were moved.
	sqlRiverTables = `CREATE TABLE IF NOT EXISTS {river}.river_job_queues (
	kind  text PRIMARY KEY,
	queue text NOT NULL
);
CREATE TABLE IF NOT EXISTS {river}.river_job_moved (
	id       bigint      PRIMARY KEY,
	task_id  bigint      NOT NULL UNIQUE,
	moved_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	kind     text        NOT NULL,
	job      jsonb       NOT NULL
)`
	// sqlRiverQueues writes down the queues $1, a JSON object by kind. Those of an earlier import go.
	sqlRiverQueues = `WITH named AS (
	SELECT n.key AS kind, n.value AS queue FROM pg_catalog.jsonb_each_text($1::jsonb) n),
gone AS (DELETE FROM {river}.river_job_queues q WHERE NOT EXISTS (SELECT FROM named n WHERE n.kind = q.kind))
INSERT INTO {river}.river_job_queues (kind, queue) SELECT n.kind, n.queue FROM named n
ON CONFLICT (kind) DO UPDATE SET queue = excluded.queue`

	// sqlRiverPlan counts the jobs by kind and state; $1 is the queues, as above. It locks nothing.
	sqlRiverPlan = `SELECT coalesce(j.kind, n.key), coalesce(n.value, ''),
	pg_catalog.count(*) FILTER (WHERE j.state = 'available'),
	pg_catalog.count(*) FILTER (WHERE j.state = 'scheduled'),
	pg_catalog.count(*) FILTER (WHERE j.state = 'retryable'),
	pg_catalog.count(*) FILTER (WHERE j.state = 'running')
FROM (SELECT o.kind, o.state FROM {river}.river_job o
	WHERE o.state IN ('available', 'scheduled', 'retryable', 'running')) j
FULL JOIN pg_catalog.jsonb_each_text($1::jsonb) n ON n.key = j.kind
GROUP BY 1, 2 ORDER BY 1`

	// sqlRiverLarge counts the jobs that are to be moved and are larger than a task's payload may be.
	sqlRiverLarge = `SELECT pg_catalog.count(*) FROM {river}.river_job j JOIN {river}.river_job_queues q USING (kind)
WHERE j.state IN ('available', 'scheduled', 'retryable') AND pg_catalog.octet_length(j.args::text) > 1048576`

	// riverMove moves the jobs of which %s holds, and counts them by kind. It locks the jobs, SKIP LOCKED: those that
	// are locked are being taken by River. A unique key is a dedup key only while it binds the job in River too: there
	// are no two such jobs. ord 0 is a deadlock that strunk_enqueue_many has undone.
	riverMove = `WITH job AS MATERIALIZED (
	SELECT j.*, q.queue AS to_queue FROM {river}.river_job j JOIN {river}.river_job_queues q USING (kind)
	WHERE j.state IN ('available', 'scheduled', 'retryable') AND %s
	ORDER BY j.scheduled_at, j.id FOR UPDATE OF j SKIP LOCKED),
gone AS (DELETE FROM {river}.river_job d USING job WHERE d.id = job.id),
task AS MATERIALIZED (
	SELECT job.id, job.kind, e.ord, e.id AS task_id, e.duplicate
	FROM job CROSS JOIN LATERAL {schema}.strunk_enqueue_many(ARRAY[job.to_queue], ARRAY[job.args::text],
		ARRAY[4 - job.priority]::smallint[],
		ARRAY[CASE WHEN job.max_attempts < 1000 THEN job.max_attempts ELSE 1000 END]::smallint[], NULL,
		CASE WHEN job.scheduled_at > pg_catalog.now() THEN ARRAY[job.scheduled_at] END,
		CASE WHEN job.unique_key IS NOT NULL AND {river}.river_job_state_in_bitmask(job.unique_states, job.state)
			THEN ARRAY['river:' || pg_catalog.encode(job.unique_key, 'hex')] END, NULL,
		ARRAY[(SELECT coalesce(pg_catalog.jsonb_object_agg(m.key, coalesce(m.value, '')), '{}')
			|| pg_catalog.jsonb_build_object('river_id', job.id::text, 'river_kind', job.kind, 'river_queue', job.queue,
				'river_tags', pg_catalog.array_to_string(job.tags, ','))
			FROM pg_catalog.jsonb_each_text(job.metadata) m)::text], true) e),
kept AS (
	INSERT INTO {river}.river_job_moved (id, task_id, kind, job)
	SELECT job.id, task.task_id, job.kind, pg_catalog.to_jsonb(job) - 'to_queue' FROM job JOIN task USING (id)
	WHERE NOT task.duplicate AND task.ord > 0)
`
	// riverPast gives the tasks of moved jobs of which %s holds the attempts, the age and the last error of the job.
	riverPast = `UPDATE {schema}.strunk_outbox_tasks t
SET attempts = CASE WHEN (m.job->>'attempt')::integer < t.max_attempts THEN (m.job->>'attempt')::integer
		ELSE t.max_attempts - 1 END,
	created_at = CASE WHEN (m.job->>'created_at')::timestamptz < t.created_at THEN (m.job->>'created_at')::timestamptz
		ELSE t.created_at END,
	last_error = pg_catalog.left(m.job->'errors'->-1->>'error', 2000)
FROM {river}.river_job_moved m WHERE m.task_id = t.id AND t.worker_id IS NULL AND %s`

	// sqlRiverNoTrigger removes the trigger.
	sqlRiverNoTrigger = `SET LOCAL lock_timeout = '10s';
DROP TRIGGER IF EXISTS strunk_move_job ON {river}.river_job;
DROP FUNCTION IF EXISTS {river}.strunk_move_job()`

	// sqlRiverBack gives River the jobs whose tasks wait. It locks the tasks, SKIP LOCKED: those that are locked are
	// being claimed.
	sqlRiverBack = `WITH task AS MATERIALIZED (
	SELECT t.id, t.status, t.attempts, t.due_at, m.job FROM {schema}.strunk_outbox_tasks t
	JOIN {river}.river_job_moved m ON m.task_id = t.id WHERE t.status IN ('scheduled', 'pending')
	ORDER BY t.id FOR UPDATE OF t SKIP LOCKED),
gone AS (DELETE FROM {schema}.strunk_outbox_tasks t USING task WHERE t.id = task.id),
forgotten AS (DELETE FROM {river}.river_job_moved m USING task WHERE m.task_id = task.id),
back AS (
	INSERT INTO {river}.river_job
	SELECT r.* FROM task CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::{river}.river_job,
		task.job || pg_catalog.jsonb_build_object('attempt', task.attempts,
			'scheduled_at', coalesce(task.due_at, (task.job->>'scheduled_at')::timestamptz),
			'state', CASE WHEN task.status = 'pending' THEN 'available' WHEN task.attempts > 0 THEN 'retryable'
				ELSE 'scheduled' END)) r
	ON CONFLICT DO NOTHING RETURNING 1)
SELECT (SELECT pg_catalog.count(*) FROM task), (SELECT pg_catalog.count(*) FROM back)`

	// sqlRiverStayed counts the tasks that did not go back.
	sqlRiverStayed = `SELECT pg_catalog.count(*) FROM {river}.river_job_moved`
)

// sqlRiverMove moves all jobs that wait.
var sqlRiverMove = strings.ReplaceAll(riverMove, "%s", "true") + `SELECT task.kind,
	pg_catalog.count(*) FILTER (WHERE NOT task.duplicate), pg_catalog.count(*) FILTER (WHERE task.duplicate),
	pg_catalog.count(*) FILTER (WHERE task.ord = 0)
FROM task GROUP BY task.kind`

// sqlRiverPast is for the jobs that this transaction has moved.
var sqlRiverPast = strings.ReplaceAll(riverPast, "%s", "m.moved_at = pg_catalog.now()")

// sqlRiverTrigger makes the trigger that moves a job as soon as it waits. It fires after the row is there, so that
// River's client has its answer, and deletes it in the same transaction.
var sqlRiverTrigger = `SET LOCAL lock_timeout = '10s';
CREATE OR REPLACE FUNCTION {river}.strunk_move_job() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $strunk$
DECLARE
	v_failed bigint;
BEGIN
` + strings.ReplaceAll(riverMove, "%s", "j.id = NEW.id") + `SELECT count(*) FILTER (WHERE task.ord = 0)
INTO v_failed FROM task;
	IF v_failed > 0 THEN
		RAISE EXCEPTION 'river_job %: its unique key is being enqueued by transactions that wait for each other', NEW.id
			USING ERRCODE = '40P01';
	END IF;
` + strings.ReplaceAll(riverPast, "%s", "m.id = NEW.id") + `;
	RETURN NULL;
END $strunk$;
DROP TRIGGER IF EXISTS strunk_move_job ON {river}.river_job;
CREATE TRIGGER strunk_move_job AFTER INSERT OR UPDATE OF state ON {river}.river_job
	FOR EACH ROW WHEN (NEW.state IN ('available', 'scheduled', 'retryable'))
	EXECUTE FUNCTION {river}.strunk_move_job()`
