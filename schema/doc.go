// Package schema makes contracts out of Go structs and holds payloads and their evolution to them.
//
// The contracts are JSON Schema documents, draft 7. A struct has one:
//
//	document, err := schema.For[Order]()
//
// It is kept as a file, and each change of the struct is a new version beside it. A test compares them, without a
// database:
//
//	err := schema.CheckDir(os.DirFS("schemas"), schema.BackwardTransitive)
//
// A payload is checked against it:
//
//	contract, err := schema.Compile(document)
//	err = contract.Validate(payload)
//
// A program holds what it publishes and enqueues to the contracts of a registry in the database, before its transaction
// is touched:
//
//	var Orders = events.Define("order", Order.Key, events.Config{Validator: schema.Validator{}})
//
// A handler reads older payloads, which are in the table still, as the newest struct:
//
//	var orders = schema.Upcast[Order]("2.0", schema.From("1.0", func(old OrderV1) (Order, error) { ... }))
//
// # Guarantees
//
// A document is enforced as it stands: a keyword that would be ignored is refused when the document is compiled, by
// name. Nothing is ever fetched: references stay inside the document. Validation and comparison end within a budget of
// work, whatever they are given. A change that [Check] accepts breaks no reader of its [Mode]; it refuses what it
// cannot prove.
//
// # Where to go on
//
//   - [For] writes the document of a Go type; [Closed] and [TypeAs] are its options.
//   - [Compile] and [Schema.Validate] check payloads.
//   - [Check] and [CheckHistory] compare versions of a contract, [CheckDir] a directory of them.
//   - [Upcast] brings payloads of older versions to the newest struct.
//   - [NewRegistry] keeps the versions in the database; [Validator] holds the producers of all programs to them.
//   - outbox.CheckPayloads and outboxtest.RequireDecodes find stored payloads that a new program could not read.
//
// All functions of this package are safe for concurrent use, and so are the values they return.
package schema
