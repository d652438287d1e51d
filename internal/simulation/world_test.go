package simulation_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
)

// filler is what payloads are made of.
var filler = func() []byte {
	b := make([]byte, iothub.MaxMessageSize+4096)
	d := newDice(1, 1)
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return b
}()

// record is one message that was offered to the client, and all that became
// of it.
type record struct {
	serial    int
	offset    int // of its payload in filler
	size      int
	props     map[string]string
	mid       string
	offeredAt time.Time
	deadline  time.Time // zero for none
	ordered   bool      // its place in the order of acceptance is known
	confirmed bool      // a confirmation is expected if it is accepted

	returned bool // the send has returned
	unsure   bool // whether it was accepted: SendEvent does not always tell
	err      error
	confirms int
	at       time.Time // confirmed
	result   iothub.Confirmation

	received int // by the hub, so often
	session  int // the last time
	id       uint16
	acks     []int // numbers of its acknowledgements
}

func (r *record) accepted() bool { return r.returned && r.err == nil }

// world is one run of a scenario and what is known of it.
type world struct {
	sc    *scenario
	layer string
	start time.Time
	c     client
	hub   *hub
	log   func(string) // nil when nobody reads it

	order   sync.Mutex // held around every send: serials are in order of acceptance
	sending atomic.Uint64
	scratch []byte // the payload of every message, overwritten after each send

	calls     atomic.Int32 // callbacks under way
	callbacks atomic.Int32

	mu         sync.Mutex
	violations []string
	records    []*record
	ackCount   int
	lastFirst  int
	lastOK     int // number of the last acknowledgement that was confirmed
	gaveUp     bool
	stoppedAt  time.Time // the last status said so; zero if it did not
	closed     bool      // a close has begun
	closedIn   bool      // inside a callback
	over       bool      // a close has returned
}

func (w *world) trace(format string, args ...any) {
	if w.log != nil {
		w.log(fmt.Sprintf("%12v  ", time.Since(w.start)) + fmt.Sprintf(format, args...))
	}
}

func (w *world) violation(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violationLocked(format, args...)
}

func (w *world) violationLocked(format string, args ...any) {
	s := fmt.Sprintf("at %v: ", time.Since(w.start)) + fmt.Sprintf(format, args...)
	w.trace("VIOLATION %s", s)
	if len(w.violations) < 10 {
		w.violations = append(w.violations, s)
	}
}

// offer sends what s says, once. inside says that a callback does.
func (w *world) offer(s *send, inside bool) error {
	w.order.Lock()
	defer w.order.Unlock()
	r, m := w.make(s)
	var f iothub.ConfirmFunc
	if !s.quiet {
		f = w.confirm(r, s)
		r.confirmed = true
	}
	r.ordered = true
	w.sending.Store(goroutineID())
	began := time.Now()
	var err error
	if inside {
		err = w.c.inside(m, f)
	} else {
		err = w.c.send(m, f)
	}
	w.sending.Store(0)
	clear(w.scratch) // the message is ours again
	for k := range m.Properties {
		m.Properties[k] = "changed"
	}
	*m = iothub.Message{}
	if d := time.Since(began); d != 0 {
		w.violation("sending message %d took %v", r.serial, d)
	}
	w.returned(r, s, err)
	return err
}

func (w *world) returned(r *record, s *send, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.returned, r.err = true, err
	w.trace("send %d: %d bytes, %d properties, deadline %v: %v", r.serial, r.size, len(r.props), r.deadline, err)
	switch {
	case err == nil && (s.invalid || r.size > iothub.MaxMessageSize):
		w.violationLocked("message %d is invalid and was accepted", r.serial)
	case err == nil && w.closed && !w.closedIn && w.over:
		w.violationLocked("message %d was accepted after Close", r.serial)
	case err != nil && errors.Is(err, iothub.ErrQueueFull):
		if w.outstandingLocked() == 0 && !w.closed {
			w.violationLocked("message %d: queue full, but nothing is in it", r.serial)
		}
	case err != nil && errors.Is(err, iothub.ErrClosed):
		if !w.closed {
			w.violationLocked("message %d: %v", r.serial, err)
		}
	case err != nil && !s.invalid && r.size < iothub.MaxMessageSize-3000:
		w.violationLocked("message %d of %d bytes was refused: %v", r.serial, r.size, err)
	}
	if err != nil && !errors.Is(err, iothub.ErrClosed) && !iothub.NotSent(err) {
		w.violationLocked("message %d was refused, but NotSent is false of %v", r.serial, err)
	}
}

// outstandingLocked counts messages that may still take room.
func (w *world) outstandingLocked() (n int) {
	for _, r := range w.records {
		if (!r.returned || r.err == nil) && (r.confirms == 0 || r.at.Equal(time.Now())) {
			n++
		}
	}
	return n
}

// make returns a new record and its message. The caller holds order.
func (w *world) make(s *send) (*record, *iothub.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &record{serial: len(w.records), size: s.size, offeredAt: time.Now()}
	d := newDice(w.sc.seed, 2_000_000+uint64(r.serial))
	r.offset = d.IntN(4096)
	r.props = map[string]string{"serial": strconv.Itoa(r.serial)}
	for i := range s.props {
		r.props[fmt.Sprintf("näme %d/&=", i)] = strings.Repeat("v%+ ü", d.IntN(6))
	}
	if d.chance(20) {
		r.mid = fmt.Sprint("id-", r.serial)
	}
	w.records = append(w.records, r)
	if cap(w.scratch) < s.size {
		w.scratch = make([]byte, s.size)
	}
	w.scratch = w.scratch[:s.size]
	copy(w.scratch, filler[r.offset:])
	m := &iothub.Message{Payload: w.scratch, Properties: map[string]string{}, MessageID: r.mid}
	for k, v := range r.props {
		m.Properties[k] = v
	}
	if s.invalid {
		m.Properties["$.mid"] = "x"
	}
	if w.sc.messageTimeout > 0 {
		r.deadline = r.offeredAt.Add(w.sc.messageTimeout)
	}
	if s.expiry != 0 {
		m.ExpiryTime = r.offeredAt.Add(s.expiry)
		if r.deadline.IsZero() || m.ExpiryTime.Before(r.deadline) {
			r.deadline = m.ExpiryTime
		}
	}
	return r, m
}

// wait sends with SendEvent and checks the outcome.
func (w *world) wait(c waiter, s *send) {
	w.order.Lock()
	r, m := w.make(s)
	m.Payload = bytes.Clone(m.Payload) // it is read for as long as the queue is full
	w.order.Unlock()
	err := c.wait(m, s.wait)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace("SendEvent %d: %v", r.serial, err)
	r.returned = true
	if err == nil {
		w.hasLocked(r)
		return
	}
	r.unsure = true
	if iothub.NotSent(err) && r.received > 0 {
		w.violationLocked("SendEvent of message %d returned %v, but the hub has it", r.serial, err)
	}
}

func (w *world) hasLocked(r *record) {
	if r.received == 0 || len(r.acks) == 0 {
		w.violationLocked("message %d was confirmed OK; the hub received it %d and acknowledged it %d times", r.serial, r.received, len(r.acks))
	}
}

// enter and leave stand around every callback.
func (w *world) enter() {
	if w.calls.Add(1) != 1 {
		w.violation("two callbacks at once")
	}
	if w.sending.Load() == goroutineID() {
		w.violation("a callback runs inside a send")
	}
}

func (w *world) leave() {
	if w.sc.slowCallbacks && w.callbacks.Load()%7 == 0 {
		<-time.After(20 * time.Millisecond)
	}
	w.callbacks.Add(1)
	w.calls.Add(-1)
}

func (w *world) confirm(r *record, s *send) iothub.ConfirmFunc {
	return func(c iothub.Confirmation) {
		w.enter()
		defer w.leave()
		if w.sending.Load() == goroutineID() {
			return // the lock is held; the violation is noted
		}
		w.mu.Lock()
		w.trace("confirm %d: %v %v", r.serial, c.Result, c.Err)
		w.checkConfirmationLocked(r, c)
		r.confirms++
		r.at, r.result = time.Now(), c
		w.mu.Unlock()
		if s.resend > 0 {
			again := *s
			again.resend--
			w.offer(&again, true)
		}
		if w.sc.closing == closeInConfirm {
			w.closeInside()
		}
	}
}

func (w *world) checkConfirmationLocked(r *record, c iothub.Confirmation) {
	now := time.Now()
	if r.confirms > 0 {
		w.violationLocked("message %d is confirmed again: %v after %v", r.serial, c, r.result)
	}
	if r.returned && r.err != nil {
		w.violationLocked("message %d is confirmed, but its send returned %v", r.serial, r.err)
	}
	if (c.Result == iothub.ConfirmOK) != (c.Err == nil) {
		w.violationLocked("message %d: %v with error %v", r.serial, c.Result, c.Err)
	}
	if w.over && !w.sc.slowCallbacks {
		w.violationLocked("message %d is confirmed after Close has returned", r.serial)
	}
	switch c.Result {
	case iothub.ConfirmOK:
		w.hasLocked(r)
		w.checkAckOrderLocked(r)
	case iothub.ConfirmBecauseDestroy:
		if !w.closed {
			w.violationLocked("message %d: %v, but nobody closed", r.serial, c.Result)
		}
	case iothub.ConfirmMessageTimeout:
		if r.deadline.IsZero() || now.Before(r.deadline) {
			w.violationLocked("message %d timed out at %v, its deadline is %v", r.serial, now.Sub(w.start), r.deadline.Sub(w.start))
		}
		if !errors.Is(c.Err, iothub.ErrMessageTimeout) {
			w.violationLocked("message %d timed out with error %v", r.serial, c.Err)
		}
	case iothub.ConfirmError:
		if !w.sc.canGiveUp() {
			w.violationLocked("message %d: %v", r.serial, c.Err)
		}
	}
	if !r.deadline.IsZero() && now.Sub(r.deadline) > 100*time.Millisecond && r.deadline.After(r.offeredAt) && !w.sc.slowCallbacks {
		w.violationLocked("message %d: %v comes %v after its deadline", r.serial, c.Result, now.Sub(r.deadline))
	}
	if iothub.NotSent(c.Err) && r.received > 0 {
		w.violationLocked("message %d: NotSent is true of %v, but the hub has it", r.serial, c.Err)
	}
}

// checkAckOrderLocked checks that confirmations come in the order of the
// acknowledgements.
func (w *world) checkAckOrderLocked(r *record) {
	for _, n := range r.acks {
		if n > w.lastOK {
			w.lastOK = n
			return
		}
	}
	w.violationLocked("message %d, acknowledged as number %v, is confirmed after number %d", r.serial, r.acks, w.lastOK)
}

// ackLocked notes that the hub writes acknowledgement a.
func (w *world) ackLocked(s *session, a *answer) {
	w.ackCount++
	a.ack.acks = append(a.ack.acks, w.ackCount)
	delete(s.unacked, a.id)
	s.unackedBytes -= a.size
	w.trace("hub: PUBACK on %d: message %d, id %d", s.n, a.ack.serial, a.id)
}

func (w *world) checkContentLocked(s *session, r *record, props map[string]string, payload []byte) {
	if r.returned && r.err != nil {
		w.violationLocked("connection %d: message %d, whose send returned %v", s.n, r.serial, r.err)
	}
	if r.confirms > 0 && iothub.NotSent(r.result.Err) {
		w.violationLocked("connection %d: message %d, which was confirmed as not sent", s.n, r.serial)
	}
	if !bytes.Equal(payload, filler[r.offset:r.offset+r.size]) {
		w.violationLocked("connection %d: message %d has another payload", s.n, r.serial)
	}
	want := len(r.props)
	if r.mid != "" {
		want++
	}
	ok := len(props) == want && props["$.mid"] == r.mid
	for k, v := range r.props {
		ok = ok && props[k] == v
	}
	if !ok {
		w.violationLocked("connection %d: message %d has properties %v, want %v", s.n, r.serial, props, r.props)
	}
}

func (w *world) status(e iothub.ConnectionEvent) {
	w.enter()
	defer w.leave()
	w.mu.Lock()
	w.trace("status: %v (again in %v)", e, e.RetryIn)
	if e.Status == iothub.Authenticated && w.hub.accepted == 0 {
		w.violationLocked("authenticated, but the hub accepted nobody")
	}
	if w.quietLocked() {
		w.violationLocked("the client gave up, and started again with nothing to send: %v", e)
	}
	w.stoppedAt = time.Time{}
	if e.Reason == iothub.ReasonRetryExpired {
		w.stoppedAt = time.Now()
		w.gaveUp = true
		if !w.sc.canGiveUp() {
			w.violationLocked("the retry policy has no limit: %v", e)
		}
	}
	w.mu.Unlock()
	if w.sc.closing == closeInStatus {
		w.closeInside()
	}
}

// quietLocked reports that the client has given up and nothing was sent since.
func (w *world) quietLocked() bool {
	quiet := !w.stoppedAt.IsZero() && !w.sc.slowCallbacks
	for _, r := range w.records {
		quiet = quiet && r.returned && !r.unsure && r.offeredAt.Before(w.stoppedAt)
	}
	return quiet
}

func (w *world) closeInside() {
	if int(w.callbacks.Load()) < w.sc.closeAfter {
		return
	}
	w.mu.Lock()
	first := !w.closedIn
	w.closed, w.closedIn = true, true
	w.mu.Unlock()
	if !first {
		return
	}
	w.trace("close inside a callback")
	w.c.closeInside()
	if w.sc.sendInsideAfterClose {
		if err := w.offer(&send{size: 10}, true); !errors.Is(err, iothub.ErrClosed) {
			w.violation("a send after a close inside the same callback returned %v", err)
		}
	}
}

// unsettled counts accepted messages whose fate is not known to be settled.
func (w *world) unsettled() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		if r.confirmed && r.accepted() && r.confirms == 0 {
			n++
		}
	}
	return n
}

// checkStats holds off sends, so that the counters can be compared exactly.
func (w *world) checkStats(final bool) {
	w.order.Lock()
	defer w.order.Unlock()
	st, ok := w.c.stats()
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	accepted, unsure, oks := 0, 0, 0
	for _, r := range w.records {
		if !r.returned || r.unsure {
			unsure++
		} else if r.err == nil {
			accepted++
		}
		if r.result.Result == iothub.ConfirmOK && r.confirms > 0 {
			oks++
		}
	}
	if sum := st.Queued + st.InFlight + int(st.Confirmed) + int(st.Failed); sum < accepted || sum > accepted+unsure {
		w.violationLocked("stats %+v add up to %d, %d were accepted, %d perhaps", st, sum, accepted, unsure)
	}
	if limit := w.sc.maxMessages; limit > 0 && st.Queued+st.InFlight > limit {
		w.violationLocked("stats %+v: the queue is bounded to %d messages", st, limit)
	}
	if limit := w.sc.maxBytes; limit > 0 && st.QueuedBytes > limit && st.QueuedBytes > w.largestLocked() {
		w.violationLocked("stats %+v: the queue is bounded to %d bytes", st, limit)
	}
	if st.Connects > uint64(w.hub.accepted) || st.Queued < 0 || st.InFlight < 0 || st.QueuedBytes < 0 ||
		int(st.Confirmed) < oks {
		w.violationLocked("stats %+v, but the hub accepted %d connections and %d messages were confirmed", st, w.hub.accepted, oks)
	}
	if w.sc.calm() && st.Resent+st.ConnectFails > 0 {
		w.violationLocked("stats %+v, but nothing went wrong", st)
	}
	if final && (st.Queued+st.InFlight+st.QueuedBytes != 0) {
		w.violationLocked("stats %+v when all is over", st)
	}
}

// largestLocked returns the most bytes that one message may take.
func (w *world) largestLocked() (n int) {
	for _, r := range w.records {
		bytes := r.size + 300
		for k, v := range r.props {
			bytes += 3 * (len(k) + len(v))
		}
		n = max(n, bytes)
	}
	return n
}

// checkEnd checks what must be true when everything has ended.
func (w *world) checkEnd(closedEarly bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.records {
		switch {
		case !r.returned:
			w.violationLocked("the send of message %d never returned", r.serial)
		case r.err != nil && r.confirms > 0:
			w.violationLocked("message %d was refused and confirmed", r.serial)
		case r.err != nil && r.received > 0:
			w.violationLocked("message %d was refused (%v), and the hub has it", r.serial, r.err)
		case r.err == nil && r.confirmed && r.confirms != 1:
			w.violationLocked("message %d was confirmed %d times", r.serial, r.confirms)
		case r.err == nil && !r.confirmed && r.ordered && r.received == 0 && r.deadline.IsZero() && !closedEarly && !w.gaveUp:
			w.violationLocked("message %d was lost", r.serial)
		}
		if iothub.NotSent(r.result.Err) && r.received > 0 {
			w.violationLocked("message %d: NotSent is true of %v, but the hub has it", r.serial, r.result.Err)
		}
	}
}

// goroutineID returns the number of the calling goroutine.
func goroutineID() uint64 {
	var buf [64]byte
	s := buf[len("goroutine "):runtime.Stack(buf[:], false)]
	n, _ := strconv.ParseUint(string(s[:bytes.IndexByte(s, ' ')]), 10, 64)
	return n
}
