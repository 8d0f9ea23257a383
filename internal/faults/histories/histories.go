// Package histories checks what a consumer saw of the states that were published: of each entity every version at least
// once and in order, and nothing else. A consumer is a subscriber's handler, or whoever reads what a forwarder has
// brought to a broker.
package histories

import (
	"fmt"
	"slices"
)

// State is one publish. The mark is in the published state, and no other publish of its entity has it.
type State struct {
	Entity string
	Mark   int64
}

// Seen is a state as a consumer saw it.
type Seen struct {
	State
	Version int64
}

// Check compares what was published, in any order, with what one consumer saw, in its order. It returns a line for each
// thing that is wrong, sorted:
//
//   - a state was not seen, or was never published;
//   - a state was seen with two versions, or a version with two states;
//   - a version was seen before the one below it.
func Check(published []State, seen []Seen) (findings []string) {
	found := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	versions := map[State]int64{} // 0 for one that was not seen yet
	for _, s := range published {
		versions[s] = 0
	}
	type place struct {
		entity  string
		version int64
	}
	marks, last := map[place]int64{}, map[string]int64{}
	for _, s := range seen {
		switch version, known := versions[s.State]; {
		case !known:
			found("%s: version %d with mark %d was never published", s.Entity, s.Version, s.Mark)
		case version != 0 && version != s.Version:
			found("%s: mark %d has version %d and version %d", s.Entity, s.Mark, version, s.Version)
		}
		at := place{s.Entity, s.Version}
		if mark, known := marks[at]; known && mark != s.Mark {
			found("%s: version %d has mark %d and mark %d", s.Entity, s.Version, mark, s.Mark)
		}
		if s.Version > last[s.Entity]+1 {
			found("%s: version %d came after version %d", s.Entity, s.Version, last[s.Entity])
		}
		versions[s.State], marks[at] = s.Version, s.Mark
		last[s.Entity] = max(last[s.Entity], s.Version)
	}
	for s, version := range versions {
		if version == 0 {
			found("%s: mark %d was not seen", s.Entity, s.Mark)
		}
	}
	slices.Sort(findings)
	return findings
}

// InOrder returns what a consumer keeps that drops what comes too early: of each entity the versions from 1 on, without
// a gap, and repeats of them. A log that was emptied and is filled again from the beginning has, before and between,
// what was under way at that time. Check of the rest says whether all of it is there.
func InOrder(seen []Seen) (kept []Seen) {
	last := map[string]int64{}
	for _, s := range seen {
		if s.Version > last[s.Entity]+1 {
			continue
		}
		kept = append(kept, s)
		last[s.Entity] = max(last[s.Entity], s.Version)
	}
	return kept
}

// Of returns what was seen of the states that were published: of one of several databases, for example, whose entities
// have the same names.
func Of(published []State, seen []Seen) (kept []Seen) {
	for _, s := range seen {
		if slices.Contains(published, s.State) {
			kept = append(kept, s)
		}
	}
	return kept
}
