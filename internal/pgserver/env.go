package pgserver

import "strings"

// serverEnv is an environment without what would change a server's or a client's behaviour, in UTC and the C locale.
func serverEnv(environ []string) []string {
	kept := make([]string, 0, len(environ)+2)
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !unwanted(name) {
			kept = append(kept, entry)
		}
	}
	return append(kept, "LC_ALL=C", "TZ=UTC")
}

func unwanted(name string) bool {
	switch name {
	case "LANG", "LANGUAGE", "TZ", "DATABASE_URL":
		return true
	}
	return strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_")
}
