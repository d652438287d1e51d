package engine

import (
	"time"

	"github.com/iothub-go/iothub"
)

// The receiving half of a session: each call asks the protocol, and connects
// if nothing else has yet.

// Subscribe asks for features, on this link and every later one.
func (s *Session) Subscribe(now time.Time, f Feature) {
	s.proto.Subscribe(now, f)
	s.Start(now)
}

// Unsubscribe gives features up.
func (s *Session) Unsubscribe(f Feature) { s.proto.Unsubscribe(f) }

// Request sends a report, or with a nil report asks for the twin; see
// MQTT.Request.
func (s *Session) Request(now time.Time, report []byte, timeout time.Duration, direct bool, done func(Response)) *Request {
	r := s.proto.Request(now, report, timeout, direct, done)
	if s.phase == phaseClosed {
		s.proto.failRequests(iothub.ErrClosed)
		return r
	}
	s.Start(now)
	return r
}

// Cancel forgets r: its done does not run, unless it already waits in Events.
func (s *Session) Cancel(r *Request) { s.proto.Cancel(r) }

// Follow starts delivering changes of desired properties; see MQTT.Follow.
func (s *Session) Follow(now time.Time, state TwinState) {
	if s.phase == phaseClosed {
		return
	}
	s.proto.Follow(now, state)
	s.Start(now)
}

// Unfollow stops delivering changes of desired properties.
func (s *Session) Unfollow() { s.proto.Unfollow() }

// Settle settles a received message; the error is iothub.ErrLockLost or
// iothub.ErrClosed.
func (s *Session) Settle(d Delivery, by iothub.Disposition) error {
	if s.phase == phaseClosed {
		return iothub.ErrClosed
	}
	return s.proto.Settle(d, by)
}

// Respond answers a method call; errors as for Settle.
func (s *Session) Respond(c Call, status int, payload []byte) error {
	if s.phase == phaseClosed {
		return iothub.ErrClosed
	}
	return s.proto.Respond(c, status, payload)
}
