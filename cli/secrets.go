package cli

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hidden stands in texts where a secret was.
const hidden = "xxxxx"

var (
	// urlPassword is the password of a URL, wherever one stands in a text: to the last @, which a
	// password may hold too.
	urlPassword = regexp.MustCompile(`(\w+://[^\s:/@]*:)\S*@`)
	// wordPassword is a password (or that of a client's key) among key=value words or in a URL's query.
	wordPassword = regexp.MustCompile(`(?i)((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]*)`)
)

// checkURL refuses a URL whose password would be taken for something else, such as the name of the
// host, which errors tell. Its error holds nothing of the URL.
func checkURL(dsn string) error {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return nil
	}
	u, err := url.Parse(dsn)
	if err == nil && (u.User != nil || !strings.Contains(u.Path+u.Fragment+u.RawQuery, "@")) &&
		!strings.Contains(u.Fragment, "@") {
		return nil
	}
	return usagef("--database-url: not a URL of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE; " +
		"special characters in a user or a password must be percent-encoded")
}

// keepSecret remembers what of a connection string must not be printed, in every spelling.
func (p *program) keepSecret(dsn string) {
	if u, err := url.Parse(dsn); err == nil {
		if password, ok := u.User.Password(); ok {
			p.keep(password)
		}
		p.keep(u.Query().Get("password"))
		p.keep(u.Query().Get("sslpassword"))
	}
	for _, match := range wordPassword.FindAllStringSubmatch(dsn, -1) {
		p.keep(strings.Trim(match[2], "'"))
		p.keep(regexp.MustCompile(`\\(.)`).ReplaceAllString(strings.Trim(match[2], "'"), "$1"))
	}
}

func (p *program) keep(secret string) {
	if secret == "" {
		return
	}
	quoted := strconv.Quote(secret) // as slog writes it
	p.secrets = append(p.secrets, secret, url.QueryEscape(secret), url.PathEscape(secret), quoted[1:len(quoted)-1])
	// none before one that holds it
	slices.SortFunc(p.secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
}

// redact takes the secrets out of a text.
func (p *program) redact(text string) string {
	for _, secret := range p.secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	text = urlPassword.ReplaceAllString(text, "${1}"+hidden+"@")
	return wordPassword.ReplaceAllString(text, "${1}"+hidden)
}
