package forward_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/strunk-go/strunk/events"
	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/outbox"
	"github.com/strunk-go/strunk/outbox/outboxtest"
)

// webhook posts each event to a URL, signed as Standard Webhooks asks for (https://www.standardwebhooks.com).
type webhook struct {
	url    string
	secret []byte
	client *http.Client
}

// send is a forward.Func.
func (w *webhook) send(ctx context.Context, m *forward.Message) error {
	body := m.Structured()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return forward.Refused("%w", err)
	}
	id := strings.ReplaceAll(m.ID, ".", "%2E") // dots separate what is signed, and an entity id may hold some
	sent := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", forward.StructuredType)
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", sent)
	req.Header.Set("webhook-signature", "v1,"+sign(w.secret, id, sent, body))
	answer, err := w.client.Do(req)
	if err != nil {
		return err // sent again
	}
	defer func() { _ = answer.Body.Close() }()
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusGone, answer.StatusCode == http.StatusRequestEntityTooLarge:
		return forward.Refused("%s answers %s", w.url, answer.Status) // its entity is parked
	}
	return fmt.Errorf("%s answers %s", w.url, answer.Status)
}

func sign(secret []byte, id, sent string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, sent)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

type order struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

var orders = events.Define("order", func(o order) string { return o.ID }, events.Config{})

// A webhook is one function. What fails is sent again, in order, and the cursor waits.
func ExampleTo() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	secret := []byte("a secret that both sides have")
	receiver := httptest.NewServer(receive(secret, stop))
	defer receiver.Close()

	box, done := open(ctx)
	defer done()
	err := box.InTx(ctx, func(tx *outbox.OwnedTx) error {
		_, err := orders.PublishBatch(ctx, tx, []order{{"no.42", "paid"}, {"no.42", "shipped"}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	hook := &webhook{url: receiver.URL, secret: secret, client: &http.Client{Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}} // no success
	if err := box.Run(ctx, forward.To(orders, "webhook", forward.Func(hook.send),
		forward.Source("/shop"))); err != nil {
		log.Fatal(err)
	}
	// Output:
	// order no.42: unavailable
	// order no.42: {"id":"no.42","status":"paid"}
	// order no.42: {"id":"no.42","status":"shipped"}
}

// receive is the other side: it checks the signature, and is unavailable at first.
func receive(secret []byte, last func()) http.HandlerFunc {
	calls := 0
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		id := r.Header.Get("webhook-id")
		want := "v1," + sign(secret, id, r.Header.Get("webhook-timestamp"), body)
		if strings.Contains(id, ".") || !hmac.Equal([]byte(want), []byte(r.Header.Get("webhook-signature"))) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if calls++; calls == 1 {
			fmt.Println("order no.42: unavailable")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Printf("order no.42: %s\n", body[bytes.Index(body, []byte(`"data":`))+7:len(body)-1])
		if calls == 3 {
			last()
		}
	}
}

// open starts a server for this example and opens a box.
func open(ctx context.Context) (*outbox.Box, func()) {
	server, err := outboxtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.New(ctx, server.DSN())
	if err != nil {
		log.Fatal(err)
	}
	if err := outbox.Migrate(ctx, pool, outbox.MigrateConfig{}); err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, pool, outbox.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return box, func() { pool.Close(); _ = server.Close() }
}
