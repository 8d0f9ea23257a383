package pgserver

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Way is a further way to a server. A package of its own registers it, as database/sql drivers are
// registered, so that only a program that imports that package links what the way needs.
type Way struct {
	// Name is how Config.Only and errors call the way. Registered ways are tried in the order of their names.
	Name string

	// Open returns a running server, or the reason why there is none this way.
	Open func(context.Context, Config) (Backend, error)

	// Remedy tells who has no server how to make this way work, as in "start Docker".
	Remedy string
}

var (
	registerMu sync.Mutex // held while using registry
	registry   = map[string]Way{}
)

// Register adds a way, or replaces the one of the same name. It is for init functions.
func Register(w Way) {
	registerMu.Lock()
	defer registerMu.Unlock()
	registry[w.Name] = w
}

// registeredWays returns the registered ways in the order of their names.
func registeredWays() []Way {
	registerMu.Lock()
	defer registerMu.Unlock()
	ways := make([]Way, 0, len(registry))
	for _, w := range registry {
		ways = append(ways, w)
	}
	slices.SortFunc(ways, func(a, b Way) int { return cmp.Compare(a.Name, b.Name) })
	return ways
}
