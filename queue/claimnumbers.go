package queue

import "sync"

// claimNumbers draws the numbers of a lease's claims, and remembers those whose tasks are not all
// settled and those whose answer was lost.
type claimNumbers struct {
	mu      sync.Mutex
	last    int64
	open    map[int64]int      // tasks left of each claim; 0 while it is under way
	unknown map[int64]struct{} // the answer was lost

	// After a break (see core.Host.Breaks) the table may hold tasks as claimed that this process has settled, of claims
	// up to doubtful. Once none of those is open, two comparisons in a row make sure of it.
	doubtful int64
	sure     int
}

func newClaimNumbers() *claimNumbers {
	return &claimNumbers{open: map[int64]int{}, unknown: map[int64]struct{}{}}
}

// next draws a number. It is known from now on, before the claim is sent.
func (c *claimNumbers) next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.open[c.last] = 0
	return c.last
}

// answered records how many tasks a claim brought.
func (c *claimNumbers) answered(number int64, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 {
		delete(c.open, number)
		return
	}
	c.open[number] = n
}

// lost records that the answer to a claim was lost: it may have taken tasks.
func (c *claimNumbers) lost(number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, number)
	c.unknown[number] = struct{}{}
}

// uncertain reports whether a claim may have taken tasks that this process does not know.
func (c *claimNumbers) uncertain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unknown) > 0
}

// reload has all claims compared again that were sent so far.
func (c *claimNumbers) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubtful, c.sure = c.last, 0
}

// settled records that the outcome of one of a claim's tasks was written.
func (c *claimNumbers) settled(number int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[number]--; c.open[number] <= 0 {
		delete(c.open, number)
	}
}

// known implements core.LeaseSpec.Claims.
func (c *claimNumbers) known() (low int64, known []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	low, known = c.last, make([]int64, 0, len(c.open))
	for number := range c.open {
		low = min(low, number-1)
		known = append(known, number)
	}
	for number := range c.unknown {
		low = min(low, number-1)
	}
	if c.doubtful > 0 {
		low = -1 // all are compared, even if none was made since the last comparison
	}
	return low, known
}

// resolved implements core.LeaseSpec.Resolved.
func (c *claimNumbers) resolved(voided int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for number := range c.unknown {
		if number <= voided {
			delete(c.unknown, number)
		}
	}
	c.sure++
	for number := range c.open {
		if number <= c.doubtful {
			c.sure = 0
		}
	}
	if c.sure >= 2 {
		c.doubtful = 0
	}
}
