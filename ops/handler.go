package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/strunk-go/strunk/internal/core"
	"github.com/strunk-go/strunk/outbox"
)

// Handler returns an http.Handler that shows the box and lets operators change it. Mount it under any prefix:
//
//	mux.Handle("/ops/", http.StripPrefix("/ops", handler))
//
// /livez and /readyz answer anybody, and say no more than yes or no; everything else asks
// Config.Authorize: a page for people at /, JSON under /v1/ (described by /v1/openapi.json),
// server-sent events at /v1/live, and /metrics for Prometheus. It starts nothing that needs to be
// stopped.
func Handler(box *outbox.Box, cfg Config) (http.Handler, error) {
	if err := cfg.validate(box); err != nil {
		return nil, err
	}
	s := &server{box: box, cfg: cfg.withDefaults(), origin: http.NewCrossOriginProtection()}
	for _, origin := range s.cfg.TrustedOrigins {
		if err := s.origin.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("strunk/ops: handler: Config.TrustedOrigins: %w: %w", err, ErrInvalid)
		}
	}
	s.requests, s.streams = make(chan struct{}, s.cfg.MaxRequests), make(chan struct{}, s.cfg.MaxStreams)
	s.shared.ask = func(ctx context.Context) (Live, error) { return live(ctx, box, s.cfg.MetricSeries, s.state.get) }
	s.shared.keep = s.cfg.Refresh
	s.keepState()
	s.ready.ask = func(ctx context.Context) (struct{}, error) { return struct{}{}, Ready(ctx, box) }
	s.ready.keep = time.Second
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{source: s.shared.get}); err != nil {
		return nil, wrap("handler", err)
	}
	s.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{Timeout: s.cfg.Timeout, EnableOpenMetrics: true})
	s.api = problems{s.mux()}
	return s.guard(s.api), nil
}

// server is the state behind a Handler.
type server struct {
	box      *outbox.Box
	cfg      Config
	origin   *http.CrossOriginProtection
	requests chan struct{}
	streams  chan struct{}
	// state is the whole installation as metrics, live updates and views show it; shared adds what the first two count
	// of each queue and subscriber, trends are the plots of the page.
	state   cached[state]
	shared  cached[Live]
	ready   cached[struct{}]
	metrics http.Handler
	trends  map[string]*cached[trends]
	groups  groupCache
	// api is where the page's forms go as well.
	api http.Handler
}

func (s *server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.permit(PermissionRead, "metrics", s.metrics.ServeHTTP))
	mux.Handle("GET /v1/openapi.json", s.permit(PermissionRead, "openapi", openAPI))
	mux.Handle("GET /v1/live", s.permit(PermissionRead, "live", s.stream))
	for _, o := range s.operations() {
		mux.Handle(o.method+" "+o.path, s.permit(o.permission, o.id, o.serve(s)))
	}
	s.page(mux)
	return mux
}

// securityHeaders go with every answer. Scripts and styles are files of the page alone.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cache-Control":                "no-store",
}

// guard is around everything: headers, a limit on the body and on the time, and no panic goes further.
func (s *server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
		if r.Method == http.MethodPost { // a stream must not be cut off for what its client does not send
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.Timeout)) // not every writer can
		}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				core.BoxHost(s.box).Logger().Error("strunk: the ops handler panicked", "panic", p, "stack",
					string(debug.Stack()))
				fail(w, http.StatusInternalServerError, "internal", "an internal error; the log has more")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

type actorKey struct{}

// permit lets a request in that may do what the operation needs.
func (s *server) permit(need Permission, id string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor, err := s.cfg.Authorize(r, need)
		if err == nil && need == PermissionChange {
			if err = s.origin.Check(r); err != nil {
				err = fmt.Errorf("%w: %w", errCrossOrigin, err)
			}
		}
		if err != nil {
			status := s.refuse(w, err)
			if need == PermissionChange {
				s.audit(r, AuditRecord{Actor: actor, Action: id, Target: target(r), Status: status, Error: err.Error()})
			}
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor)))
	})
}

var errCrossOrigin = errors.New("a change from a page of another origin")

func (s *server) refuse(w http.ResponseWriter, err error) int {
	switch {
	case errors.Is(err, ErrUnauthenticated):
		w.Header().Set("WWW-Authenticate", `Basic realm="strunk", charset="UTF-8"`)
		return fail(w, http.StatusUnauthorized, "unauthenticated", "no token, or a wrong one")
	case errors.Is(err, ErrForbidden):
		return fail(w, http.StatusForbidden, "forbidden", "the token does not permit this")
	case errors.Is(err, errCrossOrigin):
		return fail(w, http.StatusForbidden, "cross_origin", "changes from pages of other origins are refused")
	}
	core.BoxHost(s.box).Logger().Error("strunk: the authoriser of the ops handler failed", "error", err)
	return fail(w, http.StatusInternalServerError, "internal", "an internal error; the log has more")
}

// audit keeps a record of a change.
func (s *server) audit(r *http.Request, record AuditRecord) {
	record.At, record.Remote = time.Now(), r.RemoteAddr
	core.BoxHost(s.box).Logger().Info("strunk: ops change", "actor", record.Actor, "action", record.Action, "target",
		record.Target,
		"request", record.Request, "status", record.Status, "error", record.Error, "remote", record.Remote)
	if s.cfg.Audit != nil {
		s.cfg.Audit(r.Context(), record)
	}
}

// readyz says whether this process can serve; why not is for the log.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	if _, err := s.ready.get(ctx); err != nil {
		core.BoxHost(s.box).Logger().Warn("strunk: not ready", "error", err)
		plain(w, http.StatusServiceUnavailable, "not ready")
		return
	}
	plain(w, http.StatusOK, "ok")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

func reply(w http.ResponseWriter, status int, body any) {
	if to, ok := body.(redirect); ok {
		w.Header().Set("Location", string(to))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	if page, ok := body.(html); ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write(page.doc)
		return
	}
	doc, err := json.Marshal(body) // escapes <, > and &
	if err != nil {
		status, doc = http.StatusInternalServerError,
			[]byte(`{"code":"internal","message":"the answer could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(doc, '\n'))
}

// cached asks at most once in keep, however many want to know.
type cached[T any] struct {
	ask  func(context.Context) (T, error)
	keep time.Duration

	mu    sync.Mutex
	asked time.Time
	value T
	err   error
}

// get returns what was last asked, or asks. The one that asks does so for the others who wait, so
// its context counts for time alone; those that wait do so no longer than the question may take.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() && time.Since(c.asked) < c.keep {
		return c.value, c.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), core.Patience*QueryTimeout)
	defer cancel()
	c.value, c.err = c.ask(ctx)
	c.asked = time.Now()
	return c.value, c.err
}

// forget has the next one ask anew: something was changed.
func (c *cached[T]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Time{}
}
