-- Everything goes: views, then functions with their triggers, then the tables with all their
-- partitions, then the sequences.
DO $strunk$
DECLARE
    v_object text;
BEGIN
    FOR v_object IN
        SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c
        WHERE c.relnamespace = '{schema}'::pg_catalog.regnamespace AND c.relkind = 'v'
            AND pg_catalog.starts_with(c.relname::text, 'strunk_')
    LOOP
        EXECUTE pg_catalog.format('DROP VIEW IF EXISTS %s CASCADE', v_object);
    END LOOP;
    FOR v_object IN
        SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = '{schema}'::pg_catalog.regnamespace AND pg_catalog.starts_with(p.proname::text,
            'strunk_')
    LOOP
        EXECUTE pg_catalog.format('DROP FUNCTION IF EXISTS %s CASCADE', v_object);
    END LOOP;
END $strunk$;
DROP TABLE
    {schema}.strunk_outbox,
    {schema}.strunk_workers,
    {schema}.strunk_starts,
    {schema}.strunk_queues,
    {schema}.strunk_all_paused,
    {schema}.strunk_limits,
    {schema}.strunk_key_limits,
    {schema}.strunk_turns,
    {schema}.strunk_rates,
    {schema}.strunk_holds,
    {schema}.strunk_cancels,
    {schema}.strunk_batches,
    {schema}.strunk_batch_tasks,
    {schema}.strunk_batch_changes,
    {schema}.strunk_dedups,
    {schema}.strunk_results,
    {schema}.strunk_steps,
    {schema}.strunk_inbox,
    {schema}.strunk_feed_partitions,
    {schema}.strunk_feed,
    {schema}.strunk_feed_floor,
    {schema}.strunk_relay_awake,
    {schema}.strunk_snapshots,
    {schema}.strunk_forwarders,
    {schema}.strunk_subscribers,
    {schema}.strunk_bootstrap,
    {schema}.strunk_retries,
    {schema}.strunk_schedules,
    {schema}.strunk_schedule_runs,
    {schema}.strunk_loops,
    {schema}.strunk_counts,
    {schema}.strunk_failures,
    {schema}.strunk_failure_groups,
    {schema}.strunk_failure_counts,
    {schema}.strunk_audit,
    {schema}.strunk_count_passes,
    {schema}.strunk_bulk_jobs,
    {schema}.strunk_counters,
    {schema}.strunk_counter_totals,
    {schema}.strunk_counter_sums,
    {schema}.strunk_exemplars,
    {schema}.strunk_closed_days,
    {schema}.strunk_reaped,
    {schema}.strunk_schemas,
    {schema}.strunk_schema_subjects;
DROP SEQUENCE {schema}.strunk_outbox_id_seq, {schema}.strunk_events_seq;
