package outbox

// Patience is the longest that the reaper waits for a lock.
const Patience = patience
