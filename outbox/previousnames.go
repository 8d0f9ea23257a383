package outbox

import (
	"fmt"

	"github.com/strunk-go/strunk/internal/core"
)

// checkPreviousNames returns why bindings contradict each other about names: one's previous name is
// another's, now or before. What comes under such a name would be handled by either.
func checkPreviousNames(bound []core.Binding) (problems []error) {
	now, previously := map[[2]string]bool{}, map[[2]string]string{}
	for _, c := range bound {
		if r, ok := c.(core.Renamed); ok {
			kind, name, _ := r.PreviousNames()
			now[[2]string{kind, name}] = true
		}
	}
	for _, c := range bound {
		r, ok := c.(core.Renamed)
		if !ok {
			continue
		}
		kind, name, previous := r.PreviousNames()
		for _, alias := range previous {
			key := [2]string{kind, alias}
			if alias != name && now[key] {
				problems = append(problems, fmt.Errorf("strunk/outbox: run: the %s %q has the alias %q, which "+
					"another binding has as its name; bind it under one of the two", kind, name, alias))
			}
			if other, there := previously[key]; there && other != name {
				problems = append(problems, fmt.Errorf("strunk/outbox: run: the %s %q and %q both have the alias "+
					"%q; give it to one", kind, other, name, alias))
			}
			previously[key] = name
		}
	}
	return problems
}
