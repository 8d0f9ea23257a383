package cut

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
)

// wire is a connection that can lose the answer to a statement. After loseAnswer it passes on what is sent, reads the
// answer to the next execution up to its end, so that the server has done its work, and then breaks.
type wire struct {
	net.Conn
	armed atomic.Bool // the answer to the next execution is lost
	sent  atomic.Bool // that execution has been sent
	read  []byte      // of the answer, not yet a whole message
	rest  []byte      // what the client is still to be given
}

// loseAnswer is called while the connection is idle.
func (w *wire) loseAnswer() { w.armed.Store(true) }

// Write implements net.Conn. The client writes whole messages.
func (w *wire) Write(p []byte) (int, error) {
	if w.armed.Load() && executes(p) {
		w.sent.Store(true)
	}
	return w.Conn.Write(p)
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	for {
		if len(w.rest) > 0 {
			n := copy(p, w.rest)
			w.rest = w.rest[n:]
			return n, nil
		}
		n, err := w.Conn.Read(p)
		if !w.sent.Load() || n == 0 {
			return n, err
		}
		w.read = append(w.read, p[:n]...)
		if w.answered() {
			_ = w.Conn.Close()
			return 0, io.ErrUnexpectedEOF
		}
	}
}

// answered reports whether the answer has ended. A server that waits for the data of a COPY has not executed it: that
// is passed on.
func (w *wire) answered() bool {
	for len(w.read) > 0 {
		kind, size, whole := message(w.read)
		switch {
		case !whole:
			return false
		case kind == 'Z': // ReadyForQuery
			return true
		case kind == 'G': // CopyInResponse
			w.rest, w.read = w.read, nil
			w.sent.Store(false)
			return false
		}
		w.read = w.read[size:]
	}
	return false
}

// executes reports whether something that is sent has the server execute: Query, Execute, or CopyDone.
func executes(p []byte) bool {
	for len(p) > 0 {
		kind, size, whole := message(p)
		if kind == 'Q' || kind == 'E' || kind == 'c' {
			return true
		}
		if !whole {
			return false
		}
		p = p[size:]
	}
	return false
}

// message returns the kind and the size of the first message, and whether all of it is there.
func message(p []byte) (kind byte, size int, whole bool) {
	if len(p) < 5 {
		return p[0], 0, false
	}
	size = 1 + int(binary.BigEndian.Uint32(p[1:5]))
	return p[0], size, len(p) >= size
}
