DROP FUNCTION {schema}.strunk_reap_notes, {schema}.strunk_reap_schedule_runs, {schema}.strunk_reap_dead, {schema}.strunk_reap_leaf,
    {schema}.strunk_schedule_failed, {schema}.strunk_schedule_fire, {schema}.strunk_schedules_wait_us,
    {schema}.strunk_schedules_due, {schema}.strunk_schedule_run_now, {schema}.strunk_schedule_enqueue,
    {schema}.strunk_schedule_remove, {schema}.strunk_schedule_switch, {schema}.strunk_schedule_put,
    {schema}.strunk_loop_begin, {schema}.strunk_loop_ran;
DROP TABLE {schema}.strunk_reaped, {schema}.strunk_schedule_runs, {schema}.strunk_schedules, {schema}.strunk_loops;
