package ops

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgerrcode"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/queue"
	"github.com/strunk-go/strunk/schedule"
)

// Problem is the body of every answer that is an error.
type Problem struct {
	// Code is for programs, Message for people.
	Code    string `json:"code"`
	Message string `json:"message"`
}

func fail(w http.ResponseWriter, status int, code, message string) int {
	reply(w, status, Problem{Code: code, Message: message})
	return status
}

// retryAfter is in how many seconds a client may ask again that was told that the service is unavailable.
const retryAfter = "10"

func unavailable(w http.ResponseWriter, code, message string) int {
	w.Header().Set("Retry-After", retryAfter)
	return fail(w, http.StatusServiceUnavailable, code, message)
}

// problem answers with an error and returns the status. What only we could have done wrong is for the log.
func (s *server) problem(w http.ResponseWriter, err error) int {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case is(ErrUnauthenticated, ErrForbidden):
		return s.refuse(w, err)
	case is(errTooLarge):
		return fail(w, http.StatusRequestEntityTooLarge, "too_large", err.Error())
	case is(errType):
		return fail(w, http.StatusUnsupportedMediaType, "media_type", err.Error())
	case is(ErrNotFound, queue.ErrNotFound, queue.ErrNoBatch, events.ErrNotFound, events.ErrUnknownSubscriber,
		schedule.ErrNotFound):
		return fail(w, http.StatusNotFound, "not_found", err.Error())
	case is(ErrInvalid, queue.ErrInvalid, events.ErrInvalid, schedule.ErrInvalid):
		return fail(w, http.StatusBadRequest, "invalid", err.Error())
	case s.databaseIsAway(err):
		core.BoxHost(s.box).Logger().Warn("strunk: an ops request found no database", "error", err)
		return unavailable(w, "database_away", "the database cannot be reached or takes no changes; the log has more")
	case is(context.DeadlineExceeded), core.SQLState(err) == pgerrcode.QueryCanceled:
		return fail(w, http.StatusGatewayTimeout, "timeout", "the database took too long")
	}
	core.BoxHost(s.box).Logger().Error("strunk: an ops request failed", "error", err)
	return fail(w, http.StatusInternalServerError, "internal", "an internal error; the log has more")
}

// databaseIsAway reports whether err says that there is no database to ask. What failed without an answer of a server,
// for want of time too, failed for that where the pool has no open connection at all.
func (s *server) databaseIsAway(err error) bool {
	pool := core.BoxHost(s.box).Pool().Stat()
	return core.IsDatabaseAway(err) || core.SQLState(err) == "" && pool.TotalConns() == pool.ConstructingConns()
}

// problems makes the answers of a mux that has no handler for a request JSON, where the API is: 404 and 405.
type problems struct{ mux *http.ServeMux }

func (p problems) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := p.mux.Handler(r)
	if pattern == "" && (r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/")) {
		w = &problemWriter{ResponseWriter: w, r: r}
	}
	p.mux.ServeHTTP(w, r)
}

// problemWriter puts a Problem in the place of a text that says that there is no handler.
type problemWriter struct {
	http.ResponseWriter
	r *http.Request
}

// WriteHeader implements http.ResponseWriter.
func (w *problemWriter) WriteHeader(status int) {
	if status == http.StatusMethodNotAllowed {
		fail(w.ResponseWriter, status, "method_not_allowed", w.r.Method+" is not for this path: use "+
			w.Header().Get("Allow"))
		return
	}
	fail(w.ResponseWriter, status, "not_found", "there is no such path; /v1/openapi.json describes those there are")
}

// Write implements http.ResponseWriter: the text is left out.
func (w *problemWriter) Write(text []byte) (int, error) { return len(text), nil }
