package outbox

import (
	"fmt"
	"slices"
	"strings"
)

// DefaultRolePrefix begins the names of the roles that Grants makes.
const DefaultRolePrefix = "strunk"

// GrantsConfig configures Grants.
type GrantsConfig struct {
	// Schema is the PostgreSQL schema; empty means DefaultSchema.
	Schema string
	// RolePrefix begins the names of the roles; empty means DefaultRolePrefix. Roles belong to the
	// whole server: give each installation on it a prefix of its own.
	RolePrefix string
}

// The roles that Grants makes, without their prefix.
const (
	// RoleProducer enqueues tasks and publishes events.
	RoleProducer = "producer"
	// RoleWorker works on tasks, runs and registers schedules, and does the maintenance.
	RoleWorker = "worker"
	// RoleSubscriber handles events, and does the maintenance.
	RoleSubscriber = "subscriber"
	// RoleReader reads everything, payloads included, and changes nothing.
	RoleReader = "reader"
	// RoleOperator reads everything and intervenes: dead letters, queues, schedules, subscribers.
	// It cannot enqueue or work.
	RoleOperator = "operator"
)

// grant is what one role may do. The functions run with the rights of their owner.
type grant struct {
	role      string
	also      string // a role whose rights it has too
	functions []string
	selects   []string
	others    []string // further privileges: "INSERT ON strunk_workers"
}

// maintenanceFunctions are for every process that calls Run: its loops may serve others' tasks and events.
var maintenanceFunctions = []string{
	"strunk_add_counters", "strunk_compact_failures", "strunk_count", "strunk_count_begin", "strunk_count_gave_up",
	"strunk_fold_counters",
	"strunk_adopt_orphans", "strunk_bring_forward", "strunk_clock_set_back", "strunk_heartbeat",
	"strunk_end_late", "strunk_expire_lease", "strunk_has_late", "strunk_ensure_feed_partitions",
	"strunk_close_day", "strunk_ensure_task_partitions", "strunk_loop_begin",
	"strunk_loop_ran", "strunk_next_due_ms", "strunk_promote", "strunk_reap_cancelled", "strunk_reap_dead",
	"strunk_now", "strunk_reap_partition",
	"strunk_reap_notes",
	"strunk_reap_schedule_runs", "strunk_relay", "strunk_relay_due",
	"strunk_rescue", "strunk_return_claims", "strunk_reap_marks",
	"strunk_may_sleep", "strunk_open_claims", "strunk_relay_may_sleep", "strunk_set_relay_awake", "strunk_void_claims",
	"strunk_fold_batches", "strunk_reap_batches", "strunk_recount_batch", "strunk_reap_outcomes",
	"strunk_job_failed", "strunk_next_job", "strunk_reap_jobs", "strunk_work_job",
}

var maintenanceTables = []string{"strunk_batch_changes", "strunk_loops", "strunk_migrations", "strunk_reaped",
	"strunk_workers"}

// perJSONType names a function that there is for each type of JSON, with the types of its arguments.
func perJSONType(signature string) (names []string) {
	for _, jsonType := range []string{"text", "json", "jsonb"} {
		names = append(names, strings.ReplaceAll(signature, "JSON", jsonType))
	}
	return names
}

// grants lists who may do what. A function that stands nowhere is for strunk's own functions alone; the tests name it.
func grants() []grant {
	return []grant{producerGrant(), workerGrant(), subscriberGrant(), readerGrant(), operatorGrant()}
}

func producerGrant() grant {
	return grant{
		role: RoleProducer,
		functions: slices.Concat([]string{
			"strunk_add_counters", "strunk_batch_members", "strunk_batch_of", "strunk_batch_states",
			"strunk_cancel_batch", "strunk_close_batch", "strunk_create_batch", "strunk_enqueue_dedup",
			"strunk_enqueue_dedup_in_batch", "strunk_enqueue_in_batch", "strunk_enqueue_many", "strunk_enqueue_one",
			"strunk_may_sleep", "strunk_note_change", "strunk_publish_many", "strunk_publish_renamed",
			"strunk_relay_may_sleep", "strunk_set_deadlines",
		},
			perJSONType("strunk_enqueue(text, JSON, integer, interval, timestamp with time zone, text, integer, "+
				"interval, JSON, text)"),
			perJSONType("strunk_publish(text, text, JSON, text, JSON, JSON, boolean)")),
		selects: []string{"strunk_migrations", "strunk_schemas", "strunk_schema_subjects"},
	}
}

func workerGrant() grant {
	return grant{
		role: RoleWorker,
		functions: append([]string{
			"strunk_admit", "strunk_admit_released", "strunk_advance_watermarks", "strunk_allow_starts",
			"strunk_batch_members", "strunk_batch_of", "strunk_batch_states", "strunk_cancel", "strunk_claim",
			"strunk_claim_rated", "strunk_complete", "strunk_complete_at", "strunk_complete_or_fail",
			"strunk_complete_publishing", "strunk_complete_publishing_or_fail", "strunk_complete_results",
			"strunk_control", "strunk_declare_dedup", "strunk_declare_limits", "strunk_end_claimed",
			"strunk_end_claimed_late", "strunk_ended", "strunk_guard", "strunk_has_backlog", "strunk_hold",
			"strunk_inbox_mark", "strunk_inbox_marked", "strunk_isolate", "strunk_lock_admission",
			"strunk_note_forwarder", "strunk_progress", "strunk_queues_with_control", "strunk_queues_with_work",
			"strunk_quotas_exceed", "strunk_rate_wait_us", "strunk_release_claim", "strunk_retry",
			"strunk_returned", "strunk_schedule_failed", "strunk_schedule_fire", "strunk_schedule_put",
			"strunk_schedule_set_back", "strunk_schedules_due", "strunk_schedules_wait_us", "strunk_set_awake",
			"strunk_set_outcomes", "strunk_store_results", "strunk_store_step", "strunk_sweep_backlog",
			"strunk_take_quota", "strunk_task",
		}, maintenanceFunctions...),
		selects: append([]string{
			"strunk_limits", "strunk_outbox", "strunk_queues", "strunk_results", "strunk_schedules",
			"strunk_schema_subjects", "strunk_schemas", "strunk_steps",
		},
			maintenanceTables...),
		others: []string{"INSERT ON strunk_workers"},
	}
}

func subscriberGrant() grant {
	return grant{
		role: RoleSubscriber,
		functions: append([]string{
			"strunk_add_delivery", "strunk_attempt_failed", "strunk_bootstrap_versions", "strunk_clear_attempts",
			"strunk_count_attempt", "strunk_delivery_entities", "strunk_delivery_failed", "strunk_delivery_handled",
			"strunk_disown", "strunk_due_deliveries", "strunk_end_bootstrap", "strunk_heartbeat_subscriber",
			"strunk_inbox_mark", "strunk_inbox_marked", "strunk_live_snapshots", "strunk_move_bootstrap",
			"strunk_move_cursor", "strunk_note_forwarder", "strunk_own", "strunk_read_feed",
			"strunk_read_snapshots", "strunk_register", "strunk_start_events", "strunk_subscriber_place",
			"strunk_take_delivery", "strunk_watch_subscriber",
		}, maintenanceFunctions...),
		selects: append([]string{
			"strunk_retries", "strunk_schema_subjects", "strunk_schemas", "strunk_snapshots", "strunk_subscribers",
		}, maintenanceTables...),
	}
}

func readerGrant() grant {
	return grant{
		role: RoleReader,
		functions: []string{
			"strunk_as_jsonb", "strunk_backlog", "strunk_batch_members", "strunk_batch_of", "strunk_batch_states",
			"strunk_count_cancelled", "strunk_count_delivered", "strunk_count_from", "strunk_count_span",
			"strunk_count_steps", "strunk_count_totals", "strunk_counted_at", "strunk_dead_letters",
			"strunk_error_groups", "strunk_inbox_marked", "strunk_inconsistencies", "strunk_latest_events",
			"strunk_list_tasks", "strunk_live_snapshots", "strunk_matching", "strunk_now", "strunk_over_cap",
			"strunk_overall", "strunk_preview_job", "strunk_queue_counts", "strunk_queue_names",
			"strunk_queue_states", "strunk_recent_exemplars", "strunk_running_tasks", "strunk_subscriber_states",
			"strunk_task", "strunk_task_filter", "strunk_task_window", "strunk_why", "strunk_worker_states",
		},
		selects: []string{
			"strunk_all_paused", "strunk_audit", "strunk_batch_changes", "strunk_batch_tasks", "strunk_batches",
			"strunk_bootstrap", "strunk_bulk_jobs", "strunk_cancels", "strunk_closed_days", "strunk_count_passes",
			"strunk_counter_spans", "strunk_counter_sums", "strunk_counter_totals", "strunk_counters",
			"strunk_counts", "strunk_dedups", "strunk_events_seq", "strunk_exemplars", "strunk_failure_counts",
			"strunk_failure_groups", "strunk_failures", "strunk_feed", "strunk_feed_floor",
			"strunk_feed_partitions", "strunk_forwarders", "strunk_holds", "strunk_horizon", "strunk_inbox",
			"strunk_key_limits", "strunk_limits", "strunk_loops", "strunk_migrations", "strunk_outbox",
			"strunk_outbox_cancelled", "strunk_outbox_dead", "strunk_outbox_delivered_events",
			"strunk_outbox_delivered_tasks", "strunk_outbox_deliveries", "strunk_outbox_events",
			"strunk_outbox_id_seq", "strunk_outbox_tasks", "strunk_queue_stats", "strunk_queues", "strunk_rates",
			"strunk_reaped", "strunk_results", "strunk_retries", "strunk_schedule_runs", "strunk_schedules",
			"strunk_schema_subjects", "strunk_schemas", "strunk_snapshots", "strunk_starts", "strunk_steps",
			"strunk_subscriber_lag", "strunk_subscribers", "strunk_table_sizes", "strunk_tasks", "strunk_turns",
			"strunk_worker_stats", "strunk_workers",
		},
	}
}

func operatorGrant() grant {
	return grant{
		role: RoleOperator, also: RoleReader,
		functions: []string{
			"strunk_adopt_snapshots", "strunk_cancel", "strunk_cancel_batch", "strunk_delete_tasks",
			"strunk_discard", "strunk_hold", "strunk_lift_hold", "strunk_may_sleep", "strunk_note_change",
			"strunk_pause_all", "strunk_pause_queue", "strunk_pause_subscriber", "strunk_purge_ended",
			"strunk_release_parked", "strunk_reschedule", "strunk_resume_all", "strunk_resume_job",
			"strunk_resume_queue", "strunk_retry_dead_deliveries", "strunk_retry_ended", "strunk_retry_parked",
			"strunk_rewind", "strunk_schedule_remove", "strunk_schedule_run_now", "strunk_schedule_switch",
			"strunk_schema_lock", "strunk_schema_put", "strunk_set_job_rate", "strunk_set_key_limits",
			"strunk_set_limits", "strunk_set_outcomes", "strunk_skip_event", "strunk_start_job", "strunk_stop_job",
			"strunk_unregister",
		},
		others: []string{"UPDATE ON strunk_outbox", "UPDATE, DELETE ON strunk_tasks"},
	}
}

// Grants prints SQL that makes roles without login, for the owner to run after each migration, and
// again: a producer, a worker, a subscriber, a reader and an operator, each with what its work
// takes and no more. Grant them to the roles that your services connect as; a service that does two
// kinds of work gets two.
//
// Partitions are dropped by their owner alone: one process at least runs the reaper as the role that migrates.
func Grants(cfg GrantsConfig) (string, error) {
	if cfg.Schema == "" {
		cfg.Schema = DefaultSchema
	}
	if cfg.RolePrefix == "" {
		cfg.RolePrefix = DefaultRolePrefix
	}
	if err := checkSchemaName(cfg.Schema); err != nil {
		return "", err
	}
	if err := checkRolePrefix(cfg.RolePrefix); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- Roles for strunk in schema %q. To be run by the owner of its tables, after each "+
		"migration.\nBEGIN;\n", cfg.Schema)
	b.WriteString(newNames(cfg.Schema).expand(sqlNoPublic) + ";\n")
	for _, g := range grants() {
		g.print(&b, quote(cfg.Schema), cfg.RolePrefix)
	}
	b.WriteString("COMMIT;\n")
	return b.String(), nil
}

func checkRolePrefix(prefix string) error {
	const longest = maxIdentifier - len("_"+RoleSubscriber)
	if err := checkSchemaName(prefix); err != nil || len(prefix) > longest {
		return fmt.Errorf("strunk/outbox: grants: RolePrefix: %q is no name of at most %d bytes without quotes, "+
			"%%, $, \\ and braces", prefix, longest)
	}
	return nil
}

func (g grant) print(b *strings.Builder, schema, prefix string) {
	role := quote(prefix + "_" + g.role)
	fmt.Fprintf(b, "\nDO $strunk$ BEGIN\n    CREATE ROLE %s NOLOGIN;\nEXCEPTION WHEN duplicate_object THEN "+
		"NULL;\nEND $strunk$;\n", role)
	fmt.Fprintf(b, "GRANT USAGE ON SCHEMA %s TO %s;\n", schema, role)
	if g.also != "" {
		fmt.Fprintf(b, "GRANT %s TO %s;\n", quote(prefix+"_"+g.also), role)
	}
	fmt.Fprintf(b, "GRANT EXECUTE ON FUNCTION\n    %s\n    TO %s;\n", qualified(schema, g.functions), role)
	if len(g.selects) > 0 {
		fmt.Fprintf(b, "GRANT SELECT ON\n    %s\n    TO %s;\n", qualified(schema, g.selects), role)
	}
	for _, other := range g.others {
		privilege, table, _ := strings.Cut(other, " ON ")
		fmt.Fprintf(b, "GRANT %s ON %s.%s TO %s;\n", privilege, schema, table, role)
	}
}

// qualified lists names of a schema in order, one on each line.
func qualified(schema string, names []string) string {
	sorted := slices.Sorted(slices.Values(names))
	for i := range sorted {
		sorted[i] = schema + "." + sorted[i]
	}
	return strings.Join(sorted, ",\n    ")
}
