package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/strunk-go/strunk/outbox"
)

// Defaults and limits of Config.
const (
	DefaultTimeout      = 10 * time.Second
	DefaultRefresh      = 2 * time.Second
	DefaultMaxBody      = 64 << 10
	DefaultMaxStreams   = 16
	DefaultStreamFor    = 10 * time.Minute
	DefaultMaxRequests  = 8
	DefaultMetricSeries = 200
)

// Config configures Handler. The zero value is refused: it lets nobody in.
type Config struct {
	// Tokens lets the bearers of secrets in. It is required, unless there is Authorize or Insecure.
	Tokens []Token
	// Authorize lets requests in, in place of Tokens, by whatever rule the application has.
	Authorize Authorize
	// Insecure lets everybody read and change everything. For a laptop, or behind a proxy that authorises.
	Insecure bool
	// TrustedOrigins are other origins ("https://ops.example.com") whose pages may send changes. A
	// change that a browser sends from any other origin is refused.
	TrustedOrigins []string
	// Title is what the page calls the installation, for example "shop, production"; empty means the names of the
	// database and of the schema.
	Title string
	// TraceURL is where a trace is looked at, with {trace} for its id in hexadecimal digits, for example
	// "https://tempo.example.com/trace/{trace}"; empty has the page show the id alone.
	TraceURL string
	// Redact is called for each payload, metadata and result that is about to be shown, and returns what is shown
	// instead; nil shows them as they are stored, to those with PermissionPayloads. What it returns must be JSON or
	// nil.
	Redact func(ctx context.Context, task TaskDetails, doc json.RawMessage) json.RawMessage
	// Audit is called after each change, and after each that was refused, in the request's
	// goroutine; a record goes to the box's Logger in any case.
	Audit func(ctx context.Context, record AuditRecord)
	// Thresholds are those of health and of the dashboard.
	Thresholds Thresholds
	// Timeout bounds a request; zero means DefaultTimeout.
	Timeout time.Duration
	// Refresh is how often live updates are sent, and how old what /metrics shows may be; zero
	// means DefaultRefresh. It is asked of the database at most once in that time, however many
	// look.
	Refresh time.Duration
	// MaxBody bounds a request's body, in bytes; zero means DefaultMaxBody.
	MaxBody int64
	// MaxRequests bounds the requests that ask the database at once; more wait. Zero means DefaultMaxRequests.
	MaxRequests int
	// MaxStreams bounds the live streams at once; zero means DefaultMaxStreams. Each ends after
	// DefaultStreamFor; browsers connect again.
	MaxStreams int
	// MetricSeries bounds the queues and the subscribers in metrics and live updates; zero means
	// DefaultMetricSeries. Those left out are counted.
	MetricSeries int
	// Done ends the live streams when it is closed, so that http.Server.Shutdown need not wait for
	// them: the Done of the context that ends at SIGTERM. Nil means never.
	Done <-chan struct{}
}

// traceInURL stands for the id of a trace in Config.TraceURL.
const traceInURL = "{trace}"

// AuditRecord is what is kept of a change.
type AuditRecord struct {
	At    time.Time `json:"at"`
	Actor string    `json:"actor"`
	// Action is the operation's id in the OpenAPI document.
	Action string `json:"action"`
	// Target is the queue, task, subscriber or schedule that the path names, or empty.
	Target string `json:"target,omitempty"`
	// Request is the body as it was understood.
	Request any `json:"request,omitempty"`
	// Status is the HTTP status of the answer; Error what went wrong, or empty.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Remote is the peer's address: a proxy's where there is one.
	Remote string `json:"remote"`
}

func (c Config) withDefaults() Config {
	c.Thresholds = c.Thresholds.withDefaults()
	orDefault(&c.Timeout, DefaultTimeout)
	orDefault(&c.Refresh, DefaultRefresh)
	orDefault(&c.MaxBody, DefaultMaxBody)
	orDefault(&c.MaxRequests, DefaultMaxRequests)
	orDefault(&c.MaxStreams, DefaultMaxStreams)
	orDefault(&c.MetricSeries, DefaultMetricSeries)
	if len(c.Tokens) > 0 {
		c.Authorize = authorizeTokens(c.Tokens)
	}
	if c.Insecure {
		c.Authorize = func(*http.Request, Permission) (string, error) { return "anybody", nil }
	}
	return c
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) validate(box *outbox.Box) error {
	var problems []error
	refuse := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("strunk/ops: handler: "+format+": %w", append(args, ErrInvalid)...))
	}
	if box == nil {
		refuse("the box is nil")
	}
	switch {
	case c.Authorize == nil && len(c.Tokens) == 0 && !c.Insecure:
		refuse("Config has neither Tokens nor Authorize, so everybody could change everything; " +
			"give one, or say Insecure")
	case c.Insecure && (c.Authorize != nil || len(c.Tokens) > 0):
		refuse("Config has Insecure beside Tokens or Authorize; choose one")
	case c.Authorize != nil && len(c.Tokens) > 0:
		refuse("Config has both Tokens and Authorize; choose one")
	}
	for i, t := range c.Tokens {
		if problem := t.problem(); problem != "" {
			refuse("Config.Tokens: token %d (%q): %s", i+1, t.Name, problem)
		}
	}
	if c.Timeout < 0 || c.Refresh < 0 || c.MaxBody < 0 || c.MaxRequests < 0 || c.MaxStreams < 0 ||
		c.MetricSeries < 0 || c.MetricSeries > MaxLimit {
		refuse("Config: Timeout (%v), Refresh (%v), MaxBody (%d), MaxRequests (%d), MaxStreams (%d) and "+
			"MetricSeries (%d, at most %d) must not be negative",
			c.Timeout, c.Refresh, c.MaxBody, c.MaxRequests, c.MaxStreams, c.MetricSeries, MaxLimit)
	}
	if u, err := url.Parse(c.TraceURL); c.TraceURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" ||
		u.Host == "" || !strings.Contains(c.TraceURL, traceInURL)) {
		refuse("Config.TraceURL: %q is no http or https URL with %s in it", c.TraceURL, traceInURL)
	}
	if err := c.Thresholds.validate(); err != nil {
		refuse("%v", err)
	}
	return errors.Join(problems...)
}
