DROP FUNCTION {schema}.strunk_next_due_ms, {schema}.strunk_promote, {schema}.strunk_rescue, {schema}.strunk_condemn,
    {schema}.strunk_return_claims, {schema}.strunk_void_claims, {schema}.strunk_unknown_claims, {schema}.strunk_beat,
    {schema}.strunk_ended, {schema}.strunk_bury, {schema}.strunk_retry, {schema}.strunk_complete_at, {schema}.strunk_complete,
    {schema}.strunk_advance_marks, {schema}.strunk_has_pending, {schema}.strunk_claim, {schema}.strunk_enqueue, {schema}.strunk_enqueue_many,
    {schema}.strunk_ensure_task_partitions;
DROP TABLE {schema}.strunk_workers, {schema}.strunk_limits;
DROP TABLE {schema}.strunk_outbox;
DROP FUNCTION {schema}.strunk_revive, {schema}.strunk_add_error;
DROP SEQUENCE {schema}.strunk_outbox_id_seq;
