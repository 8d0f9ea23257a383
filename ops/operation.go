package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// operation is one entry of the HTTP API; the OpenAPI document is made of them.
type operation struct {
	id, method, path, summary string
	permission                Permission
	query                     []parameter
	body, answer              any // zero values of their types; a nil body is none
	run                       func(c *call) (any, error)
}

// parameter is one parameter of the query.
type parameter struct{ name, kind, about string }

// none is the body of operations that have none.
type none struct{}

// reading makes an operation that changes nothing.
func reading[A any](id, path, summary string, run func(c *call) (A, error), query ...parameter) operation {
	var answer A
	return operation{id: id, method: http.MethodGet, path: path, summary: summary, permission: PermissionRead,
		query: query, answer: answer,
		run: func(c *call) (any, error) { return run(c) }}
}

// changing makes an operation that changes something.
func changing[B, A any](id, path, summary string, run func(c *call, body B) (A, error)) operation {
	var body B
	var answer A
	o := operation{id: id, method: http.MethodPost, path: path, summary: summary, permission: PermissionChange,
		answer: answer}
	if _, without := any(body).(none); !without {
		o.body = body
	}
	o.run = func(c *call) (any, error) {
		var body B
		if err := c.decode(o.body != nil, &body); err != nil {
			return nil, err
		}
		if o.body != nil {
			c.body = body
		}
		return noted(c, id, body, run)
	}
	return o
}

// call is one request of an operation.
type call struct {
	ctx   context.Context
	s     *server
	box   *outbox.Box
	r     *http.Request
	query url.Values
	body  any
}

// name returns a name in the path, checked.
func (c *call) name(key string) (string, error) {
	name := c.r.PathValue(key)
	if err := core.CheckName(name); err != nil {
		return "", fmt.Errorf("the %s %w: %w", key, err, ErrInvalid)
	}
	return name, nil
}

// id returns the id in the path.
func (c *call) id() (int64, error) {
	id, err := parseID(c.r.PathValue("id"))
	if err == nil && id == 0 {
		err = fmt.Errorf("there is no id: %w", ErrInvalid)
	}
	return id, err
}

// actor names who asks, as the audit does.
func (c *call) actor() string {
	actor, _ := c.r.Context().Value(actorKey{}).(string)
	return actor
}

// page returns the parameters after and limit.
func (c *call) page() (Page, error) {
	n, err := c.limit()
	return Page{After: c.query.Get("after"), Limit: n}, err
}

func (c *call) limit() (int, error) {
	text := c.query.Get("limit")
	if text == "" {
		return DefaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxLimit {
		return 0, fmt.Errorf("limit: %q is not from 1 to %d: %w", text, MaxLimit, ErrInvalid)
	}
	return n, nil
}

// maxSeconds bounds a parameter in seconds: a year.
const maxSeconds = 366 * 24 * 3600

// seconds returns a parameter that is a span of time; zero where it is missing.
func (c *call) seconds(name string) (time.Duration, error) {
	n, err := parseID(c.query.Get(name))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %w", name, err)
	case n > maxSeconds:
		return 0, fmt.Errorf("%s: %d is more than %d: %w", name, n, maxSeconds, ErrInvalid)
	}
	return time.Duration(n) * time.Second, nil
}

func (c *call) flag(name string) (bool, error) {
	switch text := c.query.Get(name); text {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fmt.Errorf("%s: %q is neither true nor false: %w", name, text, ErrInvalid)
	}
}

// Errors of a body.
var (
	errTooLarge = errors.New("the body is too large")
	errType     = errors.New("the body must be application/json")
)

// decode reads the body into v, strictly; where none is wanted, it must be empty.
func (c *call) decode(wanted bool, v any) error {
	doc, err := io.ReadAll(c.r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return fmt.Errorf("%w: more than %d bytes", errTooLarge, large.Limit)
	case err != nil:
		return fmt.Errorf("the body could not be read: %w: %w", err, ErrInvalid)
	case !wanted && len(doc) > 0:
		return fmt.Errorf("this takes no body: %w", ErrInvalid)
	case !wanted:
		return nil
	}
	if kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errType
	}
	in := json.NewDecoder(strings.NewReader(string(doc)))
	in.DisallowUnknownFields()
	if err := in.Decode(v); err != nil {
		return fmt.Errorf("the body: %w: %w", err, ErrInvalid)
	}
	if in.More() {
		return fmt.Errorf("the body: there is something after the document: %w", ErrInvalid)
	}
	return nil
}

// serve makes the operation's handler.
func (o operation) serve(s *server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
		defer cancel()
		if !parameters(w, r, o.query...) {
			return
		}
		select {
		case s.requests <- struct{}{}:
			defer func() { <-s.requests }()
		case <-ctx.Done():
			unavailable(w, "busy", "there are too many requests already")
			return
		}
		c := &call{ctx: ctx, s: s, box: s.box, r: r.WithContext(ctx), query: r.URL.Query()}
		status, problem := http.StatusInternalServerError, "the handler panicked"
		if o.permission == PermissionChange {
			defer func() {
				actor, _ := r.Context().Value(actorKey{}).(string)
				s.audit(r, AuditRecord{Actor: actor, Action: o.id, Target: target(r), Request: c.body,
					Status: status, Error: problem})
			}()
		}
		answer, err := o.run(c)
		if err != nil {
			status, problem = s.problem(w, err), err.Error()
			return
		}
		status, problem = http.StatusOK, ""
		reply(w, http.StatusOK, answer)
	}
}

// parameters refuses what an operation does not know: a misspelt filter must not choose everything.
func parameters(w http.ResponseWriter, r *http.Request, known ...parameter) bool {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid", "the query cannot be read")
		return false
	}
	for name, values := range query {
		found, repeats := false, false
		for _, p := range known {
			found, repeats = found || p.name == name, repeats || p.name == name && p.kind == "ids"
		}
		if !found || len(values) > 1 && !repeats {
			fail(w, http.StatusBadRequest, "invalid", fmt.Sprintf("the parameter %q is unknown or repeated", name))
			return false
		}
	}
	return true
}

// target is what a request's path names.
func target(r *http.Request) string {
	for _, key := range []string{"queue", "subscriber", "schedule", "subject", "id"} {
		if v := r.PathValue(key); v != "" {
			return v
		}
	}
	return ""
}
