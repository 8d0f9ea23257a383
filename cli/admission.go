package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	ucli "github.com/urfave/cli/v2"

	"github.com/strunk-go/strunk/ops"
)

// tokensVariable is the environment variable that may hold the tokens of serve.
const tokensVariable = "STRUNK_TOKENS"

// admission is who may do what over HTTP: the bearers of tokens, those whom a reverse proxy names in a header, or,
// with neither, everybody on this machine.
type admission struct {
	tokens      []ops.Token
	header      string
	permissions []ops.Permission
}

// everybodyHere lets everybody on this machine do everything.
func everybodyHere() admission {
	return admission{permissions: []ops.Permission{ops.PermissionRead, ops.PermissionPayloads, ops.PermissionChange}}
}

// admission reads the flags of serve, and keeps the secrets of its tokens out of what is printed.
func (p *program) admission(c *ucli.Context) (a admission, err error) {
	if a.permissions, err = parsePermissions(c.String("permissions")); err != nil {
		return a, usagef("serve: --permissions: %v", err)
	}
	source, text := tokensVariable, os.Getenv(tokensVariable)
	if file := c.String("tokens-file"); file != "" {
		doc, err := os.ReadFile(file)
		if err != nil {
			return a, fmt.Errorf("serve: --tokens-file: %w", err)
		}
		source, text = file, string(doc)
	}
	a.tokens, err = p.parseTokens(text)
	a.header = http.CanonicalHeaderKey(c.String("trust-header"))
	switch {
	case err != nil:
		return a, usagef("serve: %s: %v", source, err)
	case c.IsSet("tokens-file") && len(a.tokens) == 0:
		return a, usagef("serve: %s: it has no tokens; write lines of NAME PERMISSIONS SECRET", source)
	case len(a.tokens) > 0 && a.header != "":
		return a, usagef("serve: there are both tokens and --trust-header; choose one")
	case len(a.tokens) > 0 && c.IsSet("permissions"):
		return a, usagef("serve: --permissions: each token has permissions of its own; leave the flag out")
	}
	return a, nil
}

// parseTokens reads lines of NAME PERMISSIONS SECRET. Empty lines, and those that begin with #, are left out. Errors
// name lines, not what they hold.
func (p *program) parseTokens(text string) (tokens []ops.Token, err error) {
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d has %d words; write NAME PERMISSIONS SECRET", i+1, len(fields))
		}
		p.keep(fields[2])
		permissions, err := parsePermissions(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		tokens = append(tokens, ops.Token{Name: fields[0], Secret: fields[2], Permissions: permissions})
	}
	return tokens, nil
}

// parsePermissions reads names of permissions with commas between them.
func parsePermissions(text string) (permissions []ops.Permission, err error) {
	known := everybodyHere().permissions
	for _, name := range strings.Split(text, ",") {
		if permission := ops.Permission(name); slices.Contains(known, permission) {
			permissions = append(permissions, permission)
			continue
		}
		return nil, fmt.Errorf("%q is no permission; there are read, payloads and change", name)
	}
	return permissions, nil
}

// String says who is let in.
func (a admission) String() string {
	switch {
	case len(a.tokens) > 0:
		return fmt.Sprintf("the bearers of %d tokens", len(a.tokens))
	case a.header != "":
		return fmt.Sprintf("whom the header %s names, with the permissions %s", a.header, a.permitted())
	}
	return "everybody on this machine, with the permissions " + a.permitted()
}

func (a admission) permitted() string { return strings.Trim(fmt.Sprint(a.permissions), "[]") }

// config is the configuration of the handler, whose live streams end with ctx.
func (a admission) config(ctx context.Context) ops.Config {
	cfg := ops.Config{Tokens: a.tokens, Done: ctx.Done()}
	if len(a.tokens) == 0 {
		cfg.Authorize = a.authorize
	}
	return cfg
}

// authorize is for requests without tokens.
func (a admission) authorize(r *http.Request, need ops.Permission) (string, error) {
	person := "anybody"
	if a.header != "" {
		if person = r.Header.Get(a.header); person == "" || len(person) > maxPerson || !utf8.ValidString(person) {
			return "", ops.ErrUnauthenticated
		}
	}
	if !slices.Contains(a.permissions, need) {
		return person, ops.ErrForbidden
	}
	return person, nil
}

// maxPerson bounds what a reverse proxy's header names, in bytes.
const maxPerson = 200

// guard refuses requests for the name of another machine where no secret is asked: a page of that name, whose address
// turned to this machine after it was loaded, would reach this one through its reader's browser (DNS rebinding).
func (a admission) guard(next http.Handler) http.Handler {
	if len(a.tokens) > 0 || a.header != "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host) {
			http.Error(w, "this answers to localhost only, and asks for no password; see `strunk serve --help` for "+
				"tokens and for reverse proxies", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocalName reports whether the Host of a request is this machine, whatever a name server says.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && address.IsLoopback()
}
