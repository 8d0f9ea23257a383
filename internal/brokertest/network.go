package brokertest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Network is what a client reaches its broker over; it can be down, or silent. The zero Network is neither. Its methods
// are safe for concurrent use.
type Network struct {
	mu     sync.Mutex
	down   bool
	silent chan struct{} // closed when the silence is over; nil while there is none
	conns  []*conn
}

// conn is a connection over a Network.
type conn struct {
	net.Conn
	network *Network
	once    sync.Once
	closed  chan struct{}
}

var errDown = errors.New("the network of the test is down")

// DialContext connects as net.Dialer does.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	connected, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		_ = connected.Close()
		return nil, errDown
	}
	c := &conn{Conn: connected, network: n, closed: make(chan struct{})}
	n.conns = append(n.conns, c)
	return c, nil
}

// Dial is DialContext without a context.
func (n *Network) Dial(network, address string) (net.Conn, error) {
	return n.DialContext(context.Background(), network, address)
}

// SetDown cuts all connections and refuses new ones, or accepts them again.
func (n *Network) SetDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	if !down {
		return
	}
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

// SetSilent keeps every answer back, or lets them pass again. What the client sends passes.
func (n *Network) SetSilent(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case silent && n.silent == nil:
		n.silent = make(chan struct{})
	case !silent && n.silent != nil:
		close(n.silent)
		n.silent = nil
	}
}

// Read waits for the end of a silence.
func (c *conn) Read(p []byte) (int, error) {
	got, err := c.Conn.Read(p)
	c.network.mu.Lock()
	silent := c.network.silent
	c.network.mu.Unlock()
	if silent == nil {
		return got, err
	}
	select {
	case <-silent:
		return got, err
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// Close also ends a Read that waits.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
