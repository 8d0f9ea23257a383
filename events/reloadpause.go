package events

import "time"

// maxReloadPause bounds the pause between two sessions.
const maxReloadPause = time.Second

// reloadPause keeps an owner from reading its place again and again where each session ends at once,
// as with a restored cursor beyond the end of a feed that was not restored.
type reloadPause struct{ last time.Duration }

// after is how long to wait after a session that has lasted so long: it doubles from session to
// session, and begins anew after one that went on.
func (p *reloadPause) after(lasted time.Duration) time.Duration {
	if lasted > maxReloadPause {
		p.last = 0
	}
	p.last = min(max(2*p.last, firstPause), maxReloadPause)
	return p.last
}
