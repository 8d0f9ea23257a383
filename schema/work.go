package schema

import (
	"encoding/json"
	"reflect"
	"strconv"
)

// tooMuchWork counts the checks of a validation beforehand: gojsonschema can't be stopped, and two branches that both
// refer back to the schema double the work with every level of the payload.
func tooMuchWork(root *node, value any) bool {
	work := work{known: map[workKey]int{}}
	return work.of(root, value) > maxWork
}

// unrolled counts the schemas that a document has once every reference is followed, up to maxWork; it is maxWork for
// one that refers to itself. No value is asked more questions than that.
func unrolled(n *node, known map[*node]int) int {
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = maxWork // as long as it is open, so that a circle counts as that
	size := 1
	for _, part := range append(n.inPlace(), n.below()...) {
		size = min(size+unrolled(part, known), maxWork)
	}
	known[n] = size
	return size
}

type work struct{ known map[workKey]int }

type workKey struct {
	schema *node
	value  uintptr
}

// of returns how many checks a value takes under a schema; what it counted once, it remembers.
func (w work) of(n *node, value any) int {
	key := workKey{n, 0}
	switch value.(type) {
	case map[string]any, []any:
		key.value = reflect.ValueOf(value).Pointer()
	}
	if known, ok := w.known[key]; ok {
		return known
	}
	total := 1
	for _, part := range n.inPlace() {
		total += w.of(part, value)
	}
	total = min(total+w.below(n, value), maxWork+1)
	w.known[key] = total
	return total
}

func (w work) below(n *node, value any) (total int) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			total = min(total+w.all(n.forKey(key), item)+len(n.patterns)+1, maxWork+1)
		}
	case []any:
		for i, item := range v {
			total = min(total+w.all(n.forIndex(i), item)+w.all(present([]*node{n.contains}), item), maxWork+1)
		}
	}
	return total
}

func (w work) all(nodes []*node, value any) (total int) {
	for _, n := range nodes {
		total += w.of(n, value)
	}
	return total
}

// checkTellable refuses arrays with different numbers that are one float64: gojsonschema's uniqueItems would take
// them for the same.
func checkTellable(value any, path string) error {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if err := checkTellable(v[key], pointer(path, key)); err != nil {
				return err
			}
		}
	case []any:
		return checkTellableItems(v, path)
	}
	return nil
}

func checkTellableItems(items []any, path string) error {
	exact := map[string]string{}
	for i, item := range items {
		if err := checkTellable(item, pointer(path, strconv.Itoa(i))); err != nil {
			return err
		}
		rounded, value := canonical(asFloats(item)), canonical(item)
		if known, ok := exact[rounded]; ok && known != value {
			return &limitError{pointer(path, strconv.Itoa(i)), "uniqueItems",
				"holds a number that differs from another one beyond what a float64 can tell: send such numbers as strings"}
		}
		exact[rounded] = value
	}
	return nil
}

// asFloats rounds every number of a value to a float64.
func asFloats(value any) any {
	switch v := value.(type) {
	case json.Number:
		rounded, _ := v.Float64()
		return json.Number(strconv.FormatFloat(rounded, 'g', -1, 64))
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = asFloats(item)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, item := range v {
			object[key] = asFloats(item)
		}
		return object
	}
	return value
}
