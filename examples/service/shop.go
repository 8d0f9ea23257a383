package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/otelevents"
	"github.com/strunk-go/strunk/ops"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/queue"
)

// Order is what is sold, and what is published of it.
type Order struct {
	ID    string `json:"id"`
	Email string `json:"email"`
	Item  string `json:"item"`
}

// Confirmation is the mail that is to be sent.
type Confirmation struct {
	OrderID string `json:"order_id"`
	Email   string `json:"email"`
}

// The queue and the stream, declared once for those who write and those who read.
var (
	Confirmations = queue.Define[Confirmation]("confirmations", queue.Config{MaxAttempts: 5})
	Orders        = events.Define("order", func(o Order) string { return o.ID }, events.Config{})
)

// shop is the service.
type shop struct {
	box       *outbox.Box
	logger    *slog.Logger
	telemetry *telemetry
	index     sync.Map // order id to item: the search index
}

func newShop(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger, t *telemetry) (*shop, error) {
	const table = `CREATE TABLE IF NOT EXISTS public.orders (id text PRIMARY KEY, email text NOT NULL, item text
		NOT NULL)`
	if _, err := pool.Exec(ctx, table); err != nil {
		return nil, err
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{Logger: logger, Grace: drainTime,
		Extensions: []outbox.Extension{t.queue}})
	if err != nil {
		return nil, err
	}
	return &shop{box: box, logger: logger, telemetry: t}, nil
}

// routes are what the service answers. The context ends the live streams of operators at a shutdown.
func (s *shop) routes(ctx context.Context, token string) (http.Handler, error) {
	if len(token) < 16 {
		return nil, errors.New("OPS_TOKEN has less than 16 bytes: nobody could get in with it")
	}
	operators, err := ops.Handler(s.box, ops.Config{
		Tokens: []ops.Token{{Name: "operator", Secret: token,
			Permissions: []ops.Permission{ops.PermissionRead, ops.PermissionChange}}},
		Done: ctx.Done(),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.placeOrder)
	mux.HandleFunc("GET /search/{id}", s.search)
	mux.Handle("/ops/", http.StripPrefix("/ops", operators))
	return mux, nil
}

// placeOrder stores an order, enqueues its confirmation and publishes it: all three, or none.
func (s *shop) placeOrder(w http.ResponseWriter, r *http.Request) {
	ctx, span := s.telemetry.tracer.Tracer("shop").Start(r.Context(), "POST /orders",
		trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	var order Order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&order); err != nil || order.ID == "" ||
		order.Email == "" {
		http.Error(w, "an order has an id and an email", http.StatusBadRequest)
		return
	}
	err := s.box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		const insert = `INSERT INTO public.orders (id, email, item) VALUES ($1, $2, $3)`
		if _, err := tx.Pgx().Exec(ctx, insert, order.ID, order.Email, order.Item); err != nil {
			return fmt.Errorf("storing order %q: %w", order.ID, err)
		}
		if _, err := Confirmations.Enqueue(ctx, tx, Confirmation{OrderID: order.ID, Email: order.Email}); err != nil {
			return err
		}
		_, err := otelevents.Publish(ctx, s.telemetry.events, Orders, tx, order)
		return err
	})
	if err != nil {
		s.logger.Error("an order was not placed", "error", err)
		http.Error(w, "the order was not placed", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *shop) search(w http.ResponseWriter, r *http.Request) {
	item, found := s.index.Load(r.PathValue("id"))
	if !found {
		http.NotFound(w, r)
		return
	}
	_, _ = fmt.Fprintln(w, item)
}

// consumers are what this process works beside its requests.
func (s *shop) consumers() []outbox.Binding {
	return []outbox.Binding{
		Confirmations.Worker(s.confirm, queue.Concurrency(4)),
		Orders.Subscriber("search-indexer", otelevents.Handler(s.telemetry.events, "search-indexer", s.reindex)),
	}
}

// confirm would send the mail.
func (s *shop) confirm(ctx context.Context, task queue.Task[Confirmation]) error {
	queue.Logger(ctx).Info("confirmed", "order", task.Payload.OrderID)
	return nil
}

func (s *shop) reindex(_ context.Context, event events.Event[Order]) error {
	s.index.Store(event.EntityID, event.State.Item)
	return nil
}
