package managed

import (
	"errors"
	"net"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
)

// Sizes of the read buffer: an idle connection holds the first, a busy one the
// second.
const (
	minRead = 1 << 10
	maxRead = 32 << 10
)

// loop is the only writer to the link. It runs until the session is closed.
func (c *Client) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var spare []engine.Entry
	var pieces [][]byte
	for {
		c.mu.Lock()
		staged := c.out.Take(spare)
		c.woken = false
		c.mu.Unlock()

		c.em.Lock()
		now := time.Now()
		c.sess.Submit(now, staged)
		clear(staged)
		spare = staged
		c.sess.Tick(now)
		c.collect()
		pieces = c.sess.Pending(now, pieces[:0])
		conn, number := c.conn, c.link
		if len(pieces) > 0 && conn != nil {
			c.em.Unlock()
			n, err := link.WriteAll(conn, pieces)
			clear(pieces)
			c.wrote(number, n, err)
			continue
		}
		if c.closed {
			c.conn = nil
			c.link++
			c.em.Unlock()
			if conn != nil {
				link.HardClose(conn)
			}
			c.gate.Close()
			return
		}
		c.arm(timer, now)
		c.em.Unlock()

		select {
		case <-c.wake:
		case <-timer.C:
			c.em.Lock()
			c.armed = time.Time{}
			c.em.Unlock()
		}
	}
}

// arm sets the timer for the session's deadline. A timer that fires early is
// harmless and cheaper than one that is reset for every message.
func (c *Client) arm(timer *time.Timer, now time.Time) {
	d := c.sess.Deadline()
	if d.IsZero() || (!c.armed.IsZero() && !d.Before(c.armed)) {
		return
	}
	c.armed = d
	timer.Reset(d.Sub(now))
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
		d := c.sess.Deadline()
		wake := c.sess.Writable() || (!d.IsZero() && (c.armed.IsZero() || d.Before(c.armed))) || c.closed
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
	conn, err := c.setup.Dial(c.ctx)
	var auth engine.Auth
	if err == nil {
		if auth, err = c.setup.Authenticate(c.ctx, time.Now()); err != nil {
			link.HardClose(conn)
		}
	}
	c.em.Lock()
	defer c.em.Unlock()
	now := time.Now()
	if err != nil {
		c.sess.LinkDown(now, err)
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

// collect does what the session asks for and hands the rest to the
// dispatcher. The caller holds em.
func (c *Client) collect() {
	if c.sess.HasEvents() {
		c.events = c.sess.Events(c.events[:0])
		for i := range c.events {
			switch c.events[i].Kind {
			case engine.EventDial:
				c.gate.Go(c.dial)
			case engine.EventHangUp:
				c.hangUp()
			}
		}
		c.confirmDirect()
		c.disp.add(c.events)
		clear(c.events)
	}
	if c.idle != nil && (c.closed || (c.sess.Idle() && !c.staged())) {
		close(c.idle)
		c.idle = nil
	}
}

// confirmDirect answers those who wait in SendEvent at once: they need no
// dispatcher, so that a SendEvent works even inside a callback.
func (c *Client) confirmDirect() {
	n, bytes := 0, 0
	for i := range c.events {
		if e := &c.events[i]; e.Direct {
			n++
			bytes += e.Size
			e.Confirm(e.Confirmation)
		}
	}
	if n > 0 {
		c.release(n, bytes)
	}
}

func (c *Client) hangUp() {
	if c.conn != nil {
		link.HardClose(c.conn)
		c.conn = nil
		c.link++
	}
}
