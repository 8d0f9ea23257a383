package ops

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

func goldenSubscriber(name string, cursor int64, change func(*Subscriber)) subscriberRow {
	since := goldenNow.Add(-14 * time.Minute)
	s := Subscriber{Name: name, EntityType: "order", Start: "beginning", RegisteredAt: since, Cursor: cursor,
		Head: 5000, Earliest: 1001, MovedAt: since, Owner: "web-1/42",
		Waiting: someCount(5000 - cursor), Deliveries: someCount(0),
		Dead: someCount(0)}
	if cursor < s.Head {
		s.LagSince, s.Lag = &since, Duration{14 * time.Minute}
	}
	change(&s)
	return s.row(Thresholds{}.withDefaults())
}

func same(*Subscriber) {}

func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	blocked := goldenSubscriber("ledger", 3000, func(s *Subscriber) {
		s.Blocked = &Blocked{Position: 3001, Attempts: 7, Error: "index ledger rejected"}
	})
	hostile := goldenSubscriber(hostileName, 1000, func(s *Subscriber) {
		s.EntityType, s.Owner, s.NeedsRestart = arabicRTL, longName, true
		s.Blocked = &Blocked{Position: 1001, Attempts: 1, Error: hostileName}
	})
	failing := Duration{3 * time.Minute}
	there := int64(12)
	checkGolden(t, "events", map[string]any{
		"empty": eventsShown{Waiting: someCount(0)},
		"busy": eventsShown{Head: 5000, Waiting: someCount(3), Next: "slow", Subscribers: []subscriberRow{
			goldenSubscriber("indexer", 5000, same), blocked, goldenSubscriber("slow", 1500, func(s *Subscriber) {
				s.Deliveries, s.Dead = someCount(4), someCount(1200)
			}), goldenSubscriber("paused", 4000, func(s *Subscriber) { s.Paused = true }),
			goldenSubscriber("orphan", 4000, func(s *Subscriber) { s.Owner, s.LagSince = "", nil })},
			Forwarders: []Forwarder{{Kind: "events", Name: "export", Destination: "jetstream ORDERS", Running: true,
				Sent: 12345, SentAt: &goldenNow, Waiting: someCount(2), There: &there, ThereLag: &failing,
				Deliveries: someCount(3)}}},
		"hostile": eventsShown{Head: 5000, Waiting: someCount(0), Subscribers: []subscriberRow{hostile,
			goldenSubscriber(longName, 5000, same), goldenSubscriber(arabicRTL, 5000, same)},
			Forwarders: []Forwarder{{Kind: "tasks", Name: hostileName, Destination: longName, FailingFor: &failing,
				Error: hostileName, Waiting: someCount(1)}}},
	})
}

func TestGoldenSubscriber(t *testing.T) {
	t.Parallel()
	parked := func(entity, err string) ParkedEntity {
		return ParkedEntity{EntityType: "order", EntityID: entity, ID: 81, State: DeliveryParked, Position: 1200,
			Version: 3, Attempts: 12, MaxAttempts: 12, Events: someCount(4), Error: err}
	}
	dead := func(entity, err string) DeadLetter {
		return DeadLetter{ID: 99, Kind: KindDelivery, EntityType: "order", EntityID: entity, Subscriber: "ledger",
			Position: 1300, Attempts: 12, MaxAttempts: 12, DiedAt: goldenNow, Error: err}
	}
	busy := goldenSubscriber("ledger", 3000, func(s *Subscriber) {
		s.Blocked, s.Deliveries = &Blocked{Position: 3001, Attempts: 7, Error: "rejected"}, someCount(5)
	})
	retrying := parked("o-2", "timeout")
	retrying.State, retrying.NextAttemptAt = DeliveryRetrying, &goldenNow
	checkGolden(t, "subscriber", map[string]any{
		"empty": subscriberShown{subscriberRow: goldenSubscriber("indexer", 5000, same)},
		"busy": subscriberShown{subscriberRow: busy, Parked: []ParkedEntity{parked("o-1", "no such account"), retrying},
			NextType: "order", NextID: "o-2", DeadLetters: []DeadLetter{dead("o-3", "gone")}, OlderDead: 99},
		"hostile": subscriberShown{subscriberRow: goldenSubscriber(hostileName, 900, func(s *Subscriber) {
			s.EntityType, s.NeedsRestart, s.Paused, s.Owner, s.Silent = arabicRTL, true, true, longName, true
			s.Blocked = &Blocked{Position: 901, Attempts: 1, Error: hostileName}
		}), Parked: []ParkedEntity{parked(hostileName, longName), parked(arabicRTL, hostileName)},
			DeadLetters: []DeadLetter{dead(hostileName, hostileName), dead(longName, arabicRTL)}},
	})
}

func TestGoldenEntity(t *testing.T) {
	t.Parallel()
	version := func(n int64, state string) EntityVersion {
		return EntityVersion{Version: n, Position: 100 * n, PublishedAt: goldenNow, SchemaVersion: "1.1",
			State: json.RawMessage(state)}
	}
	gone := version(4, `null`)
	gone.Deleted, gone.State = true, nil
	entity := Entity{Type: "order", ID: "o-1", Version: 4, UpdatedAt: goldenNow, SchemaVersion: "1.1", Deleted: true,
		Versions: []EntityVersion{gone, version(3, `{"total":2,"items":["a","b"],"note":"late"}`),
			version(2, `{"total":1,"items":["a"]}`), version(1, `{"total":1,"items":["a"]}`)}, Examined: 1000, From: 7,
		Older: true, Subscribers: []EntityProgress{{Subscriber: "ledger", Cursor: 500},
			{Subscriber: "slow", Cursor: 250}, {Subscriber: "broken", Cursor: 500, Failing: 3, DeliveryID: 81,
				Error: "no such account"},
			{Subscriber: "gone", Cursor: 500, Dead: 2, DeadID: 99, Error: "gone"},
			{Subscriber: "new", Bootstrapping: true}}}
	hostile := Entity{Type: hostileName, ID: arabicRTL, Version: 9, UpdatedAt: goldenNow, Examined: 2, From: 800,
		State: json.RawMessage(`{"` + `</pre><script>` + `":1}`), Versions: []EntityVersion{
			version(9, `{"<script>":"<b>","`+longName+`":[1]}`), version(8, `{"<script>":"<script>"}`)},
		Subscribers: []EntityProgress{{Subscriber: hostileName, Failing: 9, Cursor: 1000, DeliveryID: 1,
			Error: longName}, {Subscriber: longName, Cursor: 1000}}}
	checkGolden(t, "entity", map[string]any{"empty": entityShown{}, "busy": showEntity(entity, true),
		"hostile": showEntity(hostile, true)})
	hidden := entity
	for i := range hidden.Versions {
		hidden.Versions[i].State = nil
	}
	checkGoldenState(t, "entity", "hidden", showEntity(hidden, false))
}

func TestGoldenSchedules(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) *time.Time { u := goldenNow.Add(d); return &u }
	limits := Thresholds{}.withDefaults()
	states := map[int64]queue.Status{7: queue.StatusDelivered, 8: queue.StatusDead}
	row := func(id string, change func(*Schedule)) scheduleRow {
		s := Schedule{ID: id, Queue: "reports", Spec: "30 9 * * mon-fri", TimeZone: "Europe/Berlin", Enabled: true,
			NextDue: *at(2 * time.Hour), LastDue: at(-22 * time.Hour), LastTaskID: 7}
		change(&s)
		return s.row(states, limits)
	}
	checkGolden(t, "schedules", map[string]any{
		"empty": schedulesShown{},
		"busy": schedulesShown{Next: "weekly", Schedules: []scheduleRow{row("daily", func(*Schedule) {}),
			row("failing", func(s *Schedule) { s.LastTaskID = 8 }), row("gone", func(s *Schedule) { s.LastTaskID = 6 }),
			row("late", func(s *Schedule) { s.LateBy, s.Spec = Duration{time.Hour}, "every 5m" }),
			row("new", func(s *Schedule) { s.LastTaskID, s.LastDue = 0, nil }),
			row("off", func(s *Schedule) { s.Enabled = false })}},
		"hostile": schedulesShown{Schedules: []scheduleRow{row(hostileName, func(s *Schedule) {
			s.Spec, s.TimeZone, s.LastError, s.Queue = hostileName, longName, hostileName, arabicRTL
		}), row(longName, func(*Schedule) {}), row(arabicRTL, func(*Schedule) {})}},
	})
}

func TestGoldenProcesses(t *testing.T) {
	t.Parallel()
	worker := func(id int64, queue, host string, silent time.Duration, lost bool) Worker {
		return Worker{ID: id, Queue: queue, Host: host, PID: 42, Release: "v1.4.2", Library: "v0.9.0", Concurrency: 6,
			Claimed: someCount(5), StartedAt: goldenNow.Add(-time.Hour), SilentFor: Duration{silent},
			Lease: Duration{30 * time.Second}, Silent: silent > 30*time.Second, Expired: lost}
	}
	shown := func(queue string, workers []Worker, running []RunningTask) processesShown {
		return newProcesses(queue, processesOf(workers, running))
	}
	task := func(id int64, queue string, worker int64, for_ time.Duration) RunningTask {
		return RunningTask{ID: id, Queue: queue, Worker: worker, Attempt: 2, ClaimedAt: goldenNow.Add(-for_),
			For: Duration{for_}}
	}
	checkGolden(t, "processes", map[string]any{
		"empty": shown("emails", nil, nil),
		"busy": shown("", []Worker{worker(1, "emails", "web-1", time.Second, false), worker(2, "sms",
			"web-1", time.Second, false), worker(3, "emails", "web-2", time.Minute, false), worker(4, "emails", "web-3",
			time.Hour, true)}, []RunningTask{task(11, "emails", 1, time.Minute), task(12, "sms", 2, time.Hour)}),
		"hostile": shown(hostileName, []Worker{worker(1, hostileName, longName, time.Second, false), worker(2,
			arabicRTL, arabicRTL, time.Second, false)}, []RunningTask{task(11, hostileName, 1, time.Minute)}),
	})
}

func TestGoldenContracts(t *testing.T) {
	t.Parallel()
	checkGolden(t, "contracts", map[string]any{
		"empty": contractsShown{},
		"busy": contractsShown{Next: "user", Subjects: subjectRows([]SchemaSubject{{Subject: "order", Mode: "backward",
			Strict:   true,
			Versions: []string{"1.0", "1.1"}}, {Subject: "user", Mode: "full"}})},
		"hostile": contractsShown{Subjects: subjectRows([]SchemaSubject{{Subject: hostileName, Mode: "none",
			Versions: []string{"1"}},
			{Subject: longName, Mode: "full"}, {Subject: arabicRTL, Mode: "full"}})},
	})
	version := SchemaVersion{Subject: "order", Version: "1.1", RegisteredAt: goldenNow}
	first := SchemaVersion{Subject: "order", Version: "1.0", RegisteredAt: goldenNow}
	hostile := []SchemaChange{{Path: "/" + hostileName, Change: SchemaAdded, New: json.RawMessage(`"<script>"`)},
		{Path: "/" + longName, Change: SchemaRemoved, Old: json.RawMessage(`"` + longName + longName + `"`)}}
	checkGolden(t, "contract", map[string]any{
		"empty": contractShown{Subject: "order", To: "1.0", Versions: []SchemaVersion{first}, Registered: first,
			Document: json.RawMessage(`{}`)},
		"busy": contractShown{Subject: "order", From: "1.0", To: "1.1", Versions: []SchemaVersion{first, version},
			Registered: version, Document: json.RawMessage("{\n  \"type\": \"object\"\n}"),
			Changes: changeRows([]SchemaChange{{Path: "/title", Change: SchemaChanged, Old: json.RawMessage(`"a"`),
				New: json.RawMessage(`"b"`)}}), Uses: SchemaUses{Subject: "order", Examined: 1000, Events: []SchemaUse{
				{"1.1", 990, goldenNow}, {"", 10, goldenNow}}, Subscribers: []string{"ledger", "indexer"},
				Workers: []ReleaseUse{{"v1.4.2", 3}, {"", 1}}}},
		"hostile": contractShown{Subject: hostileName, From: "1", To: "2", Registered: version, More: true,
			Document: json.RawMessage(`{"<script>":"` + arabicRTL + `"}`), Changes: changeRows(hostile),
			Uses: SchemaUses{Subscribers: []string{hostileName, longName}, Workers: []ReleaseUse{{hostileName, 1}}}},
	})
}

func TestGoldenDatabase(t *testing.T) {
	t.Parallel()
	rows := Count{N: 1234567, Precision: Estimate}
	tables := []Table{{Name: "strunk_outbox_delivered_tasks_20260130", Part: "delivered_tasks", Rows: &rows,
		DeadRows: Count{Precision: Estimate}, TableBytes: 3e9, IndexBytes: 4e8, TotalBytes: 34e8},
		{Name: "strunk_outbox_delivered_tasks_20260131", Part: "delivered_tasks", TableBytes: 8192, TotalBytes: 8192},
		{Name: "strunk_outbox_tasks", Part: "tasks", Rows: &rows, TableBytes: 5e6, IndexBytes: 1e6, TotalBytes: 6e6}}
	pid, open := 4711, Duration{2 * time.Hour}
	checkGolden(t, "database", map[string]any{
		"empty": databaseShown{},
		"busy": databaseShown{Findings: []Finding{{"version", StatusOK, "PostgreSQL 15.4"},
			{"horizon", StatusWarn, "old"}},
			Checks: []Check{{CheckHorizon, StatusWarn, "old"}, {CheckRelay, StatusFail, "nobody runs it"}},
			Loops: []loopRow{loopOf(outbox.LoopStatus{Loop: "relay", Interval: time.Second, LastOK: goldenNow,
				By: "web-1/42", Age: time.Second}), loopOf(outbox.LoopStatus{Loop: "rescue", Interval: time.Second,
				LastOK: goldenNow, Age: time.Second, LastErrorAt: goldenNow.Add(time.Second), LastError: "timeout"}),
				loopOf(outbox.LoopStatus{Loop: "reaper", Interval: time.Minute, Age: -1})},
			Holders: []Horizon{{Holder: "session", Name: "report", PID: &pid, State: "idle in transaction",
				Transactions: 99, OpenFor: &open}, {Holder: "replication slot", Name: "standby"}},
			Parts: partsOf(tables), Total: 3406e6},
		"hostile": databaseShown{Findings: []Finding{{"drift", StatusFail, hostileName}},
			Holders: []Horizon{{Holder: "session", Name: hostileName, State: longName}, {Holder: "session",
				Name: arabicRTL}}, Loops: []loopRow{loopOf(outbox.LoopStatus{Loop: "relay", By: hostileName,
				LastErrorAt: goldenNow, LastError: longName + hostileName, Age: -1})},
			Parts: partsOf([]Table{{Name: longName, Part: arabicRTL}})},
	})
}

func TestGoldenAudit(t *testing.T) {
	t.Parallel()
	ended := goldenNow.Add(time.Second)
	checkGolden(t, "audit", map[string]any{
		"empty": auditShown{},
		"busy": auditShown{Actor: "carl", Before: "2026-01-31T12:00:00Z", Changes: auditRows([]ChangeRecord{
			{At: goldenNow, EndedAt: &ended, Role: "shop", Actor: "carl", Action: "pause_queue", Target: "emails",
				Reason: "provider is down", Changed: 1},
			{At: goldenNow, EndedAt: &ended, Role: "ops", Actor: "ann@laptop", Action: "purge", Target: "emails --yes",
				Changed: 4957},
			{At: goldenNow, EndedAt: &ended, Role: "shop", Actor: "carl", Action: "skip_event", Target: "ledger",
				Error: "not found"},
			{At: goldenNow, Role: "ops", Actor: "ann@laptop", Action: "migrate"}})},
		"hostile": auditShown{Actor: hostileName, Action: arabicRTL, Before: "2026-01-31T12:00:00Z",
			Changes: auditRows([]ChangeRecord{{At: goldenNow, EndedAt: &ended, Role: longName, Actor: hostileName,
				Action: arabicRTL, Target: hostileName, Reason: longName, Error: hostileName}})},
	})
}
