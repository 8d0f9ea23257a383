package queue

// position is the place of a task in the order of starts: the claim number, MaxPriority - priority, and seq.
type position [3]int64

func positionOf(j *job) position { return position{j.claim, int64(MaxPriority - j.priority), j.seq} }

// endOf is the position after all tasks of a claim, as strunk_claim writes it.
func endOf(claim int64) position { return position{claim, levels, 0} }

// later returns the later of two positions.
func later(a, b position) position {
	for i := range a {
		if a[i] != b[i] {
			if a[i] > b[i] {
				return a
			}
			return b
		}
	}
	return a
}
