package ops

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

const rightSecret = "the-right-secret-0123456789"

// asked asks for a permission with a secret, and returns how long the answer took on the bubble's clock.
func asked(t *testing.T, authorize Authorize, from, secret string) (time.Duration, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = from
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	begun := time.Now()
	_, err := authorize(r, PermissionRead)
	return time.Since(begun), err
}

// Wrong tokens are answered ever later, by their address; the right one is answered at once from there too.
func TestWrongTokensAreSlowedDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		authorize := authorizeTokens([]Token{{Name: "rita", Secret: rightSecret,
			Permissions: []Permission{PermissionRead}}})
		const here, neighbour, elsewhere = "192.0.2.1:1111", "[2001:db8::1]:1", "192.0.2.2:1111"
		for _, c := range []struct {
			name, from, secret string
			want               time.Duration
		}{
			{"no token is no guess", here, "", 0},
			{"a first wrong token", here, "wrong", firstGuessDelay},
			{"a second one, from another port", "192.0.2.1:2222", "wrong again", 2 * firstGuessDelay},
			{"the right one from there", here, rightSecret, 0},
			{"one from another address", elsewhere, "wrong", firstGuessDelay},
			{"IPv6", neighbour, "wrong", firstGuessDelay},
			{"the same network of IPv6", "[2001:db8::2]:1", "wrong", 2 * firstGuessDelay},
			{"no address", "@", "wrong", firstGuessDelay},
		} {
			took, err := asked(t, authorize, c.from, c.secret)
			if took != c.want || (err == nil) != (c.secret == rightSecret) {
				t.Errorf("%s: answered after %v with %v; want after %v", c.name, took, err, c.want)
			}
		}
		for range 10 {
			_, _ = asked(t, authorize, here, "wrong")
		}
		if took, _ := asked(t, authorize, here, "wrong"); took != maxGuessDelay {
			t.Errorf("after many guesses an answer takes %v; want %v", took, maxGuessDelay)
		}
		time.Sleep(guessMemory + time.Second)
		if took, _ := asked(t, authorize, here, "wrong"); took != firstGuessDelay {
			t.Errorf("after a quiet minute an answer takes %v; want %v", took, firstGuessDelay)
		}
	})
}

// However many addresses guess, memory is bounded; those that find no room are slowed down together.
func TestGuessersAreBounded(t *testing.T) {
	t.Parallel()
	g, now := newGuesses(), time.Now()
	count := func(i int) time.Duration {
		r := &http.Request{RemoteAddr: fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)}
		return g.count(addressOf(r), now)
	}
	for i := range 3 * maxGuessers {
		count(i)
	}
	if len(g.wrong) != maxGuessers {
		t.Errorf("%d addresses are remembered; want %d", len(g.wrong), maxGuessers)
	}
	if got := count(3 * maxGuessers); got != maxGuessDelay {
		t.Errorf("one of too many addresses waits for %v; want %v", got, maxGuessDelay)
	}
	now = now.Add(guessMemory + time.Second)
	if count(4 * maxGuessers); len(g.wrong) != 1 {
		t.Errorf("%d addresses are remembered after a quiet minute; want 1", len(g.wrong))
	}
}
