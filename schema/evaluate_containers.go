package schema

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
)

func (e *evaluation) checkArray(n *node, items []any) bool {
	all := e.checkCount("Items", "items", n.minItems, n.maxItems, len(items))
	if n.items != nil || n.tuple != nil {
		all = (all || e.explains != nil) && e.checkItems(n, items) && all
	}
	if n.unique && (all || e.explains != nil) {
		all = e.checkUnique(items) && all
	}
	if n.contains != nil && !slices.ContainsFunc(items, func(item any) bool { return e.silently(n.contains, item) }) {
		all = e.fail("contains", plain("has no item that fits"))
	}
	return all
}

func (e *evaluation) checkItems(n *node, items []any) bool {
	all := true
	for i, item := range items {
		want := n.forItem(i)
		switch {
		case want == nil:
		case want == n.additionalItems && want.isFalse():
			return e.fail("additionalItems", with("has more items than the %d that are allowed", len(n.tuple)))
		default:
			all = e.item(i, want, item) && all
		}
		if !all && e.explains == nil || e.exhausted() {
			return false
		}
	}
	return all
}

func (e *evaluation) item(i int, want *node, item any) bool {
	if e.explains == nil {
		return e.check(want, item)
	}
	return e.below(strconv.Itoa(i), want, item)
}

func (e *evaluation) checkUnique(items []any) bool {
	if len(items) < 2 || !e.spend(checksPerUnique, workComparing) {
		return len(items) < 2
	}
	seen := map[string]bool{}
	for _, item := range items {
		text := e.written(item)
		if !e.spend(checksPerUnique, workComparing) {
			return false
		}
		if seen[string(text)] {
			return e.fail("uniqueItems", plain("has the same item twice"))
		}
		seen[string(text)] = true
	}
	return true
}

func (e *evaluation) checkObject(n *node, properties map[string]any) bool {
	all := e.checkCount("Properties", "properties", n.minProperties, n.maxProperties, len(properties))
	all = e.checkRequired(n, properties) && all
	if !all && e.explains == nil {
		return false
	}
	if n.asksProperties() {
		all = e.checkProperties(n, properties) && all
	}
	if len(n.dependencies) > 0 && (all || e.explains != nil) {
		all = e.checkDependencies(n, properties) && all
	}
	return all
}

func (e *evaluation) checkRequired(n *node, properties map[string]any) bool {
	return e.hasAll(n.required, properties, func(key string) bool {
		return e.fail("required", func() string { return "lacks the property " + quoteClipped(key) })
	})
}

// hasAll pays for the look-ups of property names. Where only the verdict is wanted it stops at the first that lacks.
func (e *evaluation) hasAll(keys []string, properties map[string]any, lacks func(key string) bool) bool {
	all, looked := true, 0
	for _, key := range keys {
		looked += 1 + len(key)/bytesPerLook
		if _, has := properties[key]; !has {
			all = lacks(key)
			if e.explains == nil {
				break
			}
		}
	}
	return e.spend(looked/looksPerCheck, workProperties) && all
}

func (n *node) asksProperties() bool {
	return len(n.properties) > 0 || len(n.patterns) > 0 || n.additional != nil || n.propertyNames != nil
}

// checkProperties goes through the properties, in the order of their names where the reasons are wanted, so that these
// are the same each time.
func (e *evaluation) checkProperties(n *node, properties map[string]any) bool {
	if e.explains == nil {
		for key, value := range properties {
			if !e.checkProperty(n, key, value) {
				return false
			}
		}
		return true
	}
	all := e.spend(len(properties)*bits.Len(uint(len(properties)))/sortedPerCheck, workProperties)
	for _, key := range sortedKeys(properties) {
		all = e.checkProperty(n, key, properties[key]) && all
		if e.exhausted() {
			return false
		}
	}
	return all
}

func (e *evaluation) checkProperty(n *node, key string, value any) bool {
	all, known := e.spend(1+len(key)/bytesPerLook, workProperties), false
	if want, declared := n.properties[key]; declared {
		known = true
		all = e.below(key, want, value) && all
	}
	for _, p := range n.patterns {
		if e.exhausted() {
			return false
		}
		if e.matches(p.regex, key) {
			known = true
			all = e.below(key, p.schema, value) && all
		}
	}
	if !known && n.additional != nil {
		all = e.checkAdditional(n, key, value) && all
	}
	if n.propertyNames != nil && !e.silently(n.propertyNames, key) {
		all = e.fail("propertyNames", func() string {
			return "has the property " + quoteClipped(key) + ", whose name is not allowed"
		})
	}
	return all
}

func (e *evaluation) checkAdditional(n *node, key string, value any) bool {
	if !n.additional.isFalse() {
		return e.below(key, n.additional, value)
	}
	if e.explains == nil {
		return false
	}
	e.explains.path = append(e.explains.path, key)
	e.fail("additionalProperties", plain("is a property that is not allowed"))
	e.explains.path = e.explains.path[:len(e.explains.path)-1]
	return false
}

func (e *evaluation) checkDependencies(n *node, properties map[string]any) bool {
	all := true
	for _, d := range n.dependencies {
		if !e.spend(1+len(d.key)/bytesPerLook, workProperties) {
			return false
		}
		if _, has := properties[d.key]; !has {
			continue
		}
		if d.schema != nil {
			all = e.check(d.schema, properties) && all
			continue
		}
		all = e.hasAll(d.keys, properties, func(needed string) bool {
			return e.fail("dependencies", func() string {
				return fmt.Sprintf("lacks the property %s, which %s asks for", quoteClipped(needed),
					quoteClipped(d.key))
			})
		}) && all
	}
	return all
}
