// Package suite is the fault suite. A round has producers that record what they intended and what they were answered,
// workers and subscribers in processes of their own, and faults that a seed draws: processes killed and frozen,
// backends ended, the server crashed, links cut, held and slow, answers to COMMIT lost, time-outs of milliseconds,
// operators who pause, edit and change limits. When it has healed, and all has come to rest, a checker holds the record
// against the database: see check. Some rounds follow each other on one database, with the same processes; the seed of
// the first and their number repeat them. It has tests only.
//
//	go test ./internal/faults/suite -args -rounds 100 -slow
//	go test ./internal/faults/suite -v -args -seed 42
//	go test ./internal/faults/suite -args -rounds 200 -plant completion-without-token
package suite
