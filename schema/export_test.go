package schema

import "encoding/json"

// BenchOrder is an order of 20 fields and its contract.
func BenchOrder() (payload json.RawMessage, document Document) {
	return benchPayload(), MustFor[benchOrder]()
}
