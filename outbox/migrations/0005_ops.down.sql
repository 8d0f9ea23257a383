DROP VIEW {schema}.strunk_queue_stats, {schema}.strunk_subscriber_lag, {schema}.strunk_worker_stats, {schema}.strunk_table_sizes,
    {schema}.strunk_horizon;
DROP FUNCTION {schema}.strunk_overall, {schema}.strunk_backlog, {schema}.strunk_dead_letters, {schema}.strunk_worker_states,
    {schema}.strunk_subscriber_states, {schema}.strunk_over_cap, {schema}.strunk_queue_states, {schema}.strunk_queue_names,
    {schema}.strunk_estimate;
DROP INDEX {schema}.strunk_outbox_dead_tasks;
