package managed

import (
	"errors"
	"net"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/transport"
)

// Sizes of the read buffer: an idle connection holds the first, a busy one the
// second.
const (
	minRead = 1 << 10
	maxRead = 32 << 10
)

// writeWatch is how long a write may take before time is driven without the
// loop: on a link that is slow or dead a write can last for ever.
const writeWatch = 50 * time.Millisecond

// loop is the only writer to the link. It runs until the session is closed.
func (c *Client) loop() {
	defer c.timer.Stop()
	var pieces [][]byte
	for {
		c.em.Lock()
		now := time.Now()
		c.writing = false
		c.advance(now)
		pieces = c.sess.Pending(now, pieces[:0])
		conn, number := c.conn, c.link
		if len(pieces) > 0 && conn != nil {
			c.writing = true
			c.arm(now)
			c.em.Unlock()
			n, err := link.WriteAll(conn, pieces)
			clear(pieces)
			c.wrote(number, n, err)
			continue
		}
		if c.closed {
			c.conn = nil
			c.link++
			end := c.ended
			c.em.Unlock()
			if conn != nil {
				link.Linger(conn, end)
			}
			c.gate.Close()
			return
		}
		c.arm(now)
		c.em.Unlock()
		<-c.wake
	}
}

// advance hands the session what is new: messages and the time. Messages are
// taken with em held, so that nobody ever sees one that is in neither place.
// The caller holds em.
func (c *Client) advance(now time.Time) {
	c.mu.Lock()
	staged := c.out.Take(c.taken)
	c.woken = false
	c.mu.Unlock()
	c.sess.Submit(now, staged)
	clear(staged)
	c.taken = staged
	c.swollen = c.swollen || cap(staged) > keep
	c.sess.Tick(now)
	c.collect()
}

// keep is how many elements of scratch an idle client may hold on to.
const keep = 64

// trim lets go of what a burst has made large once nothing is left of it. The
// caller holds em.
func (c *Client) trim() {
	if !c.sess.Idle() {
		return
	}
	c.sess.Trim(keep)
	if cap(c.spare) > keep {
		c.spare = nil
	}
	if c.swollen {
		c.swollen = false
		c.taken = nil
		c.mu.Lock()
		c.out.Trim(keep)
		c.mu.Unlock()
	}
}

// tick is the timer: it drives time, also while the loop is in a write.
func (c *Client) tick() {
	c.em.Lock()
	defer c.em.Unlock()
	if c.closed {
		return
	}
	now := time.Now()
	c.armed = time.Time{}
	c.advance(now)
	c.arm(now)
	if c.sess.Writable() {
		c.wakeLoop()
	}
}

// arm sets the timer for the session's deadline. A timer that fires early is
// harmless and cheaper than one that is reset for every message. The caller
// holds em.
func (c *Client) arm(now time.Time) {
	d := c.sess.Deadline()
	if watch := now.Add(writeWatch); c.writing && (d.IsZero() || watch.Before(d)) {
		d = watch
	}
	if d.IsZero() || (!c.armed.IsZero() && !d.Before(c.armed)) {
		return
	}
	c.armed = d
	c.timer.Reset(d.Sub(now))
}

// wrote reports a write on link number to the session.
func (c *Client) wrote(number uint64, n int, err error) {
	c.em.Lock()
	defer c.em.Unlock()
	if c.link != number || c.conn == nil {
		return
	}
	now := time.Now()
	c.sess.Wrote(now, n)
	if err != nil {
		if c.closed {
			c.hangUp()
			return
		}
		c.sess.LinkDown(now, err)
	}
	c.collect()
}

// read feeds what arrives on link number to the session.
func (c *Client) read(conn net.Conn, number uint64) {
	buf := make([]byte, minRead)
	for {
		n, err := conn.Read(buf)
		c.em.Lock()
		if c.link != number {
			c.em.Unlock()
			return
		}
		now := time.Now()
		if n > 0 {
			c.sess.Feed(now, buf[:n])
		}
		if err != nil {
			c.sess.LinkDown(now, readError(err))
		}
		c.collect()
		c.arm(now)
		wake := c.sess.Writable() || c.closed
		c.em.Unlock()
		if wake {
			c.wakeLoop()
		}
		if err != nil {
			return
		}
		if n == len(buf) && n < maxRead {
			buf = make([]byte, maxRead)
		}
	}
}

// errPeerClosed says in words what an EOF means here.
var errPeerClosed = errors.New("the hub closed the connection")

func readError(err error) error {
	return &iothub.Error{Op: "receive", Kind: iothub.KindNetwork, Retryable: true, Err: errors.Join(errPeerClosed, err)}
}

// dial opens a link for the session.
func (c *Client) dial() {
	c.em.Lock()
	defer c.em.Unlock()
	conn, auth, err := c.open()
	now := time.Now()
	if err != nil {
		c.sess.DialFailed(now, err)
	} else {
		c.conn = conn
		c.link++
		c.sess.LinkUp(now, auth)
		number := c.link
		c.gate.Go(func() { c.read(conn, number) })
	}
	c.collect()
	c.wakeLoop()
}

// open opens a connection with the credential of the moment: one that is
// replaced meanwhile begins anew. The caller holds em, which open lets go of
// while it waits for the network.
func (c *Client) open() (conn net.Conn, auth engine.Auth, err error) {
	for {
		setup, outage := c.setup, c.sess.Outage()
		c.em.Unlock()
		var with *transport.Setup
		with, conn, auth, err = setup.Open(c.ctx, outage)
		c.em.Lock()
		if setup == c.setup || c.closed {
			c.adopt(with)
			return conn, auth, err
		}
		if conn != nil {
			link.HardClose(conn)
		}
	}
}

// collect does what the session asks for and hands the rest to the
// dispatcher. The caller holds em.
func (c *Client) collect() {
	if c.sess.HasEvents() {
		events := c.sess.Events(c.spare)
		n, bytes := 0, 0
		for i := range events {
			switch e := &events[i]; {
			case e.Kind == engine.EventDial:
				c.gate.Go(c.dial)
			case e.Kind == engine.EventHangUp:
				c.hangUp()
			case e.Direct && e.Kind == engine.EventCall:
				e.Call()
			case e.Direct:
				// Those who wait in SendEvent are answered at once: they
				// need no dispatcher, so that it works inside a callback.
				n++
				bytes += int(e.Size)
				e.Confirm(e.Confirmation)
			}
		}
		if n > 0 {
			c.release(n, bytes)
		}
		if n == len(events) && !c.log.Wants(events) {
			clear(events)
			c.spare = events[:0]
		} else {
			c.spare = c.disp.add(events)
		}
	}
	if c.idle != nil && (c.closed || (c.sess.Idle() && !c.staged())) {
		close(c.idle)
		c.idle = nil
	}
	c.trim()
}

func (c *Client) hangUp() {
	if c.conn != nil {
		link.HardClose(c.conn)
		c.conn = nil
		c.link++
	}
}
