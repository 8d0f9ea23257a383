package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// wire stands between clients and the server and counts what the clients ask: a Query or an Execute message of the
// protocol is one query, whatever the library and its language.
type wire struct {
	listener net.Listener
	network  string
	address  string
	queries  atomic.Int64
	open     atomic.Int64 // connections
	running  sync.WaitGroup
}

// newWire listens on a port of this machine, in front of a server.
func newWire(host string, port int) (*wire, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{listener: listener, network: "tcp", address: net.JoinHostPort(host, strconv.Itoa(port))}
	if len(host) > 0 && host[0] == '/' {
		w.network, w.address = "unix", host+"/.s.PGSQL."+strconv.Itoa(port)
	}
	w.running.Go(w.accept)
	return w, nil
}

// env leads the agents of a server through the wire.
func (w *wire) env(s *server) []string {
	return append(s.env(), "PGHOST=127.0.0.1", "PGPORT="+w.port(), "PGSSLMODE=disable")
}

func (w *wire) port() string {
	_, port, _ := net.SplitHostPort(w.listener.Addr().String())
	return port
}

// close ends when the clients have gone.
func (w *wire) close() {
	w.listener.Close()
	w.running.Wait()
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.running.Go(func() { w.serve(client) })
	}
}

func (w *wire) serve(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), w.network, w.address)
	if err != nil {
		return
	}
	defer server.Close()
	w.open.Add(1)
	defer w.open.Add(-1)
	w.running.Go(func() {
		_, _ = io.Copy(client, server)
		client.Close()
	})
	_ = w.forward(server, client)
}

// forward passes on a client's messages one by one.
func (w *wire) forward(server io.Writer, client io.Reader) error {
	if err := passStartup(server, client); err != nil {
		return err
	}
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		if head[0] == 'Q' || head[0] == 'E' {
			w.queries.Add(1)
		}
		if _, err := server.Write(head); err != nil {
			return err
		}
		if _, err := io.CopyN(server, client, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return err
		}
	}
}

// encryptionRequests are the first messages that ask for TLS or GSSAPI; the server answers, and the client begins anew.
var encryptionRequests = map[uint32]bool{80877103: true, 80877104: true}

// passStartup passes on the messages that have no type.
func passStartup(server io.Writer, client io.Reader) error {
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		if _, err := server.Write(head); err != nil {
			return err
		}
		if rest := int64(binary.BigEndian.Uint32(head)) - 8; rest < 0 {
			return errors.New("no message of PostgreSQL's protocol")
		} else if _, err := io.CopyN(server, client, rest); err != nil {
			return err
		}
		if !encryptionRequests[binary.BigEndian.Uint32(head[4:])] {
			return nil
		}
	}
}
