package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
)

// stableLink is how long a connection must hold for the retry policy to start
// over, so that a hub that accepts and drops is not hammered.
const stableLink = time.Minute

// drainTimeout bounds the wait for acknowledgements before a link is replaced
// because its token runs out.
const drainTimeout = 5 * time.Second

// phase is where a session stands between links.
type phase uint8

const (
	phaseIdle       phase = iota // nothing was ever asked of it
	phaseWaiting                 // retryAt is when to dial
	phaseDialing                 // EventDial was given
	phaseConnecting              // a link is up, CONNECT sent
	phaseConnected               // CONNACK accepted
	phaseRenewing                // draining before the link is replaced
	phaseStopped                 // gave up; the next message starts anew
	phaseClosed                  // final
)

// SessionConfig configures a session.
type SessionConfig struct {
	MQTT  MQTTConfig
	Retry iothub.RetryPolicy
	// Random returns a uniform number in [0, 1) for the back-off's jitter.
	Random func() float64
}

// Session is the life of one client: it decides when to dial, survives links,
// keeps the messages and reports what changes. Its driver feeds it bytes and
// time, and does what its events say.
type Session struct {
	cfg   SessionConfig
	proto *MQTT
	phase phase

	attempts   int       // since the last stable link
	firstRetry time.Time // of this outage
	retryAt    time.Time
	upSince    time.Time // CONNACK of the present link
	renewAt    time.Time // when the token must be replaced; zero when never
	drainUntil time.Time // phaseRenewing
	auth       Auth

	outage Outage    // zero while connected
	kicked duplicate // signs of another client with the same identity

	connects, connectFails uint64
}

// NewSession returns an idle session. Deadlines of entries count from epoch.
func NewSession(cfg SessionConfig, epoch time.Time) *Session {
	return &Session{cfg: cfg, proto: NewMQTT(cfg.MQTT, epoch)}
}

// Start asks for the first connection. It does nothing when one is already
// there or under way.
func (s *Session) Start(now time.Time) {
	if s.phase == phaseIdle || s.phase == phaseStopped {
		s.attempts = 0
		s.dial()
	}
}

func (s *Session) dial() {
	s.phase = phaseDialing
	s.emit(Event{Kind: EventDial})
}

// Submit queues messages and connects if nothing else has yet.
func (s *Session) Submit(now time.Time, es []Entry) {
	if len(es) == 0 {
		return
	}
	s.proto.Submit(es)
	if s.phase == phaseClosed {
		s.proto.FailAll(iothub.ConfirmBecauseDestroy, iothub.ErrClosed)
		return
	}
	s.Start(now)
}

// LinkUp tells that the dial succeeded and what to present.
func (s *Session) LinkUp(now time.Time, auth Auth) {
	if s.phase != phaseDialing {
		s.emit(Event{Kind: EventHangUp})
		return
	}
	s.phase = phaseConnecting
	if err := s.proto.Open(now, auth); err != nil {
		s.fail(now, &linkError{reason: iothub.ReasonBadCredential,
			err: &iothub.Error{Op: "connect", Kind: iothub.KindInvalidArgument, Err: err}})
		return
	}
	s.auth = auth
	s.renewAt = never
	if auth.Renewable && !auth.Token.Expires.IsZero() {
		// Replace it at 85 % of its life: late enough to be rare, early
		// enough that a slow network or a skewed clock does not matter.
		s.renewAt = now.Add(auth.Token.Expires.Sub(now) * 85 / 100)
	}
}

// DialFailed tells that the dial that EventDial asked for ended with err.
func (s *Session) DialFailed(now time.Time, err error) {
	if s.phase == phaseDialing {
		s.lost(now, err)
	}
}

// LinkDown tells that the link broke with err. It does nothing when the
// session has given the link up by itself.
func (s *Session) LinkDown(now time.Time, err error) {
	switch s.phase {
	case phaseRenewing:
		s.redial(now)
	case phaseConnecting, phaseConnected:
		s.lost(now, err)
	}
}

func (s *Session) lost(now time.Time, err error) {
	reason := iothub.ReasonNoNetwork
	ie, ok := errors.AsType[*iothub.Error](err)
	switch {
	case !ok:
		ie = &iothub.Error{Op: "connect", Kind: iothub.KindNetwork, Retryable: true, Err: err}
		if s.phase == phaseConnected {
			ie.Op = "receive"
		}
	case ie.Kind == iothub.KindUnauthorized || ie.Kind == iothub.KindTokenExpired:
		reason = iothub.ReasonBadCredential
	}
	s.fail(now, &linkError{reason: reason, err: ie})
}

// Feed takes bytes that arrived on the link.
func (s *Session) Feed(now time.Time, p []byte) {
	if le := s.proto.Feed(now, p); le != nil {
		s.fail(now, le)
		return
	}
	if s.phase == phaseConnecting && s.proto.Connected() {
		s.phase = phaseConnected
		s.upSince = now
		s.outage = Outage{}
		s.connects++
		s.emit(Event{Kind: EventStatus, Status: &iothub.ConnectionEvent{
			Status: iothub.Authenticated, Reason: iothub.ReasonOK}})
	}
	s.step(now)
}

// Pending appends to dst what is to be written now; see MQTT.Pending.
func (s *Session) Pending(now time.Time, dst [][]byte) [][]byte { return s.proto.Pending(now, dst) }

// Wrote takes back n bytes of what Pending gave.
func (s *Session) Wrote(now time.Time, n int) {
	s.proto.Wrote(now, n)
	s.step(now)
}

// Writable reports whether Pending has something to give.
func (s *Session) Writable() bool { return s.proto.Writable() }

// Deadline returns when Tick has something to do, the zero time when only
// bytes or messages can make it so.
func (s *Session) Deadline() time.Time {
	d := s.proto.Deadline()
	switch s.phase {
	case phaseWaiting:
		d = earliest(d, s.retryAt)
	case phaseConnected:
		d = earliest(d, s.renewAt)
	case phaseRenewing:
		d = earliest(d, s.drainUntil)
	}
	return d
}

// Tick does what time calls for.
func (s *Session) Tick(now time.Time) {
	if s.phase == phaseClosed {
		return // only the goodbye is left, which its driver bounds
	}
	if le := s.proto.Tick(now); le != nil {
		s.fail(now, le)
	}
	s.step(now)
}

// step makes the moves that depend on time or on what is still in flight.
func (s *Session) step(now time.Time) {
	switch s.phase {
	case phaseWaiting:
		if !now.Before(s.retryAt) {
			s.dial()
		}
	case phaseConnected:
		if !s.renewAt.IsZero() && !now.Before(s.renewAt) {
			s.phase = phaseRenewing
			s.drainUntil = now.Add(drainTimeout)
			s.proto.Pause()
			s.step(now)
		}
	case phaseRenewing:
		// All that was sent is acknowledged first, so that renewal
		// repeats nothing.
		if s.proto.Drained() || !now.Before(s.drainUntil) {
			s.emit(Event{Kind: EventStatus, Status: &iothub.ConnectionEvent{
				Status: iothub.Unauthenticated, Reason: iothub.ReasonExpiredSASToken}})
			s.redial(now)
		}
	}
}

// redial replaces a link whose token was running out.
func (s *Session) redial(now time.Time) {
	s.startOver(now)
	s.proto.Drop()
	s.emit(Event{Kind: EventHangUp})
	s.dial()
}

// fail gives the link up, or the attempt to get one, and plans the next.
func (s *Session) fail(now time.Time, le *linkError) {
	if s.phase == phaseClosed {
		s.proto.Drop()
		s.emit(Event{Kind: EventHangUp})
		return
	}
	wasConnected := s.phase == phaseConnected || s.phase == phaseRenewing
	hasLink := s.phase != phaseDialing
	if !wasConnected {
		s.connectFails++
	}
	if s.phase == phaseConnecting && le.err.Kind == iothub.KindUnauthorized {
		s.explainRefusal(now, le)
	}
	s.suspect(now, le, wasConnected)
	if s.outage.Cause = le.err; s.outage.Since.IsZero() {
		s.outage.Since = now
	}
	s.proto.Drop()
	if hasLink {
		s.emit(Event{Kind: EventHangUp})
	}
	if wasConnected {
		s.startOver(now)
	}
	ev := &iothub.ConnectionEvent{Status: iothub.Unauthenticated, Reason: le.reason, Err: le.err}
	ev.RetryIn = s.planRetry(now, le)
	s.emit(Event{Kind: EventStatus, Status: ev})
	if ev.RetryIn < 0 {
		s.stop(now, le)
	}
}

// startOver makes the next outage a new one if the link, which was connected,
// has held.
func (s *Session) startOver(now time.Time) {
	if now.Sub(s.upSince) >= stableLink {
		s.attempts = 0
	}
}

// explainRefusal adds what this side knows of why a credential was refused.
func (s *Session) explainRefusal(now time.Time, le *linkError) {
	t := s.auth.Token
	if t.Value == "" || t.Expires.IsZero() || now.Before(t.Expires) {
		return
	}
	le.reason = iothub.ReasonExpiredSASToken
	le.err.Kind = iothub.KindTokenExpired
	le.err.Err = fmt.Errorf("the token expired %v ago", now.Sub(t.Expires).Round(time.Second))
}

// planRetry returns the wait before the next attempt, negative for never.
func (s *Session) planRetry(now time.Time, le *linkError) time.Duration {
	if s.attempts == 0 {
		s.firstRetry = now
	}
	p := &s.cfg.Retry
	if le.fatal || p.Strategy == iothub.RetryNone ||
		(p.Limit > 0 && s.attempts > 0 && now.Sub(s.firstRetry) >= p.Limit) {
		return -1
	}
	wait := time.Duration(0) // the first attempt after a stable link is immediate
	if s.attempts > 0 {
		wait = p.Delay(s.attempts, s.cfg.Random())
	}
	wait = max(wait, le.err.RetryAfter)
	s.attempts++
	s.phase = phaseWaiting
	s.retryAt = now.Add(wait)
	return wait
}

// stop gives up: what waits is told, and the next message tries anew.
func (s *Session) stop(now time.Time, le *linkError) {
	s.phase = phaseStopped
	s.emit(Event{Kind: EventStatus, Status: &iothub.ConnectionEvent{
		Status: iothub.Unauthenticated, Reason: iothub.ReasonRetryExpired, Err: le.err, RetryIn: -1}})
	s.proto.FailAll(iothub.ConfirmError, le.err)
	s.proto.failRequests(le.err)
}

// Close ends the session: everything that is left confirms
// ConfirmBecauseDestroy, and a connected link gets a DISCONNECT to write
// before it is hung up, which is the driver's to do.
func (s *Session) Close(now time.Time) {
	if s.phase == phaseClosed {
		return
	}
	s.phase = phaseClosed
	s.proto.FailAll(iothub.ConfirmBecauseDestroy, iothub.ErrClosed)
	s.proto.Unfollow()
	s.proto.failRequests(iothub.ErrClosed)
	s.proto.Disconnect()
}

// Idle reports whether no message is waiting or in flight.
func (s *Session) Idle() bool { return s.proto.Idle() }

// Events returns what has happened since the last call. spare, an emptied
// earlier result, is used to collect into.
func (s *Session) Events(spare []Event) []Event {
	events := s.proto.events
	s.proto.events = spare[:0]
	return events
}

// Trim lets go of memory for more than keep events if there are none.
func (s *Session) Trim(keep int) {
	if len(s.proto.events) == 0 && cap(s.proto.events) > keep {
		s.proto.events = nil
	}
}

// HasEvents reports whether Events has something to give.
func (s *Session) HasEvents() bool { return len(s.proto.events) > 0 }

func (s *Session) emit(e Event) { s.proto.events = append(s.proto.events, e) }

// Stats returns the session's share of the client's counters.
func (s *Session) Stats() iothub.Stats {
	st := iothub.Stats{
		Queued: s.proto.live - s.proto.inFlight, InFlight: s.proto.inFlight,
		Confirmed: s.proto.confirmed, Failed: s.proto.failed, Resent: s.proto.resent,
		Connects: s.connects, ConnectFails: s.connectFails,
	}
	if s.connects > 1 {
		st.Reconnects = s.connects - 1
	}
	return st
}
