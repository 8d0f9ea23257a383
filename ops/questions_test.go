package ops

// Question is a statement of this package, for the tests of plans and buffers.
type Question struct {
	Name, SQL string
	Args      []any
}

// Questions are all that is asked, of a queue, a subscriber, a task and a place in the dead letters.
func Questions(queue, subscriber string, task, dead int64) []Question {
	text, none := func(s string) *string { return &s }, (*string)(nil)
	return []Question{
		{"QueueStats", sqlQueue, []any{queue, CountCap}},
		{"Queues", sqlQueues, []any{"", DefaultLimit, ListCountCap}},
		{"Queues of health", sqlQueues, []any{"", MaxLimit, 0}},
		{"SubscriberStats", sqlSubscribers, []any{text(subscriber), "", 1, CountCap}},
		{"Subscribers", sqlSubscribers, []any{none, "", DefaultLimit, ListCountCap}},
		{"Workers", sqlWorkers, []any{none, int64(0), DefaultLimit, ListCountCap}},
		{"Schedules", sqlSchedules, []any{"", DefaultLimit}},
		{"OverallStats", sqlOverall, []any{CountCap}},
		{"Tables", sqlTables, nil},
		{"Backlog of health", sqlBacklog, nil},
		{"Horizon", sqlHorizon, []any{maxHolders}},
		{"Task", sqlTask, []any{task}},
		{"DeadLetters", sqlDeadLetters, []any{none, none, &dead, false, DefaultLimit, "dead"}},
		{"DeadLetters, newest", sqlDeadLetters, []any{none, none, &dead, true, DefaultLimit, "dead"}},
		{"DeadLetters of a queue", sqlDeadLetters, []any{text(queue), none, &dead, false, DefaultLimit, "dead"}},
		{"DeadLetters of a queue, newest", sqlDeadLetters, []any{text(queue), none, &dead, true, DefaultLimit, "dead"}},
		{"DeadLetters of a subscriber", sqlDeadLetters, []any{none, text(subscriber), &dead, false, DefaultLimit,
			"dead"}},
		{"cancelled tasks", sqlDeadLetters, []any{none, none, &dead, false, DefaultLimit, "cancelled"}},
		{"discarded tasks of a queue, newest", sqlDeadLetters, []any{text(queue), none, &dead, true, DefaultLimit,
			"discarded"}},
		{"Ready", sqlReady, nil},
	}
}
