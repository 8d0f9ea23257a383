DROP FUNCTION {schema}.strunk_sweep, {schema}.strunk_release_claim, {schema}.strunk_purge_dead, {schema}.strunk_retry_dead,
    {schema}.strunk_inbox_marked, {schema}.strunk_inbox_mark, {schema}.strunk_control, {schema}.strunk_resume_queue,
    {schema}.strunk_pause_queue, {schema}.strunk_cancel, {schema}.strunk_bury_waiting, {schema}.strunk_progress,
    {schema}.strunk_complete_results, {schema}.strunk_store_results, {schema}.strunk_complete_or_fail, {schema}.strunk_enqueue_dedup;
DROP TABLE {schema}.strunk_results, {schema}.strunk_inbox, {schema}.strunk_dedups, {schema}.strunk_cancels, {schema}.strunk_queues;
