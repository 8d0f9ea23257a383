package schedule_test

import (
	"errors"
	"testing"
	"time"

	"github.com/strunk-go/strunk/schedule"
)

// A spec is refused with the place of its fault, or is due after any time that it is asked about.
func FuzzParse(f *testing.F) {
	for _, spec := range []string{"every 30s", "@every 1h30m", "  every\t2w ", "1d12h", "500ms", "*/15 * * * *",
		"30 9 * * mon-fri", "0 12 1,15 * ?", "", "every "} {
		f.Add(spec, int64(1_750_000_000), false)
	}
	f.Fuzz(func(t *testing.T, text string, at int64, berlin bool) {
		zone := map[bool]string{true: "Europe/Berlin"}[berlin]
		spec, err := schedule.Parse(text, zone)
		if err != nil {
			var where *schedule.SpecError
			if !errors.As(err, &where) || where.Pos < 0 || where.Pos > len(text) || where.Error() == "" {
				t.Fatalf("%q is refused with %v", text, err)
			}
			return
		}
		const century = 100 * 366 * 24 * 3600
		from := time.Unix(at%century, 0)
		if next := spec.Next(from); !next.IsZero() && !next.After(from) {
			t.Fatalf("%q in %q is due at %v, asked for what comes after %v", text, zone, next, from)
		}
	})
}
