// Package ll holds the poll-driven clients, the LL contract of the Azure IoT
// SDK for C in Go: nothing happens and no callback runs except inside DoWork
// (and Destroy). A program that owns its loop calls DoWork whenever [Wakeup]
// fires or the time that DoWork returned has come, so nobody polls every
// millisecond; calling it more often is allowed and cheap.
//
//	for {
//		next, err := c.DoWork()
//		…
//		select {
//		case <-c.Wakeup():
//		case <-time.After(time.Until(next)):
//		}
//	}
//
// A client belongs to one goroutine. Use from two at once is detected where it
// happens and answered with iothub.ErrConcurrentUse. DoWork never blocks:
// dialling, TLS, reading and writing go on behind it.
//
// Inside a callback every call is allowed but DoWork. A Destroy there takes
// effect when the callback returns.
package ll

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/clientlog"
	"github.com/iothub-go/iothub/internal/engine"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/receiver"
	"github.com/iothub-go/iothub/internal/setup"
	"github.com/iothub-go/iothub/internal/transport"
)

// ClientOptions configures a client; the zero value, or nil, is the documented
// default.
type ClientOptions = iothub.ClientOptions

// SendStatus says whether a client has messages that are not confirmed.
type SendStatus uint8

// The two, with the numbers of the C SDK's IOTHUB_CLIENT_STATUS.
const (
	SendIdle SendStatus = iota // every accepted message was confirmed
	SendBusy                   // some are waiting or in flight
)

// String returns "IDLE" or "BUSY".
func (s SendStatus) String() string {
	if s == SendIdle {
		return "IDLE"
	}
	return "BUSY"
}

// goodbyeTimeout bounds how long Destroy lets the network take what is left to write,
// and the hub read it.
const goodbyeTimeout = time.Second

// How long the hub may take to answer, as in the C SDK.
const (
	twinTimeout   = time.Minute
	reportTimeout = 5 * time.Minute
)

var errNoCallback = errors.New("the callback is nil, so nobody would see the answer")

// client is what DeviceClient and ModuleClient share.
type client struct {
	setup *setup.Client

	// busy is held during every method but while callbacks run, so that a
	// second goroutine is noticed and a callback is not.
	busy      atomic.Bool
	working   bool // inside DoWork: a callback must not call it again
	started   bool // the first connection was asked for
	destroyed bool
	torn      bool // what Destroy does has been done

	out     *engine.Outbox
	sess    *engine.Session
	staged  []engine.Entry
	events  []engine.Event // for the user
	spare   []engine.Event // for the session to collect into
	pieces  [][]byte
	inbound []byte

	recv     *receiver.Receiver
	finished finished
	gate     link.Gate
	pipe     *link.Pipe
	old      *link.Pipe // the one before; its last write may not have ended
	ctx      context.Context
	cancel   context.CancelFunc
	dialed   chan dialResult // capacity 1
	wakeup   chan struct{}   // capacity 1

	log      *clientlog.Log // nil for none
	received time.Time      // of the last message; zero for none
	pem      pemPair        // of SetOption, until both are there
}

type dialResult struct {
	asked *transport.Setup // what the client had then
	with  *transport.Setup // what was presented
	conn  net.Conn
	auth  engine.Auth
	err   error
}

func fromConnectionString(connectionString string, kind setup.Kind, o *ClientOptions) (*client, error) {
	// The certificate for x509=true may come by SetOption.
	s, err := setup.WithoutCredential(connectionString, kind, o)
	if err != nil {
		return nil, err
	}
	return newClient(s), nil
}

func newClient(s *setup.Client) *client {
	now := time.Now()
	c := &client{
		setup:  s,
		out:    engine.NewOutbox(s.Encoder, now, s.Options.MaxQueuedMessages, s.Options.MaxQueuedBytes),
		sess:   engine.NewSession(s.Session, now),
		dialed: make(chan dialResult, 1),
		wakeup: make(chan struct{}, 1),
	}
	c.recv = receiver.New(c)
	c.log = clientlog.New(s.Options.Logger)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// enter claims the client for one call.
func (c *client) enter() error {
	if !c.busy.CompareAndSwap(false, true) {
		return iothub.ErrConcurrentUse
	}
	if c.destroyed {
		c.busy.Store(false)
		return iothub.ErrClosed
	}
	return nil
}

func (c *client) leave() { c.busy.Store(false) }

func (c *client) notify() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

func (c *client) sendEventAsync(msg *iothub.Message, confirm iothub.ConfirmFunc) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	timeout := c.setup.Options.MessageTimeout
	err := c.out.Add(transport.SendTime(msg, timeout), msg, confirm, timeout, false)
	if err == nil && c.out.Staged() == 1 {
		c.notify()
	}
	return err
}

func (c *client) sendStatus() (SendStatus, error) {
	if err := c.enter(); err != nil {
		return SendIdle, err
	}
	defer c.leave()
	if n, _ := c.out.Len(); n > 0 {
		return SendBusy, nil
	}
	return SendIdle, nil
}

func (c *client) stats() (iothub.Stats, error) {
	if err := c.enter(); err != nil {
		return iothub.Stats{}, err
	}
	defer c.leave()
	return c.counters(), nil
}

func (c *client) counters() iothub.Stats {
	st := c.sess.Stats()
	st.Queued += c.out.Staged()
	_, st.QueuedBytes = c.out.Len()
	return st
}

func (c *client) doWork() (time.Time, error) {
	if err := c.enter(); err != nil {
		return time.Time{}, err
	}
	if c.working {
		c.leave()
		return time.Time{}, iothub.ErrConcurrentUse
	}
	c.working = true
	defer func() {
		c.working = false
		c.leave()
	}()
	now := time.Now()
	c.receive(now)
	if !c.started { // later it is for the retry policy, or a message
		c.started = true
		c.sess.Start(now)
	}
	c.move(now)
	if c.callBack() {
		// Callbacks may have sent: that leaves now, not at the next call.
		c.move(now)
	}
	if c.destroyed {
		c.tearDown()
		return time.Time{}, iothub.ErrClosed
	}
	next := c.sess.Deadline()
	if len(c.events) > 0 {
		next = now
	}
	if next.IsZero() {
		next = now.Add(time.Hour)
	}
	return next, nil
}

// receive feeds the session what the goroutines have left for it.
func (c *client) receive(now time.Time) {
	c.events = c.finished.take(c.events)
	if c.old != nil && !c.old.Writing() {
		c.old = nil
	}
	if c.old == nil { // sending again changes what the old pipe may still be writing
		c.takeDialed(now)
	}
	if c.pipe == nil {
		return
	}
	var wrote int
	var err error
	c.inbound, wrote, err = c.pipe.Collect(c.inbound[:0])
	if wrote > 0 {
		c.sess.Wrote(now, wrote)
	}
	if len(c.inbound) > 0 {
		c.sess.Feed(now, c.inbound)
	}
	if err != nil {
		c.sess.LinkDown(now, err)
	}
}

func (c *client) takeDialed(now time.Time) {
	select {
	case r := <-c.dialed:
		if r.asked != c.setup.Setup { // options have changed meanwhile
			if r.conn != nil {
				link.HardClose(r.conn)
			}
			c.startDial()
			return
		}
		c.adopt(now, r.with, c.setup.Options)
		if r.err != nil {
			c.sess.DialFailed(now, r.err)
			return
		}
		c.pipe = link.NewPipe(&c.gate, r.conn, c.notify)
		c.sess.LinkUp(now, r.auth)
	default:
	}
}

// move drives time, hands messages to the session and bytes to the network.
func (c *client) move(now time.Time) {
	taken := c.out.Take(c.staged)
	c.sess.Submit(now, taken)
	clear(taken)
	c.staged = taken
	c.sess.Tick(now)
	c.obey()
	if c.pipe == nil {
		return
	}
	if c.pieces = c.sess.Pending(now, c.pieces[:0]); len(c.pieces) > 0 {
		c.pipe.Write(c.pieces) // refused while earlier ones are on their way
		clear(c.pieces)
	}
}

// obey does what the session asks for; events for the user stay.
func (c *client) obey() {
	events := c.sess.Events(c.spare)
	for i := range events {
		switch events[i].Kind {
		case engine.EventDial:
			c.startDial()
		case engine.EventHangUp:
			if c.pipe != nil {
				c.pipe.Close(0)
				c.old, c.pipe = c.pipe, nil
			}
		}
	}
	if len(c.events) == 0 {
		c.events, c.spare = events, c.events
		return
	}
	c.events = append(c.events, events...)
	clear(events)
	c.spare = events[:0]
}

// startDial dials on a goroutine of its own, which leaves its result for
// DoWork.
func (c *client) startDial() {
	asked, outage := c.setup.Setup, c.sess.Outage()
	c.gate.Go(func() {
		with, conn, auth, err := asked.Open(c.ctx, outage)
		c.dialed <- dialResult{asked, with, conn, auth, err}
		c.notify()
	})
}

// callBack runs the user's callbacks, with the client free for their calls. It
// reports whether any ran.
func (c *client) callBack() bool {
	if len(c.events) == 0 {
		return false
	}
	events := c.events
	c.events = nil
	n, bytes := 0, 0
	for i := range events {
		switch e := &events[i]; {
		case e.Kind == engine.EventConfirm:
			n++
			bytes += int(e.Size)
		case e.Kind == engine.EventInbound && (e.In.Kind == engine.InboundMessage || e.In.Kind == engine.InboundInput):
			c.received = time.Now()
		}
	}
	c.out.Release(n, bytes)
	var counters iothub.Stats
	if c.log != nil {
		counters = c.counters()
	}
	c.busy.Store(false)
	c.log.Events(events, func() iothub.Stats { return counters })
	for i := range events {
		c.call(&events[i])
	}
	for !c.busy.CompareAndSwap(false, true) {
		// Another goroutine is inside a call: that call is the misuse, and
		// it is short.
	}
	clear(events)
	if c.events == nil && cap(events) <= 4096 {
		c.events = events[:0]
	}
	return true
}

func (c *client) call(e *engine.Event) {
	switch e.Kind {
	case engine.EventConfirm:
		if e.Confirm != nil {
			e.Confirm(e.Confirmation)
		}
	case engine.EventStatus:
		if f := c.setup.Options.OnConnectionStatus; f != nil {
			f(*e.Status)
		}
	case engine.EventInbound:
		c.recv.Handle(e.In)
	case engine.EventCall:
		e.Call()
	}
}

// destroy takes effect at once, or, from inside a callback, when the DoWork
// that runs it has called back all it has.
func (c *client) destroy() error {
	if err := c.enter(); err != nil {
		if errors.Is(err, iothub.ErrClosed) {
			return nil
		}
		return err
	}
	c.destroyed = true
	if !c.working {
		c.tearDown()
	}
	c.leave()
	return nil
}

// sayGoodbye writes what the session has left, answers that callbacks have just
// given included, behind a write that is under way.
func (c *client) sayGoodbye(now time.Time) {
	deadline := now.Add(goodbyeTimeout)
	c.pipe.Settle(deadline)
	var wrote int
	c.inbound, wrote, _ = c.pipe.Collect(c.inbound[:0]) // what ended it does not matter any more
	c.sess.Wrote(now, wrote)
	if c.pieces = c.sess.Pending(now, c.pieces[:0]); len(c.pieces) > 0 {
		c.pipe.Write(c.pieces)
	}
	c.pipe.Close(time.Until(deadline))
	c.pipe = nil
}

// tearDown confirms everything that is left and ends the connection. The
// caller holds busy.
func (c *client) tearDown() {
	if c.torn {
		return
	}
	c.torn = true
	c.cancel()
	now := time.Now()
	c.sess.Submit(now, c.out.Take(nil))
	c.sess.Close(now)
	c.obey()
	c.callBack()
	if c.pipe != nil {
		c.sayGoodbye(now)
	}
	c.gate.Close()
	c.gate.Wait()
	c.events = c.finished.take(c.events)
	c.callBack()
	select {
	case r := <-c.dialed: // a connection that nobody fetched
		if r.conn != nil {
			link.HardClose(r.conn)
		}
	default:
	}
}
