package brokertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/strunk-go/strunk/events/forward"
	"github.com/strunk-go/strunk/inbox/receive"
)

// Fake is a broker that keeps a log of each destination in the process of the test, and drops no repeats. It speaks
// HTTP, so that other processes can send to it. Its methods are safe for concurrent use.
type Fake struct {
	server *httptest.Server

	mu     sync.Mutex // the fields below
	logs   map[string]*log
	away   bool
	losing int // how many answers are still to be lost
}

// log is a destination's.
type log struct {
	all    []stored
	purged int // how much of it is gone
}

// stored is a message as it came.
type stored struct {
	Headers map[string]string
	Body    []byte
}

// NewFake starts a broker. It ends with the test.
func NewFake(t testing.TB) *Fake {
	f := &Fake{logs: map[string]*log{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// Address returns where the broker listens.
func (f *Fake) Address() string { return f.server.URL }

// SetAway has the broker refuse everything, or take it again.
func (f *Fake) SetAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

// LoseAnswers has the broker store the next n messages, and not say so.
func (f *Fake) LoseAnswers(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losing += n
}

// Purge empties a destination.
func (f *Fake) Purge(destination string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.logs[destination]; l != nil {
		l.purged = len(l.all)
	}
}

// Log returns the messages that a destination was ever sent, and those that it holds.
func (f *Fake) Log(destination string) (all, held []receive.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.logs[destination]
	if l == nil {
		return nil, nil
	}
	for i, s := range l.all {
		all = append(all, receive.NewMessage(fmt.Sprint(destination, "/", i), "", s.Headers, "ce-", s.Body))
	}
	return all, all[l.purged:]
}

// ServeHTTP sees a destination made (PUT), looked for (HEAD), sent a message (POST), purged (PATCH), read (GET) or
// removed (DELETE).
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.away {
		panic(http.ErrAbortHandler) // no answer
	}
	name := strings.Trim(r.URL.Path, "/")
	l := f.logs[name]
	switch {
	case r.Method == http.MethodPut && l == nil:
		f.logs[name] = &log{}
	case r.Method == http.MethodPut:
	case l == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost && len(body) > MaxBytes:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case r.Method == http.MethodPost:
		headers := map[string]string{}
		for key := range r.Header {
			headers[strings.ToLower(key)] = r.Header.Get(key)
		}
		l.all = append(l.all, stored{headers, body})
		if f.losing > 0 {
			f.losing--
			panic(http.ErrAbortHandler)
		}
	case r.Method == http.MethodPatch:
		l.purged = len(l.all)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(l.all[l.purged:])
	case r.Method == http.MethodDelete:
		delete(f.logs, name)
	}
}

// OpenFake connects to a Fake at an address.
func OpenFake(address string, network *Network) (Client, error) {
	return &fakeClient{address: address, http: &http.Client{Transport: &http.Transport{
		DialContext: network.DialContext, MaxIdleConnsPerHost: 50}}}, nil
}

type fakeClient struct {
	address string
	http    *http.Client
}

func (c *fakeClient) Close() { c.http.CloseIdleConnections() }

func (c *fakeClient) Forward(destination string, cfg Config, opts ...forward.Option) *forward.Forwarder {
	return forward.To(Stream, "fake:"+destination, &FakeSink{Client: c.http, Address: c.address,
		Destination: destination, Config: cfg}, append(opts, forward.InFlight(40))...)
}

func (c *fakeClient) Read(ctx context.Context, destination string) (all []receive.Message, err error) {
	body, err := do(ctx, c.http, http.MethodGet, c.address+"/"+destination, nil, nil)
	if err != nil {
		return nil, err
	}
	var held []stored
	if err := json.Unmarshal(body, &held); err != nil {
		return nil, err
	}
	for i, s := range held {
		all = append(all, receive.NewMessage(fmt.Sprint(destination, "/", i), "", s.Headers, "ce-", s.Body))
	}
	return all, nil
}

func (c *fakeClient) Purge(ctx context.Context, destination string) error {
	_, err := do(ctx, c.http, http.MethodPatch, c.address+"/"+destination, nil, nil)
	return err
}

func (c *fakeClient) Remove(ctx context.Context, destination string) error {
	_, err := do(ctx, c.http, http.MethodDelete, c.address+"/"+destination, nil, nil)
	return err
}

// FakeSink sends to a destination of a Fake. It implements forward.Sink.
type FakeSink struct {
	Client      *http.Client
	Address     string
	Destination string
	Config      Config
}

// Check implements forward.Sink.
func (s *FakeSink) Check(ctx context.Context, _ string) error {
	method := http.MethodHead
	if s.Config.Create {
		method = http.MethodPut
	}
	_, err := do(ctx, s.Client, method, s.Address+"/"+s.Destination, nil, nil)
	if errors.Is(err, errNotThere) {
		return forward.Unusable("%q: %w", s.Destination, err)
	}
	return err
}

// Send implements forward.Sink.
func (s *FakeSink) Send(ctx context.Context, m *forward.Message) forward.Ack {
	return forward.Func(s.send).Send(ctx, m)
}

func (s *FakeSink) send(ctx context.Context, m *forward.Message) error {
	headers, body := map[string]string{"content-type": forward.ContentType}, []byte(m.Data)
	if s.Config.Structured {
		headers["content-type"], body = forward.StructuredType, m.Structured()
	} else {
		for _, a := range m.Attributes() {
			headers["ce-"+a.Name] = forward.EscapeHeader(a.Value)
		}
	}
	_, err := do(ctx, s.Client, http.MethodPost, s.Address+"/"+s.Destination, headers, body)
	if errors.Is(err, errTooLarge) {
		return forward.Refused("%q takes %d bytes: raise it, then retry the parked entity: %w", s.Destination, MaxBytes,
			err)
	}
	return err
}

var (
	errNotThere = errors.New("there is no such destination")
	errTooLarge = errors.New("the message is too large")
)

func do(ctx context.Context, client *http.Client, method, url string, headers map[string]string, body []byte) ([]byte,
	error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, value := range headers {
		req.Header.Set(key, value)
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	switch answer.StatusCode {
	case http.StatusOK:
		return io.ReadAll(answer.Body)
	case http.StatusNotFound:
		return nil, errNotThere
	case http.StatusRequestEntityTooLarge:
		return nil, errTooLarge
	}
	return nil, fmt.Errorf("the broker answers %s", answer.Status)
}
