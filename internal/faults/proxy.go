package faults

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Action is what a Trap does with the message that springs it.
type Action int

const (
	// Drop loses the message and cuts the connection: the server never sees it.
	Drop Action = iota
	// CutBeforeAnswer passes the message on and cuts the connection when the server has begun to
	// answer: the server has done the work, and the client never knows.
	CutBeforeAnswer
	// HoldAnswer passes the message on and keeps every answer back until Release; the connection stays open.
	HoldAnswer
	// CutThenDeliver cuts the client's side of the connection at once and passes the message on
	// after Release: a message that was long under way.
	CutThenDeliver
	// CutClient passes the message on and cuts the client's side at once: the server is left working for nobody.
	CutClient
)

// Proxy stands between clients and a PostgreSQL server. Its methods are safe for concurrent use.
type Proxy struct {
	listener net.Listener
	network  string
	target   string

	mu     sync.Mutex
	links  map[*link]struct{}
	traps  []*Trap
	down   bool
	frozen chan struct{} // closed at the end of a freeze; nil while there is none
	closed bool
	rate   int // bytes a second towards clients, over all connections; 0 is as fast as can be
	left   int // bytes towards clients until one connection is cut; 0 means that none will be
	wg     sync.WaitGroup

	pace sync.Mutex // held while bytes are on a slow link
}

// Trap waits for one message of a client that contains its text.
type Trap struct {
	text     []byte
	action   Action
	sprung   chan struct{}
	answered chan struct{}
	release  chan struct{}
	once     sync.Once
}

// Sprung is closed when the message has come.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Answered is closed when the server has begun to answer it.
func (t *Trap) Answered() <-chan struct{} { return t.answered }

// Release lets go of what is held.
func (t *Trap) Release() { t.once.Do(func() { close(t.release) }) }

// NewProxy starts a proxy to the server that dsn names; it ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, links: map[*link]struct{}{}}
	p.network, p.target = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// DSN returns a connection string, a URL or keywords and values, with the proxy in the server's place. Nothing is
// encrypted on the way, for the proxy reads it, and statements travel with their text each time.
func (p *Proxy) DSN(dsn string) (string, error) {
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	if err != nil {
		return "", err
	}
	settings := map[string]string{"host": host, "port": port, "sslmode": "disable", "default_query_exec_mode": "exec"}
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		for key, value := range settings {
			dsn += fmt.Sprintf(" %s=%s", key, value)
		}
		return dsn, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	query := u.Query()
	for key, value := range settings {
		query.Set(key, value)
	}
	u.Host, u.RawQuery = "", strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}

// Set sets a trap for the next message that contains text.
func (p *Proxy) Set(text string, action Action) *Trap {
	t := &Trap{text: []byte(text), action: action, sprung: make(chan struct{}), answered: make(chan struct{}),
		release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t
}

// SetRate makes the link to the clients slow: bytes a second, over all connections together; 0 ends it.
func (p *Proxy) SetRate(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytes
}

// CutAfter cuts the connection that carries the last of so many bytes to clients, in the midst of a message as a rule.
func (p *Proxy) CutAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = bytes
}

// errCut ends a connection that has carried the last byte it may.
var errCut = errors.New("cut in the midst of a message")

// allowed returns how much of a message may be sent, and whether the connection ends there.
func (p *Proxy) allowed(message []byte) (part []byte, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return message, false
	}
	part = message[:min(len(message), p.left)]
	p.left -= len(part)
	return part, p.left == 0
}

// deliver sends a message, or the part of it that CutAfter leaves.
func (p *Proxy) deliver(client net.Conn, message []byte) error {
	part, last := p.allowed(message)
	if err := p.send(client, part); err != nil || !last {
		return err
	}
	return errCut
}

// send writes to a client at the link's rate.
func (p *Proxy) send(client net.Conn, message []byte) error {
	for len(message) > 0 {
		p.mu.Lock()
		rate := p.rate
		p.mu.Unlock()
		if rate == 0 {
			_, err := client.Write(message)
			return err
		}
		part := message[:min(len(message), max(rate/50, 1))]
		p.pace.Lock()
		time.Sleep(time.Duration(len(part)) * time.Second / time.Duration(rate))
		p.pace.Unlock()
		if _, err := client.Write(part); err != nil {
			return err
		}
		message = message[len(part):]
	}
	return nil
}

// CutAll cuts all connections; new ones are accepted.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Freeze makes the server one that answers nobody: connections stay open and new ones are accepted, but nothing passes
// until Thaw.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

// Thaw ends a freeze; what was kept back goes on.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// pass waits for the end of a freeze; false when the connection has gone.
func (l *link) pass() bool {
	l.proxy.mu.Lock()
	frozen := l.proxy.frozen
	l.proxy.mu.Unlock()
	if frozen == nil {
		return true
	}
	select {
	case <-frozen:
		return true
	case <-l.gone:
		return false
	}
}

// Down cuts all connections and refuses new ones, until Up.
func (p *Proxy) Down() {
	p.setDown(true)
	p.CutAll()
}

// Up accepts connections again.
func (p *Proxy) Up() { p.setDown(false) }

func (p *Proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *Proxy) spring(message []byte) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, t := range p.traps {
		if bytes.Contains(message, t.text) {
			p.traps = append(p.traps[:i:i], p.traps[i+1:]...)
			close(t.sprung)
			return t
		}
	}
	return nil
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for _, t := range p.traps {
		t.Release()
	}
	p.mu.Unlock()
	p.CutAll()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.target)
		if err != nil { // the server is away: the client finds its connection refused
			_ = client.Close()
			continue
		}
		p.serve(client, server)
	}
}

func (p *Proxy) serve(client, server net.Conn) {
	l := &link{proxy: p, client: client, server: server, gone: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.down {
		l.cut()
		return
	}
	p.links[l] = struct{}{}
	p.wg.Go(func() { defer l.end(); l.requests() })
	p.wg.Go(func() { defer l.end(); l.answers() })
}

// link is one proxied connection.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	gone           chan struct{}
	once           sync.Once

	mu   sync.Mutex
	trap *Trap // sprung on this connection
}

func (l *link) cut() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.client.Close()
		_ = l.server.Close()
	})
}

func (l *link) end() {
	l.cut()
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	delete(l.proxy.links, l)
}

const chunk = 256 << 10

// requests carries what the client sends. A client's message is one write and, at the sizes of tests, one read.
func (l *link) requests() {
	buffer := make([]byte, chunk)
	for {
		n, err := l.client.Read(buffer)
		if n > 0 && !(l.pass() && l.request(buffer[:n])) {
			return
		}
		if err != nil {
			l.linger()
			return
		}
	}
}

// linger keeps the server's side open while answers of a sprung trap are awaited, as a network that has lost only the
// client's side would.
func (l *link) linger() {
	l.mu.Lock()
	t := l.trap
	l.mu.Unlock()
	if t == nil {
		return
	}
	select {
	case <-t.release:
	case <-l.gone:
	}
}

func (l *link) request(message []byte) bool {
	t := l.proxy.spring(message)
	if t == nil {
		_, err := l.server.Write(message)
		return err == nil
	}
	if t.action == Drop {
		return false
	}
	l.mu.Lock()
	l.trap = t
	l.mu.Unlock()
	switch t.action {
	case CutClient:
		_ = l.client.Close()
	case CutThenDeliver:
		_ = l.client.Close()
		select {
		case <-t.release:
		case <-l.gone:
			return false
		}
	}
	_, err := l.server.Write(message)
	if t.action == CutClient || t.action == CutThenDeliver {
		select {
		case <-t.answered:
		case <-l.gone:
		}
		return false
	}
	return err == nil
}

func (l *link) answers() {
	buffer := make([]byte, chunk)
	for {
		n, err := l.server.Read(buffer)
		if n > 0 && !(l.pass() && l.answer(buffer[:n])) {
			return
		}
		if err != nil {
			return
		}
	}
}

func (l *link) answer(message []byte) bool {
	l.mu.Lock()
	t := l.trap
	l.mu.Unlock()
	if t != nil {
		select {
		case <-t.answered:
		default:
			close(t.answered)
		}
		switch t.action {
		case CutBeforeAnswer, CutClient, CutThenDeliver:
			return false
		case HoldAnswer:
			select {
			case <-t.release:
			case <-l.gone:
				return false
			}
		}
	}
	err := l.proxy.deliver(l.client, message)
	return err == nil || errors.Is(err, net.ErrClosed)
}
