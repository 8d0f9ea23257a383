package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Permission is what a request needs.
type Permission string

const (
	// PermissionRead lets its holder see everything but payloads.
	PermissionRead Permission = "read"
	// PermissionPayloads lets its holder see payloads, metadata and results, through Config.Redact.
	PermissionPayloads Permission = "payloads"
	// PermissionChange lets its holder retry, purge, cancel, pause, replay and so on. It does not include reading.
	PermissionChange Permission = "change"
)

// Authorize decides whether a request may do what needs a permission, and returns the name that
// audit records give to who asks. Its error is [ErrUnauthenticated] (the answer is 401) or
// [ErrForbidden] (403), wrapped or not; any other is a 500. It is called by several goroutines.
type Authorize func(r *http.Request, need Permission) (actor string, err error)

// Token is a secret that lets its bearer in.
type Token struct {
	// Name is who holds it, for audit records.
	Name string
	// Secret is what the request must bring: Authorization: Bearer, or as the password of Basic,
	// which browsers ask for. It must have at least 16 bytes.
	Secret string
	// Permissions are what it permits.
	Permissions []Permission
}

// minSecretBytes is how long a secret must be at least.
const minSecretBytes = 16

// problem returns why the token lets nobody in, or an empty string.
func (t Token) problem() string {
	switch {
	case t.Name == "":
		return "it has no name, which audit records need"
	case len(t.Secret) < minSecretBytes:
		return fmt.Sprintf("its secret has %d bytes, fewer than %d, so it could be guessed",
			len(t.Secret), minSecretBytes)
	}
	return ""
}

// authorizeTokens authorises by fixed tokens. Secrets are compared in constant time, and wrong ones are answered late.
func authorizeTokens(known []Token) Authorize {
	guesses := newGuesses()
	sums := make([][sha256.Size]byte, 0, len(known))
	for _, t := range known {
		sums = append(sums, sha256.Sum256([]byte(t.Secret)))
	}
	return func(r *http.Request, need Permission) (string, error) {
		secret := bearer(r)
		sum := sha256.Sum256([]byte(secret))
		found := -1
		for i := range sums {
			if subtle.ConstantTimeCompare(sum[:], sums[i][:]) == 1 {
				found = i
			}
		}
		switch {
		case found < 0 && secret != "":
			guesses.delay(r)
			return "", ErrUnauthenticated
		case found < 0:
			return "", ErrUnauthenticated
		case !slices.Contains(known[found].Permissions, need):
			return known[found].Name, ErrForbidden
		}
		return known[found].Name, nil
	}
}

func bearer(r *http.Request) string {
	if scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok &&
		strings.EqualFold(scheme, "Bearer") {
		return secret
	}
	_, password, _ := r.BasicAuth()
	return password
}
