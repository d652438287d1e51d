package link

import (
	"net"
	"sync"
	"time"
)

// maxUnread bounds what a pipe holds for a driver that does not collect it;
// beyond it TCP holds the peer back.
const maxUnread = 1 << 20

// Pipe moves bytes between a connection and a driver that must never block:
// one goroutine reads ahead, one writes behind. The driver calls its methods
// from one goroutine; Notify is called from the pipe's own.
type Pipe struct {
	conn   net.Conn
	notify func()

	mu      sync.Mutex
	changed sync.Cond // something that somebody may wait for was done
	in      []byte
	out     [][]byte
	wrote   int
	err     error
	writing bool
	closed  bool
	until   time.Time // set by a Close with a grace: when that is over
}

// NewPipe starts a pipe on conn, with goroutines counted by g. notify is
// called, without locks held, whenever the driver has something to collect.
func NewPipe(g *Gate, conn net.Conn, notify func()) *Pipe {
	p := &Pipe{conn: conn, notify: notify}
	p.changed.L = &p.mu
	g.Go(p.read)
	g.Go(p.write)
	return p
}

// Collect returns what has arrived, appended to buf, how many bytes were
// written since the last call, and the error that ended the connection, after
// which nothing follows.
func (p *Pipe) Collect(buf []byte) (in []byte, wrote int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in = append(buf, p.in...)
	if cap(p.in) > 64<<10 {
		p.in = nil // memory for a burst is not kept
	}
	p.in = p.in[:0]
	wrote, p.wrote = p.wrote, 0
	p.changed.Broadcast()
	return in, wrote, p.err
}

// Write hands pieces to be written; they must stay unchanged until Collect has
// reported them written. It reports false, and takes nothing, while earlier
// ones are still being written.
func (p *Pipe) Write(pieces [][]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing || p.wrote > 0 || p.closed || p.err != nil {
		return false // after an error nobody writes any more
	}
	p.out = append(p.out[:0], pieces...)
	p.writing = true
	p.changed.Broadcast()
	return true
}

// Settle waits until no write is under way, which it has until the deadline; then
// Collect tells what became of it, and Write is free.
func (p *Pipe) Settle(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.writing {
		return
	}
	p.conn.SetWriteDeadline(deadline)
	for p.writing {
		p.changed.Wait()
	}
}

// Close ends the connection: at once, or, with a grace, when what is being
// written has been and the peer has closed its side, or the grace has passed. It does
// not wait.
func (p *Pipe) Close(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.changed.Broadcast()
	if grace > 0 && p.err == nil {
		p.until = time.Now().Add(grace) // write goes on
		p.conn.SetWriteDeadline(p.until)
		return
	}
	HardClose(p.conn)
}

// Writing reports whether a write is under way, which even a closed pipe may
// take a moment to give up: until then the pieces must stay unchanged.
func (p *Pipe) Writing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writing
}

func (p *Pipe) read() {
	buf := make([]byte, 1<<10)
	for {
		n, err := p.conn.Read(buf)
		p.mu.Lock()
		p.in = append(p.in, buf[:n]...)
		if err != nil && p.err == nil {
			p.err = err
		}
		for len(p.in) > maxUnread && !p.closed {
			p.changed.Wait()
		}
		closed := p.closed
		p.mu.Unlock()
		if !closed {
			p.notify()
		}
		if err != nil || closed {
			return
		}
		if n == len(buf) && n < 32<<10 {
			buf = make([]byte, 32<<10)
		}
	}
}

func (p *Pipe) write() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.writing && !p.closed && p.err == nil {
			p.changed.Wait()
		}
		if !p.writing {
			p.end()
			return
		}
		out := p.out
		var n int
		var err error
		if !p.closed || !p.until.IsZero() {
			p.mu.Unlock()
			n, err = WriteAll(p.conn, out)
			p.mu.Lock()
		}
		clear(p.out)
		p.writing = false
		p.wrote += n
		p.changed.Broadcast()
		if err != nil && p.err == nil {
			p.err = err
		}
		p.mu.Unlock()
		p.notify()
		p.mu.Lock()
	}
}

// end closes what Close has left to the writer. The caller holds mu, which is free
// meanwhile.
func (p *Pipe) end() {
	if p.until.IsZero() {
		return
	}
	broken := p.err != nil
	p.mu.Unlock()
	if broken {
		HardClose(p.conn)
	} else {
		Linger(p.conn, p.until)
	}
	p.mu.Lock()
}
