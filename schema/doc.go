// Package schema makes contracts out of Go structs and holds payloads and their evolution to them.
//
// The contracts are JSON Schema documents, draft 7, in the subset that is really enforced: a keyword that would be
// ignored is refused when the document is compiled, by name. Nothing is ever fetched: references stay inside the
// document.
//
//   - [For] writes the document of a Go type.
//   - [Compile] and [Schema.Validate] check payloads.
//   - [Check] and [CheckHistory] compare versions of a contract, [CheckDir] a directory of them, without a database.
//   - [Upcast] brings payloads of older versions to the newest struct.
//
// All functions of this package are safe for concurrent use, and so are the values they return.
package schema
