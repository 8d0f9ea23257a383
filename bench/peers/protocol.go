package main

// Each library runs in processes of its own, the agents, so that the client's CPU can be told from that of this
// program, and libraries of another language are measured in the same way. An agent reads a request a line from its
// standard input and answers each with a line, in JSON. PGHOST and the other variables of libpq say where the server
// is. Times are microseconds since 1970.

// request asks an agent for one thing.
type request struct {
	Do      string `json:"do"` // one of the words below
	N       int    `json:"n,omitempty"`
	Batch   int    `json:"batch,omitempty"`
	Clients int    `json:"clients,omitempty"`
	Row     bool   `json:"row,omitempty"`  // whether each transaction has a business row too
	Rate    int    `json:"rate,omitempty"` // a second
	For     int64  `json:"for,omitempty"`  // microseconds
	Due     int64  `json:"due,omitempty"`  // when the first task is due; 0 means at once
	Every   int64  `json:"every,omitempty"`
	manner
}

// What an agent can be asked.
const (
	doHello   = "hello"   // Version and Settings
	doMigrate = "migrate" // the library's tables
	doFill    = "fill"    // N jobs, Batch a transaction; the first due at Due, each Every microseconds after the last
	doAdd     = "add"     // for the time For, jobs one a transaction by Clients at once: N and Took
	doPace    = "pace"    // N jobs at Rate, by Clients at once: At has the time after each commit, by the job's number
	doWork    = "work"    // starts a worker; At has the time just before
	doHandled = "handled" // N calls of the handler so far
	doCalls   = "calls"   // each Every-th call of the handler: its job in Jobs, its time in At
	doSettle  = "settle"  // when what is handled is stored as done
	doStop    = "stop"    // the worker's graceful end
)

// answer is an agent's.
type answer struct {
	Error    string  `json:"error,omitempty"`
	Version  string  `json:"version,omitempty"`
	Settings string  `json:"settings,omitempty"`
	N        int     `json:"n,omitempty"`
	Took     int64   `json:"took,omitempty"` // microseconds
	Jobs     []int   `json:"jobs,omitempty"`
	At       []int64 `json:"at,omitempty"`
	CPU      int64   `json:"cpu"` // microseconds that the agent's process has used so far
}
