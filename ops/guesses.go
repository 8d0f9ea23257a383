package ops

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// How late a wrong token is answered.
const (
	// firstGuessDelay is the delay of the first wrong token of an address; each further one doubles it.
	firstGuessDelay = 100 * time.Millisecond
	// maxGuessDelay bounds the delay.
	maxGuessDelay = 5 * time.Second
	// guessMemory is how long the wrong tokens of an address are remembered after the last of them.
	guessMemory = time.Minute
	// maxGuessers bounds the addresses that are remembered; all others are counted as one.
	maxGuessers = 1_000
	// maxDelayed bounds the requests that wait at once. More are answered without a delay.
	maxDelayed = 100
)

// guesses slows down who tries wrong tokens, by their address. A right token never waits, so that nobody can lock its
// bearer out. It is safe for several goroutines.
type guesses struct {
	delayed chan struct{}

	mu     sync.Mutex
	wrong  map[netip.Prefix]*guesser
	others guesser // the addresses that wrong has no room for
}

// guesser is what is remembered of an address.
type guesser struct {
	delay time.Duration
	last  time.Time
}

func newGuesses() *guesses {
	return &guesses{delayed: make(chan struct{}, maxDelayed), wrong: map[netip.Prefix]*guesser{}}
}

// delay counts a wrong token of the request's address, and waits as long as that address has to.
func (g *guesses) delay(r *http.Request) {
	wait := g.count(addressOf(r), time.Now())
	select {
	case g.delayed <- struct{}{}:
		defer func() { <-g.delayed }()
	default:
		return
	}
	select {
	case <-time.After(wait):
	case <-r.Context().Done():
	}
}

// count counts a wrong token of an address, and returns its delay.
func (g *guesses) count(from netip.Prefix, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	who := g.of(from, now)
	if now.Sub(who.last) > guessMemory {
		who.delay = 0
	}
	who.delay = min(max(2*who.delay, firstGuessDelay), maxGuessDelay)
	who.last = now
	return who.delay
}

// of returns what is remembered of an address. Where there is no room, it first forgets those that tried long ago.
func (g *guesses) of(from netip.Prefix, now time.Time) *guesser {
	if who := g.wrong[from]; who != nil {
		return who
	}
	if len(g.wrong) >= maxGuessers {
		for address, who := range g.wrong {
			if now.Sub(who.last) > guessMemory {
				delete(g.wrong, address)
			}
		}
	}
	if len(g.wrong) >= maxGuessers {
		return &g.others
	}
	who := &guesser{}
	g.wrong[from] = who
	return who
}

// addressOf is the network that a request comes from: an IPv4 address, or the /64 of an IPv6 address, which one host
// may have all of. What is no address is the zero value.
func addressOf(r *http.Request) netip.Prefix {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	address, bits := peer.Addr().Unmap(), 32
	if address.Is6() {
		bits = 64
	}
	network, _ := address.Prefix(bits)
	return network
}
