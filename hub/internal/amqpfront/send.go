package amqpfront

import (
	"context"
	"encoding/binary"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// outgoing is a message for the client.
type outgoing struct {
	// Message is what is sent. It is not looked at again once link.send asks for
	// the next one.
	Message *amqp.Message
	// Tag is the delivery tag, at most 32 bytes; nil has one made.
	Tag []byte
	// settled is called once, without a lock, when the client has said what has
	// become of the message, and gives the state that it is answered with. The zero
	// state tells that the link has ended before. It must not block. It may be nil.
	settled func(amqp.State) amqp.State

	link *link // set once it was sent
}

// transferOverhead is more than what a frame takes beside its payload.
const transferOverhead = 96

// send sends what next gives until the link ends or next fails, which detaches the
// link. See the package comment for what next has to do.
func (l *link) send(next func(context.Context) (*outgoing, error)) error {
	ctx, cancel := context.WithCancel(l.ctx)
	defer func() { cancel() }()
	for {
		if ctx.Err() != nil { // only a drain ends it before the link does
			cancel()
			ctx, cancel = context.WithCancel(l.ctx)
		}
		if err := l.turn(cancel); err != nil {
			return nil
		}
		m, err := next(ctx)
		ended := ctx.Err() != nil
		switch {
		case m != nil:
			if err := l.transmit(m); err != nil {
				return err
			}
		case l.ctx.Err() != nil:
			return nil
		case ended:
			l.drained()
		default:
			return err
		}
	}
}

// turn waits until a message could be sent. From then on a drain calls pause.
func (l *link) turn(pause context.CancelFunc) error {
	for {
		l.c.mu.Lock()
		if l.detached {
			l.c.mu.Unlock()
			return errLinkEnded
		}
		if l.credit > 0 && l.unsettled < maxUnsettled && l.roomLocked() {
			l.pause = pause
			if l.drain {
				pause()
			}
			l.c.mu.Unlock()
			return nil
		}
		if l.credit == 0 && l.drain {
			l.drainedLocked()
		}
		l.c.mu.Unlock()
		if err := l.wait(); err != nil {
			return err
		}
	}
}

func (l *link) wait() error {
	select {
	case <-l.wake:
		return nil
	case <-l.ctx.Done():
		return errLinkEnded
	}
}

// roomLocked reports whether more may wait to be written; if not, the writer wakes
// the link.
func (l *link) roomLocked() bool {
	if len(l.c.out.buf) < roomyOut {
		return true
	}
	l.c.out.waiting[l] = struct{}{}
	return false
}

// creditLocked takes in the credit that the client gives. (AMQP 2.6.7)
func (l *link) creditLocked(p *amqp.Flow) {
	l.credit, l.drain = without(p.LinkCredit.Or(0), l.count-p.DeliveryCount.Or(0)), p.Drain
	if l.drain && l.pause != nil {
		l.pause()
	}
	if l.drain && l.credit == 0 {
		l.drainedLocked()
	} else if p.Echo {
		l.sayFlowLocked(&amqp.Flow{})
	}
	l.wakeUp()
}

// drained gives the rest of the credit back.
func (l *link) drained() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.drain && !l.detached {
		l.drainedLocked()
		l.c.flushLocked()
	}
}

func (l *link) drainedLocked() {
	l.count += l.credit
	l.credit, l.drain = 0, false
	l.sayFlowLocked(&amqp.Flow{Available: amqp.Some(uint32(0)), Drain: true})
	l.c.flushLocked()
}

// transmit sends one message, in as many frames as it needs. An error is one of
// encoding it, and the node's mistake.
func (l *link) transmit(m *outgoing) error {
	var err error
	if l.buf, err = m.Message.Append(l.buf[:0]); err != nil {
		m.lost()
		return err
	}
	if !l.transmitFrames(m, l.buf) {
		m.lost()
	}
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	return nil
}

// lost tells the node of a message that was not sent to its end.
func (m *outgoing) lost() {
	if m.settled != nil {
		m.settled(amqp.State{})
	}
}

// transmitFrames reports whether the node hears of the message by other ways than
// its failure.
func (l *link) transmitFrames(m *outgoing, rest []byte) bool {
	s, c := l.s, l.c
	c.mu.Lock()
	for first := true; ; first = false {
		for !l.detached && (s.outWindow == 0 || !l.roomLocked()) {
			c.flushLocked()
			c.mu.Unlock()
			_ = l.wait() // the link is detached when its context has ended, or soon
			if l.ctx.Err() != nil {
				c.mu.Lock()
				break
			}
			c.mu.Lock()
		}
		if l.detached || l.ctx.Err() != nil {
			told := !first && !l.settled // by the end of the link
			c.mu.Unlock()
			return told
		}
		p := amqp.Transfer{Handle: l.handle}
		if first {
			l.firstLocked(&p, m)
		}
		n := min(len(rest), c.maxFrame-transferOverhead)
		p.Payload, rest = rest[:n], rest[n:]
		p.More = len(rest) > 0
		c.frameLocked(amqp.FrameAMQP, s.channel, &p)
		s.nextOut++
		s.outWindow--
		if !p.More {
			break
		}
	}
	c.flushLocked()
	c.mu.Unlock()
	if l.settled && m.settled != nil {
		m.settled(amqp.Accepted)
	}
	return true
}

// firstLocked fills in what only the first frame of a message has.
func (l *link) firstLocked(p *amqp.Transfer, m *outgoing) {
	s := l.s
	id := s.nextDelivery
	s.nextDelivery++
	l.credit -= min(l.credit, 1) // it may have been taken back since
	l.count++
	p.DeliveryID, p.MessageFormat, p.DeliveryTag = amqp.Some(id), amqp.Some(uint32(0)), m.Tag
	if m.Tag == nil {
		p.DeliveryTag = binary.BigEndian.AppendUint32(nil, id)
	}
	p.Settled = amqp.Some(l.settled)
	if !l.settled {
		m.link = l
		s.sent[id] = m
		l.unsettled++
	}
}

// outcomeLocked takes in what the client says about a message. A message that it
// settles without a state counts as accepted: it does not want it again.
func (m *outgoing) outcomeLocked(id uint32, p *amqp.Disposition) {
	state := p.State
	switch {
	case state.IsTerminal():
	case p.Settled:
		state = amqp.Accepted
	default:
		return // a state on the way
	}
	var answer func(amqp.State)
	if !p.Settled {
		l := m.link
		answer = func(state amqp.State) {
			l.c.mu.Lock()
			defer l.c.mu.Unlock()
			if l.detached {
				return
			}
			l.c.frameLocked(amqp.FrameAMQP, l.s.channel, &amqp.Disposition{
				Role: amqp.RoleSender, First: id, Settled: true, State: state,
			})
			l.c.flushLocked()
		}
	}
	m.endLocked(id, state, answer)
}

// endLocked has the node told, once mu is free, and the client answered.
func (m *outgoing) endLocked(id uint32, state amqp.State, answer func(amqp.State)) {
	l := m.link
	delete(l.s.sent, id)
	l.unsettled--
	l.wakeUp()
	if m.settled == nil && answer == nil {
		return
	}
	l.c.calls = append(l.c.calls, func() {
		if m.settled != nil {
			state = m.settled(state)
		}
		if answer != nil {
			answer(state)
		}
	})
}
