package queue

import "time"

// SetKey gives a task a key, from within its middleware.
func SetKey(i *Incoming, key string) { i.j.key = key }

// ClaimTimeout bounds the claims of a worker.
func ClaimTimeout(d time.Duration) WorkerOption {
	return workerOption(func(o *workerOptions) { o.claimTimeout = d })
}

// MaxClaimedBytes bounds the payloads of one claim.
const MaxClaimedBytes = maxClaimedBytes
