package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// checkCycles refuses references that come back to where they started without going through a property or an item,
// and schemas that ask too much of one value: a validator would run out of stack, or of time.
func (p *parser) checkCycles() {
	weights := &weights{parser: p, done: map[*node]weight{}, open: map[*node]bool{}}
	for _, n := range p.order {
		w := weights.of(n)
		if w.size > maxInPlace || w.depth > maxInPlaceDepth {
			p.fault(n.path, "", fmt.Sprintf("asks one value to meet more than %d schemas, or more than %d within "+
				"each other: "+
				"simplify its allOf, anyOf, oneOf and references", maxInPlace, maxInPlaceDepth))
			return
		}
		if len(p.problems) > 0 {
			return
		}
	}
}

type weight struct{ size, depth int }

type weights struct {
	parser *parser
	done   map[*node]weight
	open   map[*node]bool
}

// of counts the schemas that are asked about one and the same value, n included.
func (w *weights) of(n *node) weight {
	if known, ok := w.done[n]; ok {
		return known
	}
	if w.open[n] {
		w.parser.fault(n.path, "", "refers to itself without going through a property or an item, "+
			"so that it never ends: put a property between")
		return weight{}
	}
	w.open[n] = true
	total := weight{size: 1}
	for _, part := range n.inPlace() {
		inner := w.of(part)
		total.size = min(total.size+inner.size, maxInPlace+1)
		total.depth = max(total.depth, inner.depth+1)
	}
	delete(w.open, n)
	w.done[n] = total
	return total
}

// duplicateKey finds a key that an object of the document has twice: the first would be lost without a word.
func duplicateKey(document []byte) (string, bool) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var objects []map[string]bool // nil for an array
	expectKey := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return "", false
		}
		key, isText := token.(string)
		if expectKey && isText {
			if objects[len(objects)-1][key] {
				return key, true
			}
			objects[len(objects)-1][key] = true
			expectKey = false
			continue
		}
		objects = nest(objects, token)
		expectKey = len(objects) > 0 && objects[len(objects)-1] != nil
	}
}

func nest(objects []map[string]bool, token json.Token) []map[string]bool {
	switch token {
	case json.Delim('{'):
		return append(objects, map[string]bool{})
	case json.Delim('['):
		return append(objects, nil)
	case json.Delim('}'), json.Delim(']'):
		return objects[:len(objects)-1]
	}
	return objects
}
