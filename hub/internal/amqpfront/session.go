package amqpfront

import (
	"fmt"
	"slices"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// session is one session. It has the same number in both directions, as its links
// have the same handle. conn.mu guards it.
type session struct {
	c       *conn
	channel uint16
	ended   bool // End was sent: what still comes is ignored, up to the peer's

	nextIn    uint32 // transfer id expected next
	inWindow  uint32 // transfers that the peer may still send
	nextOut   uint32 // transfer id sent next
	outWindow uint32 // transfers that the peer still takes

	nextDelivery uint32
	links        map[uint32]*link
	sent         map[uint32]*outgoing // not settled, by delivery id
	received     map[uint32]*delivery // the same of what was received
}

// performativeLocked handles every performative but Open, Attach and Close.
func (c *conn) performativeLocked(code amqp.Code, channel uint16, body []byte) error {
	if code == amqp.CodeBegin {
		return c.beginLocked(channel, slices.Clone(body))
	}
	s := c.sessions[channel]
	if s == nil {
		return &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: fmt.Sprintf("a frame on channel %d, on which no session is", channel)}
	}
	if code == amqp.CodeEnd {
		s.dropLocked()
		if !s.ended {
			c.frameLocked(amqp.FrameAMQP, channel, &amqp.End{})
		}
		delete(c.sessions, channel)
		return nil
	}
	if s.ended {
		return nil
	}
	switch code {
	case amqp.CodeFlow:
		var p amqp.Flow
		if err := p.Decode(body); err != nil {
			return err
		}
		s.flowLocked(&p)
	case amqp.CodeTransfer:
		var p amqp.Transfer
		if err := p.Decode(body); err != nil {
			return err
		}
		return s.transferLocked(&p)
	case amqp.CodeDisposition:
		var p amqp.Disposition
		if err := p.Decode(slices.Clone(body)); err != nil {
			return err
		}
		s.dispositionLocked(&p)
	case amqp.CodeDetach:
		var p amqp.Detach
		if err := p.Decode(slices.Clone(body)); err != nil {
			return err
		}
		s.detachLocked(&p)
	default:
		return &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: fmt.Sprintf("the performative %#02x has no place here", byte(code))}
	}
	return nil
}

// beginLocked begins a session. (AMQP 2.5.1)
func (c *conn) beginLocked(channel uint16, body []byte) error {
	var p amqp.Begin
	if err := p.Decode(body); err != nil {
		return err
	}
	limit := channelMax + 1
	if !c.proved {
		limit = unprovedSessions
	}
	switch {
	case channel > channelMax:
		return &amqp.Error{Condition: amqp.ErrCondFraming, Description: fmt.Sprintf("channel %d is above channel-max, which is %d", channel, channelMax)}
	case c.sessions[channel] != nil || p.RemoteChannel.OK:
		return &amqp.Error{Condition: amqp.ErrCondNotAllowed, Description: fmt.Sprintf("channel %d has a session already", channel)}
	case len(c.sessions) >= limit:
		return &amqp.Error{Condition: amqp.ErrCondResourceLimit, Description: fmt.Sprintf("more than %d sessions", limit)}
	}
	s := &session{
		c: c, channel: channel, nextIn: p.NextOutgoingID, inWindow: sessionWindow, outWindow: p.IncomingWindow,
		links: make(map[uint32]*link), sent: make(map[uint32]*outgoing), received: make(map[uint32]*delivery),
	}
	c.sessions[channel] = s
	c.frameLocked(amqp.FrameAMQP, channel, &amqp.Begin{
		RemoteChannel: amqp.Some(channel), IncomingWindow: sessionWindow, OutgoingWindow: sessionWindow, HandleMax: handleMax,
	})
	return nil
}

// failLocked ends a session because of what its peer did. (AMQP 2.5.6)
func (s *session) failLocked(condition amqp.Symbol, format string, args ...any) {
	s.dropLocked()
	s.ended = true
	s.c.frameLocked(amqp.FrameAMQP, s.channel, &amqp.End{Error: &amqp.Error{
		Condition: condition, Description: fmt.Sprintf(format, args...)}})
}

// dropLocked ends all links of a session.
func (s *session) dropLocked() {
	for _, l := range s.links {
		l.endLocked()
	}
	clear(s.links)
}

// flowLocked takes in windows and credit. (AMQP 2.5.6, 2.6.7)
func (s *session) flowLocked(p *amqp.Flow) {
	s.outWindow = without(p.IncomingWindow, s.nextOut-p.NextIncomingID.Or(0))
	for _, l := range s.links {
		l.wakeUp()
	}
	if !p.Handle.OK {
		if p.Echo {
			s.sayFlowLocked(&amqp.Flow{})
		}
		return
	}
	l := s.links[p.Handle.V]
	switch {
	case l == nil:
		s.failLocked(amqp.ErrCondUnattachedHandle, "flow on handle %d, to which nothing is attached", p.Handle.V)
	case l.detached:
	case l.sends:
		l.creditLocked(p)
	case p.Echo:
		l.sayFlowLocked(&amqp.Flow{})
	}
}

// without is what is left of a window or credit that a client gave when it had not
// seen yet what is in flight. Clients may give all that a number can hold.
func without(given, inFlight uint32) uint32 {
	if int32(inFlight) < 0 {
		inFlight = 0 // it claims to have seen what was not sent
	}
	return given - min(given, inFlight)
}

// sayFlowLocked sends a flow with the state of the session filled in.
func (s *session) sayFlowLocked(p *amqp.Flow) {
	p.NextIncomingID, p.IncomingWindow = amqp.Some(s.nextIn), s.inWindow
	p.NextOutgoingID, p.OutgoingWindow = s.nextOut, sessionWindow
	s.c.frameLocked(amqp.FrameAMQP, s.channel, p)
}

// transferLocked takes in a message or a part of one.
func (s *session) transferLocked(p *amqp.Transfer) error {
	if s.inWindow == 0 {
		s.failLocked(amqp.ErrCondWindowViolation, "more transfers than the window of the session has")
		return nil
	}
	s.inWindow--
	s.nextIn++
	if s.inWindow < sessionWindow/2 {
		s.inWindow = sessionWindow
		s.sayFlowLocked(&amqp.Flow{})
	}
	l := s.links[p.Handle]
	switch {
	case l == nil:
		s.failLocked(amqp.ErrCondUnattachedHandle, "transfer on handle %d, to which nothing is attached", p.Handle)
	case l.detached:
	case l.sends:
		s.failLocked(amqp.ErrCondNotAllowed, "transfer on link %q, on which the hub sends", l.name)
	default:
		return l.transferLocked(p)
	}
	return nil
}

// dispositionLocked takes in what the peer says about deliveries. (AMQP 2.6.12)
func (s *session) dispositionLocked(p *amqp.Disposition) {
	last := p.Last.Or(p.First)
	if p.Role == amqp.RoleReceiver {
		eachInRange(s.sent, p.First, last, func(id uint32, m *outgoing) { m.outcomeLocked(id, p) })
		return
	}
	if p.Settled {
		eachInRange(s.received, p.First, last, func(_ uint32, d *delivery) { d.forgetLocked() })
	}
}

// eachInRange visits what a map has of the ids from first to last, in order,
// however many the peer claims. An inverted range is empty.
func eachInRange[T any](m map[uint32]T, first, last uint32, visit func(uint32, T)) {
	if int32(last-first) < 0 {
		return
	}
	if last-first < uint32(len(m)) {
		for id := first; ; id++ {
			if v, ok := m[id]; ok {
				visit(id, v)
			}
			if id == last {
				return
			}
		}
	}
	var ids []uint32
	for id := range m {
		if id-first <= last-first {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return int(int32(a - b)) })
	for _, id := range ids {
		visit(id, m[id])
	}
}

// detachLocked answers Detach. (AMQP 2.6.6)
func (s *session) detachLocked(p *amqp.Detach) {
	l := s.links[p.Handle]
	if l == nil {
		s.failLocked(amqp.ErrCondUnattachedHandle, "detach of handle %d, to which nothing is attached", p.Handle)
		return
	}
	delete(s.links, p.Handle)
	if l.detached {
		return // it is the answer to ours
	}
	l.endLocked()
	s.c.frameLocked(amqp.FrameAMQP, s.channel, &amqp.Detach{Handle: p.Handle, Closed: p.Closed})
}
