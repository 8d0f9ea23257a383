package ops

import (
	"fmt"
	"time"
)

// Count is a number of rows and how far to trust it.
type Count struct {
	N         int64     `json:"n"`
	Precision Precision `json:"precision"`
	// Age is how long ago it was counted; nil where it was counted for this answer.
	Age *Duration `json:"age_seconds,omitempty"`
}

// String renders 12, 88212 (12s), which was counted 12 seconds ago, 1000+ or ~3100000.
func (c Count) String() string {
	switch {
	case c.Precision == Estimate:
		return fmt.Sprintf("~%d", c.N)
	case c.Precision == AtLeast:
		return fmt.Sprintf("%d+", c.N)
	case c.Age != nil:
		return fmt.Sprintf("%d (%v)", c.N, c.Age.Round(time.Second))
	}
	return fmt.Sprint(c.N)
}

// setAge says of the counts that a process has counted that it did so that long (microseconds) ago.
func setAge(us *int64, counts ...*Count) {
	for _, c := range counts {
		if c.Precision == Counted {
			c.Age = microsOf(us)
		}
	}
}
