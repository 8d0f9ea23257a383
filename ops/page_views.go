package ops

// moreViews are the views of events and of what runs the installation: one line each.
func moreViews() []view {
	return []view{
		{"events", "Events", "events", "events", eventsView, named("after")},
		{"subscriber", "Subscriber", "subscriber", "events", subscriberView, named("name", "after_type", "after_id",
			"dead_before")},
		{"entity", "Entity", "entity", "events", entityView, named("type", "id", "before")},
		{"schedules", "Schedules", "schedules", "schedules", schedulesView, named("after")},
		{"processes", "Processes", "processes", "processes", processesView, named("queue")},
		{"contracts", "Contracts", "contracts", "contracts", contractsView, named("after")},
		{"contract", "Contract", "contract", "contracts", contractView, named("subject", "from", "to")},
		{"database", "Database", "database", "database", databaseView, nil},
		{"audit", "Audit", "audit", "audit", auditView, named("actor", "action", "before")},
	}
}

// moreNavigation are their entries of the navigation.
var moreNavigation = []navEntry{
	{"events", "Events", false},
	{"schedules", "Schedules", false},
	{"processes", "Processes", false},
	{"contracts", "Contracts", false},
	{"database", "Database", false},
	{"audit", "Audit", false},
}
