package cli

import "slices"

// CommandNames are the commands of the program, subcommands with their parents' names before them.
func CommandNames() []string {
	all := map[string][]string{}
	commandFlags(all, "", (&program{}).app().Commands)
	names := []string{}
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
