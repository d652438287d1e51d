package engine

import (
	"time"

	"github.com/iothub-go/iothub"
)

// What may change while a session lives. Messages, subscriptions and requests
// stay as they are.

// Reconfigure replaces what the next connection says and how it is retried. A
// session that had given up connects again when the retry policy has changed.
func (s *Session) Reconfigure(now time.Time, cfg SessionConfig) {
	if s.phase == phaseClosed {
		return
	}
	changed := cfg.Retry != s.cfg.Retry
	s.cfg = cfg
	s.proto.cfg = cfg.MQTT
	if changed && s.phase == phaseStopped {
		s.Start(now)
	}
}

// Readdress makes the messages that wait those of another identity, while there is no
// link. It returns by how many bytes they have grown.
func (s *Session) Readdress(to, from Encoder) (grown int) {
	r := &s.proto.ring
	for pos := r.head; pos != r.tail; pos++ {
		if e := r.at(pos); e.state < entryDone {
			grown += e.readdress(to, from)
		}
	}
	return grown
}

// Outage is what the session knows of the time without a connection.
type Outage struct {
	// Cause is why there is none: what the last attempt, or the last link, ended with.
	// Nil while there was none yet, and when a link is replaced for its token.
	Cause error
	// Since is when the first of them ended.
	Since time.Time
	// Connects counts the connections that the hub has accepted so far.
	Connects uint64
}

// Outage returns it as of now.
func (s *Session) Outage() Outage {
	o := s.outage
	o.Connects = s.connects
	return o
}

// Reconnect replaces the link once everything in flight was acknowledged, as
// the renewal of a token does; without a link it connects at once.
func (s *Session) Reconnect(now time.Time) {
	switch s.phase {
	case phaseIdle, phaseStopped:
		s.Start(now)
	case phaseWaiting:
		s.dial()
	case phaseConnecting, phaseConnected:
		s.renewAt = now // when connecting: as soon as it is connected
		s.step(now)
	}
}

// RetryPolicy returns how the session connects again.
func (s *Session) RetryPolicy() iothub.RetryPolicy { return s.cfg.Retry }
