package queue

import "github.com/strunk-go/strunk/internal/core"

// maxClaimedBytes bounds the payloads of each of a claim's two passes, as they are stored: with a link of 0.6 MB/s both
// take less than claimTimeout.
const maxClaimedBytes = 4 << 20

// claimSize bounds a worker's claims by rows and bytes. It outlives a session: a worker that lost its lease over claims
// that took too long must not begin with large ones again. Its methods belong to one goroutine.
type claimSize struct {
	*core.ReadLimit
}

func newClaimSize() claimSize { return claimSize{core.NewReadLimit(maxClaimed, maxClaimedBytes)} }

// claimed says what a claim of up to so many bytes has brought, and reports whether its bytes may have cut it off.
func (s claimSize) claimed(jobs []*job, bytes int64) (cut bool) {
	const header = 8 // a document is stored with up to so many bytes more
	got := int64(0)
	for _, j := range jobs {
		got += int64(len(j.payload)) + header
	}
	cut = got >= bytes
	s.Succeeded(len(jobs), cut)
	return cut
}
