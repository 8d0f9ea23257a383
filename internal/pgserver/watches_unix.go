//go:build unix

package pgserver

import (
	"os"
	"os/exec"
)

// databasesScript waits for the parent's end and then has psql, $1, drop the databases whose names begin with $2; a
// word before the end tells it that this is done.
const databasesScript = `
read -r word && exit 0
[ -n "$1" ] || exit 0
printf '%s\n' "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', datname)
FROM pg_catalog.pg_database WHERE starts_with(datname, '$2') \\gexec" |
	"$1" -X -q -d "$STRUNK_TEST_SERVER" >/dev/null 2>&1
exit 0
`

// containerScript waits for the parent's end and then has the docker client, $1, remove the container $2; again after
// a moment, for one that was being made. A word before the end tells it that this is done.
const containerScript = `
read -r word && exit 0
[ -n "$1" ] || exit 0
"$1" rm -f -v "$2" >/dev/null 2>&1
sleep 5
"$1" rm -f -v "$2" >/dev/null 2>&1
exit 0
`

// watchDatabases drops a dead run's databases at once where psql is at hand; elsewhere the next run does.
func watchDatabases(r request, prefix string) (*Watchdog, error) {
	return startWatchdog(asCaller("STRUNK_TEST_SERVER="+r.places.databaseURL, "PGCONNECT_TIMEOUT=10"),
		databasesScript, findProgram(r.places, "psql"), prefix)
}

// WatchContainer removes a dead process's container at once where there is a docker client; elsewhere the container's
// limited life does.
func WatchContainer(name string) (*Watchdog, error) {
	return startWatchdog(asCaller(), containerScript, findProgram(systemPlaces(), "docker"), name)
}

func asCaller(env ...string) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		detach(cmd)
		cmd.Env = append(os.Environ(), env...)
		return nil
	}
}
