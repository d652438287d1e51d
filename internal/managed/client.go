// Package managed is the client that works by itself, shared by packages
// device and module: it connects, reconnects, renews tokens and calls back.
//
// Three goroutines when connected:
//
//	loop        takes what senders staged, drives time, writes
//	reader      feeds what arrives to the session
//	dispatcher  runs the user's callbacks, one at a time, holding no lock
//
// and a fourth while dialling. Locks, in the order in which they may be held
// together: em (session and link), then mu (outbox), then the dispatcher's own.
// None is ever held while the network or user code runs.
package managed

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/clientlog"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/receiver"
	"github.com/iothub-go/iothub/internal/transport"
)

// goodbyeTimeout bounds how long Close waits for the network to take what is
// left to write, DISCONNECT included, and for the hub to have read it.
const goodbyeTimeout = time.Second

// Client is a managed client. All methods are safe for concurrent use, and
// inside every callback.
type Client struct {
	opts    *iothub.ClientOptions
	epoch   time.Time
	gate    link.Gate
	disp    *dispatcher
	recv    *receiver.Receiver
	log     *clientlog.Log // the dispatcher's; nil for none
	waiters waiters

	// ctx ends when the client is torn down; it bounds dialling and the
	// user's token source, which Close must not wait for.
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards the following
	out     *engine.Outbox
	woken   bool          // the loop knows that something is staged
	closing bool          // sends are refused
	space   chan struct{} // closed and replaced when room is given back; nil when nobody waits

	em      sync.Mutex // guards the following
	setup   *transport.Setup
	sess    *engine.Session
	conn    net.Conn // nil when there is none
	link    uint64   // number of conn, so that what is left of an older one is ignored
	armed   time.Time
	closed  bool      // the session is closed: the loop says goodbye and ends
	ended   time.Time // when, at the latest
	idle    chan struct{}
	spare   []engine.Event // for the session to collect into
	taken   []engine.Entry // for the outbox to stage into
	swollen bool           // a burst has made taken, or its like in the outbox, large
	writing bool           // the loop is in a write
	timer   *time.Timer    // runs tick at armed

	wake chan struct{} // capacity 1: the loop has something to do
}

// New returns a client that is ready to send; it connects with the first
// message, or with Open. o must have its defaults.
func New(setup *transport.Setup, o *iothub.ClientOptions) *Client {
	now := time.Now()
	c := &Client{
		setup: setup, opts: o, epoch: now,
		out:  engine.NewOutbox(setup.Encoder, now, o.MaxQueuedMessages, o.MaxQueuedBytes),
		sess: engine.NewSession(setup.Session, now),
		wake: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.disp = newDispatcher(c)
	c.recv = receiver.New(c)
	c.log = clientlog.New(o.Logger)
	c.timer = time.AfterFunc(1<<62, c.tick)
	c.gate.Go(c.disp.run)
	c.gate.Go(c.loop)
	return c
}

// SendEventAsync accepts m, or says why not; see the public clients.
func (c *Client) SendEventAsync(m *iothub.Message, confirm iothub.ConfirmFunc) error {
	return c.send(m, confirm, false)
}

func (c *Client) send(m *iothub.Message, confirm iothub.ConfirmFunc, direct bool) error {
	now := transport.SendTime(m, c.opts.MessageTimeout)
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return iothub.ErrClosed
	}
	err := c.out.Add(now, m, confirm, c.opts.MessageTimeout, direct)
	wake := err == nil && !c.woken
	if wake {
		c.woken = true
	}
	c.mu.Unlock()
	if wake {
		c.wakeLoop()
	}
	return err
}

func (c *Client) wakeLoop() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Open starts connecting without waiting for the first message.
func (c *Client) Open() {
	c.em.Lock()
	c.sess.Start(time.Now())
	c.collect()
	c.em.Unlock()
}

// Params returns what the client is made of, as of the last SetCredential.
func (c *Client) Params() *transport.Params {
	c.em.Lock()
	defer c.em.Unlock()
	return c.setup.Params
}

// Stats returns the counters.
func (c *Client) Stats() iothub.Stats {
	c.em.Lock()
	st := c.sess.Stats()
	c.mu.Lock()
	st.Queued += c.out.Staged()
	_, st.QueuedBytes = c.out.Len()
	c.mu.Unlock()
	c.em.Unlock()
	return st
}

// Close refuses further messages, waits until all accepted ones are confirmed
// or ctx ends, confirms the rest ConfirmBecauseDestroy and ends the
// connection, which takes at most two seconds more. Inside a callback it does
// not wait: it takes effect when the callback returns.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	if c.disp.current() {
		c.shut()
		return nil
	}
	err := c.flush(ctx)
	c.shut()
	// What is left is being confirmed; that and the goodbye get the moment they take,
	// also when ctx ends.
	moment := time.NewTimer(2 * goodbyeTimeout)
	defer moment.Stop()
	ended := make(chan struct{})
	go func() { // outside the gate, because it waits for it
		c.gate.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case <-ended:
	case <-moment.C:
		// A callback, a dialer or a token source of the user holds it up.
		if err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// flush waits until no message is left.
func (c *Client) flush(ctx context.Context) error {
	for {
		c.em.Lock()
		if c.closed || (c.sess.Idle() && !c.staged()) {
			c.em.Unlock()
			return nil
		}
		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle := c.idle
		c.em.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) staged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Staged() > 0
}

// shut closes the session; the loop does the rest.
func (c *Client) shut() {
	c.cancel()
	c.em.Lock()
	defer c.em.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.mu.Lock()
	staged := c.out.Take(nil)
	c.mu.Unlock()
	now := time.Now()
	c.ended = now.Add(goodbyeTimeout)
	c.sess.Submit(now, staged)
	c.sess.Close(now)
	c.collect()
	c.disp.finish()
	if c.conn != nil {
		// Unblocks a loop that is stuck in a write, too.
		c.conn.SetWriteDeadline(c.ended)
	}
	c.wakeLoop()
}
