DROP TRIGGER strunk_revive_delivery ON {schema}.strunk_outbox_dead;
DELETE FROM {schema}.strunk_outbox_dead WHERE kind = 'delivery';
DROP FUNCTION {schema}.strunk_publish, {schema}.strunk_publish_many, {schema}.strunk_publish_renamed, {schema}.strunk_adopt_snapshots, {schema}.strunk_relay, {schema}.strunk_read_feed,
    {schema}.strunk_ensure_feed_partitions, {schema}.strunk_raise_floor, {schema}.strunk_forget_feed_part,
    {schema}.strunk_register, {schema}.strunk_rename_subscriber, {schema}.strunk_live_snapshots, {schema}.strunk_unregister, {schema}.strunk_own, {schema}.strunk_watch_subscriber,
    {schema}.strunk_beat_subscriber, {schema}.strunk_disown, {schema}.strunk_move_cursor, {schema}.strunk_start_events,
    {schema}.strunk_scan_snapshots, {schema}.strunk_move_scan, {schema}.strunk_end_scan, {schema}.strunk_had,
    {schema}.strunk_try_event, {schema}.strunk_event_handled, {schema}.strunk_event_failed, {schema}.strunk_copy_event, {schema}.strunk_held,
    {schema}.strunk_redeliveries, {schema}.strunk_redeliver, {schema}.strunk_redelivered, {schema}.strunk_redelivery_failed,
    {schema}.strunk_next_copy, {schema}.strunk_bury_copy, {schema}.strunk_retry_parked, {schema}.strunk_release_parked,
    {schema}.strunk_retry_dead_deliveries, {schema}.strunk_revive_delivery, {schema}.strunk_rewind,
    {schema}.strunk_pause_subscriber, {schema}.strunk_skip_event;
DROP TABLE {schema}.strunk_retries, {schema}.strunk_bootstrap, {schema}.strunk_subscribers, {schema}.strunk_snapshots,
    {schema}.strunk_feed_floor, {schema}.strunk_feed, {schema}.strunk_feed_parts, {schema}.strunk_outbox_delivered_events,
    {schema}.strunk_outbox_deliveries, {schema}.strunk_outbox_events;
DROP SEQUENCE {schema}.strunk_events_seq;
ALTER TABLE {schema}.strunk_outbox DROP COLUMN diff;
