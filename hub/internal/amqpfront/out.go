package amqpfront

import (
	"fmt"
	"time"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// output is what goes to the client. conn.mu guards it.
type output struct {
	buf     []byte
	spare   []byte // for the buffer after this one
	writing bool   // a goroutine writes
	idle    chan struct{}
	said    bool // something was written since the last beat
	waiting map[*link]struct{}
}

const (
	// keepBuffer is how large a buffer may be to be used again by a quiet
	// connection.
	keepBuffer = 16 << 10
	// largeBuffer is the size of those that busy connections share: to grow one for
	// every write is most of what a message costs.
	largeBuffer = 2 * roomyOut
)

// frameLocked appends a frame.
func (c *conn) frameLocked(t amqp.FrameType, channel uint16, p amqp.Performative) {
	if c.dead || c.closeSent {
		return
	}
	if buf := c.out.buf; c.proved && len(buf) > keepBuffer/2 && cap(buf) <= keepBuffer {
		c.out.buf = append(c.front.takeLarge(), buf...)
		c.out.spare = buf[:0]
	}
	var err error
	if c.out.buf, err = amqp.AppendFrame(c.out.buf, t, channel, p); err != nil {
		c.killLocked(fmt.Errorf("encode %T: %w", p, err)) // a mistake of a node
	}
}

// takeLarge gives an empty large buffer.
func (f *Front) takeLarge() []byte {
	if b, ok := f.large.Get().(*[largeBuffer]byte); ok {
		return b[:0]
	}
	return make([]byte, 0, largeBuffer)
}

// emptiedLocked takes back a buffer that was written.
func (c *conn) emptiedLocked(buf []byte) {
	switch {
	case cap(buf) == largeBuffer:
		c.front.large.Put((*[largeBuffer]byte)(buf[:largeBuffer]))
	case cap(buf) <= keepBuffer:
		c.out.spare = buf[:0]
	}
}

// flushLocked has what was appended written, and cuts off a client for which more
// waits than it may.
func (c *conn) flushLocked() {
	limit := maxOut
	if !c.proved {
		limit = unprovedOut
	}
	if len(c.out.buf) > limit {
		c.killLocked(errSlow)
		return
	}
	if len(c.out.buf) == 0 || c.out.writing || c.dead {
		return
	}
	c.out.writing, c.out.idle = true, make(chan struct{})
	c.wg.Add(1)
	go c.write()
}

// write writes until nothing is left.
func (c *conn) write() {
	defer c.wg.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out.buf) > 0 && !c.dead {
		buf := c.out.buf
		c.out.buf, c.out.spare = c.out.spare[:0], nil
		c.out.said = true
		c.mu.Unlock()
		err := c.nc.SetWriteDeadline(time.Now().Add(c.front.cfg.WriteTimeout))
		if err == nil {
			_, err = c.nc.Write(buf)
		}
		c.mu.Lock()
		if err != nil {
			c.killLocked(fmt.Errorf("write: %w", err))
			break
		}
		c.emptiedLocked(buf)
		for l := range c.out.waiting {
			delete(c.out.waiting, l)
			l.wakeUp()
		}
	}
	c.out.writing = false
	close(c.out.idle)
}

// settleOutput waits until everything is written or the connection is dead.
func (c *conn) settleOutput() {
	c.mu.Lock()
	c.flushLocked()
	idle := c.out.idle
	writing := c.out.writing
	c.mu.Unlock()
	if writing {
		<-idle
	}
}

// startBeat has the hub show that it lives to a client that wants to know, well
// within the time that it asks for. (AMQP 2.4.5)
func (c *conn) startBeatLocked(timeout time.Duration) {
	if timeout <= 0 {
		return
	}
	every := max(min(timeout/4, beat), minBeat)
	c.beat = time.AfterFunc(every, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dead {
			return
		}
		if !c.out.said && !c.out.writing {
			c.out.buf = amqp.AppendEmptyFrame(c.out.buf)
			c.flushLocked()
		}
		c.out.said = false
		c.beat.Reset(every)
	})
}
