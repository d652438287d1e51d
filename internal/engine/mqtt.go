package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// What the MQTT engine waits for, and for how long.
const (
	connackTimeout = 30 * time.Second
	// ackTimeout is how long a live hub may withhold every acknowledgement
	// (it does when it throttles) before the connection is given up and
	// all is sent again on a new one. MQTT 3.1.1 allows no repetition on a
	// live connection [MQTT-4.4.0-1].
	ackTimeout = 120 * time.Second
	// stallProbe is how long nothing at all may arrive while messages are
	// in flight before a PINGREQ asks whether the peer is still there, and
	// then how long it may take to answer.
	stallProbe = 10 * time.Second
	// slowLink is the rate, in bytes a second, of the slowest link that
	// counts as alive: the peer may be silent for as long as the oldest
	// message in flight takes at it. Otherwise a large message on a slow
	// link would be cut off and sent again for ever.
	slowLink = 2 << 10
	// maxInbound bounds a packet from the hub: 256 KiB of message and a
	// full topic.
	maxInbound = 256<<10 + 64<<10 + 16
)

// MQTTConfig is what the MQTT engine says and how much it keeps in flight.
type MQTTConfig struct {
	Identity  iothub.Identity
	ClientID  string
	Username  string
	KeepAlive time.Duration // 0 turns it off
	// Window bounds what is in flight: messages (at most 65535) and bytes.
	Window      int
	WindowBytes int
}

// errProtocol is the cause of every error about what the hub sent.
var errProtocol = errors.New("the hub broke the MQTT protocol")

// linkError is why a link has to be given up, with the status reason for it.
type linkError struct {
	reason iothub.StatusReason
	err    *iothub.Error
	fatal  bool // trying again cannot help
}

// mqttLink is what the engine knows of the one link it speaks on.
type mqttLink struct {
	open      bool // CONNECT was queued
	connected bool // CONNACK accepted
	closing   bool // DISCONNECT was queued: nothing more is written
	paused    bool // publish nothing: the link is about to be replaced

	in  []byte // the beginning of a packet whose rest has not arrived
	ctl []byte // control packets, which go between publishes
	out [][]byte

	started   time.Time // CONNECT queued
	lastWrite time.Time
	lastRead  time.Time
	progress  time.Time // last acknowledgement, or the first publish after none was in flight
	pinged    time.Time // PINGREQ not yet answered; zero when none

	inbound mqttInbound
}

// MQTT is the MQTT 3.1.1 device engine: one link at a time, and the messages,
// which outlive links.
type MQTT struct {
	cfg   MQTTConfig
	epoch time.Time
	link  mqttLink

	linkNumber  uint64 // of link, from 1
	lastNow     time.Time
	wanted      Feature // subscribed on every link
	requests    []*Request
	lastRequest uint64
	follow      follower

	ring     ring
	lastID   uint16 // the id given last
	inFlight int    // sent on this link, neither acknowledged nor done
	flBytes  int    // their bytes
	live     int    // entries of the ring that are not done

	resent, confirmed, failed uint64

	nextExpiry time.Duration // nothing expires before; 0 when nothing will
	events     []Event
}

// NewMQTT returns an engine without a link. Deadlines of entries count from
// epoch.
func NewMQTT(cfg MQTTConfig, epoch time.Time) *MQTT {
	return &MQTT{cfg: cfg, epoch: epoch}
}

// Submit queues entries behind all earlier ones.
func (m *MQTT) Submit(es []Entry) {
	m.ring.push(es)
	m.live += len(es)
	for i := range es {
		m.due(es[i].deadline)
	}
}

// Open begins a session on a new link: CONNECT is the next thing to write.
func (m *MQTT) Open(now time.Time, auth Auth) error {
	ctl, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: m.cfg.ClientID, Username: m.cfg.Username, HasUsername: true,
		Password: []byte(auth.Token.Value), HasPassword: auth.Token.Value != "",
		// All official SDKs keep the session, so that subscriptions and
		// undelivered messages survive a reconnect (IoT Hub MQTT guide).
		CleanSession: false,
		KeepAlive:    keepAliveSeconds(m.cfg.KeepAlive),
	})
	if err != nil {
		return err
	}
	m.linkNumber++
	m.lastNow = now
	m.link = mqttLink{open: true, ctl: ctl, started: now, lastWrite: now, lastRead: now}
	return nil
}

func keepAliveSeconds(d time.Duration) uint16 {
	return uint16(min(max((d+time.Second-1)/time.Second, 0), 65535))
}

// Drop forgets the link. What was in flight is the first to be sent on the
// next one, with the DUP flag and its old id.
func (m *MQTT) Drop() {
	m.link = mqttLink{}
	m.ring.rewind()
	m.inFlight, m.flBytes = 0, 0
	for _, r := range m.requests {
		r.sent = false
	}
}

// Connected reports whether the hub has accepted the connection.
func (m *MQTT) Connected() bool { return m.link.connected }

// Feed takes bytes that arrived. An error means that the link must be given
// up.
func (m *MQTT) Feed(now time.Time, p []byte) *linkError {
	if !m.link.open {
		return nil // the tail of a link that was already given up
	}
	m.lastNow = now
	m.link.lastRead = now
	m.link.pinged = time.Time{}
	held := len(m.link.in) > 0
	if held {
		m.link.in = append(m.link.in, p...)
		p = m.link.in
	}
	for len(p) > 0 {
		n, err := mqtt.Frame(p, maxInbound)
		if err != nil {
			return protocolError(err)
		}
		if n == 0 {
			break
		}
		if le := m.packet(now, p[:n]); le != nil {
			return le
		}
		p = p[n:]
	}
	switch {
	case len(p) == 0:
		m.link.in = nil
	case !held || len(p) < len(m.link.in): // otherwise it only got longer
		m.link.in = append(m.link.in[:0], p...)
	}
	return nil
}

func protocolError(err error) *linkError {
	return &linkError{reason: iothub.ReasonCommunicationError,
		err: &iothub.Error{Op: "receive", Kind: iothub.KindProtocol, Retryable: true, Err: fmt.Errorf("%w: %w", errProtocol, err)}}
}

func (m *MQTT) packet(now time.Time, frame []byte) *linkError {
	switch t := mqtt.PacketType(frame); {
	case t == mqtt.TypeConnack && !m.link.connected:
		return m.connack(now, frame)
	case !m.link.connected:
		return protocolError(fmt.Errorf("%v before CONNACK", t)) // [MQTT-3.2.0-1]
	case t == mqtt.TypePuback:
		id, err := mqtt.DecodeAck(frame)
		if err != nil {
			return protocolError(err)
		}
		m.puback(now, id)
	case t == mqtt.TypePingresp:
	case t == mqtt.TypePublish:
		return m.publish(frame)
	case t == mqtt.TypeSuback:
		return m.suback(now, frame)
	case t == mqtt.TypeUnsuback:
	default:
		return protocolError(fmt.Errorf("unexpected %v", t))
	}
	return nil
}

func (m *MQTT) connack(now time.Time, frame []byte) *linkError {
	_, code, err := mqtt.DecodeConnack(frame)
	if err != nil {
		return protocolError(err)
	}
	if code != 0 {
		return refused(code)
	}
	m.link.connected = true
	m.link.progress = now
	m.ask(now, m.wanted)
	if m.follow.on {
		m.readTwin(now) // it may have changed while nobody was told
	}
	return nil
}

// refused turns a CONNACK return code into what a user can act on. IoT Hub
// answers 5 for every credential problem (MQTT 3.1.1 table 3.1).
func refused(code byte) *linkError {
	le := &linkError{reason: iothub.ReasonBadCredential,
		err: &iothub.Error{Op: "connect", Kind: iothub.KindUnauthorized, Code: int(code), Retryable: true}}
	switch code {
	case 1:
		le.reason, le.fatal = iothub.ReasonCommunicationError, true
		le.err.Kind, le.err.Retryable = iothub.KindProtocol, false
		le.err.Err = errors.New("the hub does not speak MQTT 3.1.1 here: is this an IoT Hub host?")
	case 2:
		le.err.Err = errors.New("the hub refused the client id: check DeviceId and ModuleId")
	case 3:
		le.reason = iothub.ReasonDeviceDisabled
		le.err.Kind = iothub.KindUnavailable
		le.err.Err = errors.New("the hub is unavailable or the device is disabled")
	case 4, 5:
		le.err.Err = errors.New("the hub refused the credential: check the key, that the device exists and is enabled, the host name, and this machine's clock")
	default:
		le.err.Err = fmt.Errorf("the hub refused the connection with return code %d", code)
	}
	return le
}

func (m *MQTT) puback(now time.Time, id uint16) {
	pos, ok := m.ring.find(id)
	if !ok {
		return // nothing on this link waits for it
	}
	m.link.progress = now
	e := m.ring.at(pos)
	if e.state == entrySent {
		m.done(e, pos, iothub.Confirmation{})
	}
	e.state = entryGone
	m.reap()
	if m.link.inbound.unasked != 0 {
		m.ask(now, 0)
	}
}

// reap lets go of what has no further meaning at the head.
func (m *MQTT) reap() {
	for m.ring.head != m.ring.tail && m.ring.at(m.ring.head).state == entryGone {
		m.ring.pop()
	}
	m.ring.shrink()
}

// done confirms the entry e at pos. If it was sent on this link, its slot and
// with it its id stay taken until it is acknowledged or the link is gone, so
// that a late acknowledgement is never taken for another message's.
func (m *MQTT) done(e *Entry, pos uint64, c iothub.Confirmation) {
	state := entryGone
	if pos < m.ring.next {
		state = entryDone
		m.inFlight--
		m.flBytes -= int(e.n)
	}
	if c.Err != nil && e.state == entryWaiting {
		c.Err = iothub.MarkNotSent(c.Err)
	}
	if c.Result == iothub.ConfirmOK {
		m.confirmed++
	} else {
		m.failed++
	}
	m.events = append(m.events, Event{Kind: EventConfirm, Direct: e.direct, Size: e.n, Confirm: e.confirm, Confirmation: c})
	e.state, e.confirm, e.chunk = state, nil, nil
	m.live--
}

// FailAll confirms everything that is left with result r.
func (m *MQTT) FailAll(r iothub.ConfirmationResult, err error) {
	for pos := m.ring.head; pos != m.ring.tail; pos++ {
		if e := m.ring.at(pos); e.state < entryDone {
			m.done(e, pos, iothub.Confirmation{Result: r, Err: err})
		}
	}
	m.ring.compact(m.ring.next)
}

// Pending appends to dst all there is to write now, in order; the pieces stay
// valid and unchanged until Wrote has taken them back.
func (m *MQTT) Pending(now time.Time, dst [][]byte) [][]byte {
	if m.link.connected && !m.link.paused && !m.link.closing {
		m.handOut(now)
	}
	if len(m.link.ctl) > 0 {
		m.queue(m.link.ctl)
		m.link.ctl = nil
	}
	return append(dst, m.link.out...)
}

// handOut moves waiting entries into the write queue as far as the window
// lets it.
func (m *MQTT) handOut(now time.Time) {
	for m.ring.next != m.ring.tail {
		e := m.ring.at(m.ring.next)
		if !m.room(int(e.n)) || (e.id == 0 && !m.assignID(e)) {
			return
		}
		m.write(now, e)
		m.ring.next++
	}
}

// room reports whether the window takes n more bytes. One message always
// fits, however large.
func (m *MQTT) room(n int) bool {
	return m.inFlight == 0 || (m.inFlight < m.cfg.Window && m.flBytes+n <= m.cfg.WindowBytes)
}

// unacknowledged reports whether this link owes an acknowledgement.
func (m *MQTT) unacknowledged() bool { return m.ring.head != m.ring.next }

func (m *MQTT) write(now time.Time, e *Entry) {
	p := e.packet()
	if e.state == entrySent {
		mqtt.SetPublishDup(p) // [MQTT-3.3.1-1]
		m.resent++
	} else {
		mqtt.SetPublishID(p, e.id)
	}
	e.state = entrySent
	if !m.unacknowledged() {
		m.link.progress = now
	}
	m.inFlight++
	m.flBytes += int(e.n)
	m.queue(p)
}

// assignID gives e the next packet id unless the oldest in use has it
// [MQTT-2.3.1-2, MQTT-2.3.1-4].
func (m *MQTT) assignID(e *Entry) (ok bool) {
	e.id, ok = m.takeID()
	return ok
}

// queue appends p to what is to be written, in one piece with what is before
// it in memory where possible.
func (m *MQTT) queue(p []byte) {
	if n := len(m.link.out); n > 0 {
		last := m.link.out[n-1]
		// Adjacent in the same chunk: cap tells, since every packet is a
		// slice of its whole chunk.
		if cap(last) > len(last) && len(p) > 0 && &last[:len(last)+1][len(last)] == &p[0] {
			m.link.out[n-1] = last[:len(last)+len(p)]
			return
		}
	}
	m.link.out = append(m.link.out, p)
}

// Wrote takes back what Pending gave, n bytes of it.
func (m *MQTT) Wrote(now time.Time, n int) {
	if n > 0 {
		m.link.lastWrite = now
	}
	i := 0
	for n > 0 && i < len(m.link.out) {
		if n < len(m.link.out[i]) {
			m.link.out[i] = m.link.out[i][n:]
			break
		}
		n -= len(m.link.out[i])
		m.link.out[i] = nil
		i++
	}
	m.link.out = slices.Delete(m.link.out, 0, i)
}

// Idle reports whether no message is waiting or in flight.
func (m *MQTT) Idle() bool { return m.live == 0 }

// Pause keeps messages back on this link: it is about to be replaced.
func (m *MQTT) Pause() { m.link.paused = true }

// Disconnect queues DISCONNECT as the last packet of the link.
func (m *MQTT) Disconnect() {
	if m.link.connected && !m.link.closing {
		m.link.ctl = mqtt.AppendEmpty(m.link.ctl, mqtt.TypeDisconnect)
	}
	m.link.closing = true
}

// Drained reports whether nothing is in flight, in either direction, and
// nothing left to write.
func (m *MQTT) Drained() bool {
	return m.inFlight == 0 && len(m.link.out) == 0 && len(m.link.ctl) == 0 &&
		len(m.link.inbound.unsettled) == 0 && m.link.inbound.openCalls == 0
}

// Writable reports whether Pending has something to give.
func (m *MQTT) Writable() bool {
	if len(m.link.out) > 0 || len(m.link.ctl) > 0 {
		return true
	}
	return m.link.connected && !m.link.paused && !m.link.closing &&
		m.ring.next != m.ring.tail && m.room(int(m.ring.at(m.ring.next).n))
}

// Deadline returns when Tick has something to do.
func (m *MQTT) Deadline() time.Time {
	d := never
	if m.nextExpiry != 0 {
		d = m.epoch.Add(m.nextExpiry)
	}
	l := &m.link
	switch {
	case !l.open:
		return d
	case !l.connected:
		return earliest(d, l.started.Add(connackTimeout))
	case !l.pinged.IsZero():
		d = earliest(d, l.pinged.Add(m.pingTimeout()))
	case m.cfg.KeepAlive > 0:
		d = earliest(d, m.pingDue())
	}
	if len(l.inbound.asked) > 0 {
		d = earliest(d, l.inbound.askedAt.Add(connackTimeout))
	}
	if m.unacknowledged() {
		if l.pinged.IsZero() {
			d = earliest(d, m.stallDue())
		}
		d = earliest(d, m.ackDue())
	}
	return d
}

// pingDue is when the keep-alive calls for a PINGREQ: nothing was written for
// a whole interval [MQTT-3.1.2-23], or nothing was read for one.
func (m *MQTT) pingDue() time.Time {
	return earliest(m.link.lastWrite, m.link.lastRead).Add(m.cfg.KeepAlive)
}

// stallDue is when silence while messages are in flight calls for a PINGREQ.
func (m *MQTT) stallDue() time.Time {
	last := m.link.lastRead
	if m.link.progress.After(last) {
		last = m.link.progress
	}
	return last.Add(stallProbe)
}

// pingTimeout is how long a PINGRESP may take: half the keep-alive, so that a
// dead idle link is found within one and a half.
func (m *MQTT) pingTimeout() time.Duration {
	if m.unacknowledged() || m.cfg.KeepAlive == 0 {
		return stallProbe + m.transfer()
	}
	return m.cfg.KeepAlive / 2
}

// ackDue is when messages in flight have gone without an acknowledgement for
// too long.
func (m *MQTT) ackDue() time.Time { return m.link.progress.Add(ackTimeout + m.transfer()) }

// transfer is how long the oldest message in flight may take to the hub.
func (m *MQTT) transfer() time.Duration {
	if !m.unacknowledged() {
		return 0
	}
	return time.Duration(m.ring.at(m.ring.head).n) * time.Second / slowLink
}

// Tick does what time calls for. An error means that the link must be given
// up.
func (m *MQTT) Tick(now time.Time) *linkError {
	m.lastNow = now
	m.expire(now)
	l := &m.link
	switch {
	case !l.open:
		return nil
	case !l.connected:
		if !now.Before(l.started.Add(connackTimeout)) {
			return silence(iothub.ReasonCommunicationError, "no CONNACK within %v", connackTimeout)
		}
		return nil
	case !l.pinged.IsZero():
		if t := m.pingTimeout(); !now.Before(l.pinged.Add(t)) {
			return silence(iothub.ReasonNoPingResponse, "no answer to PINGREQ within %v", t)
		}
	case m.cfg.KeepAlive > 0 && !now.Before(m.pingDue()), m.unacknowledged() && !now.Before(m.stallDue()):
		if !l.closing {
			l.ctl = mqtt.AppendEmpty(l.ctl, mqtt.TypePingreq)
		}
		l.pinged = now
	}
	if len(l.inbound.asked) > 0 && !now.Before(l.inbound.askedAt.Add(connackTimeout)) {
		return silence(iothub.ReasonCommunicationError, "no SUBACK within %v", connackTimeout)
	}
	if m.unacknowledged() && !now.Before(m.ackDue()) {
		return silence(iothub.ReasonCommunicationError, "no PUBACK within %v", ackTimeout)
	}
	return nil
}

func silence(reason iothub.StatusReason, format string, args ...any) *linkError {
	return &linkError{reason: reason,
		err: &iothub.Error{Op: "receive", Kind: iothub.KindTimeout, Retryable: true, Err: fmt.Errorf(format, args...)}}
}

// expiryGrain is the least time between two searches for expired messages, so
// that a long queue of them costs little.
const expiryGrain = 10 * time.Millisecond

// expire confirms the messages whose time is up, waiting or in flight.
func (m *MQTT) expire(now time.Time) {
	at := now.Sub(m.epoch)
	if m.nextExpiry == 0 || at < m.nextExpiry {
		return
	}
	m.nextExpiry = 0
	m.expireEntries(at)
	m.expireRequests(at)
	m.expireCalls(at)
	m.expireFollow(now, at)
	if m.nextExpiry != 0 {
		m.nextExpiry = max(m.nextExpiry, at+expiryGrain)
	}
}

// due makes expire run when deadline d has come; 0 is none.
func (m *MQTT) due(d time.Duration) {
	if d != 0 && (m.nextExpiry == 0 || d < m.nextExpiry) {
		m.nextExpiry = d
	}
}

func (m *MQTT) expireEntries(at time.Duration) {
	for pos := m.ring.head; pos != m.ring.tail; pos++ {
		e := m.ring.at(pos)
		switch {
		case e.state >= entryDone || e.deadline == 0:
		case e.deadline <= at:
			m.done(e, pos, iothub.Confirmation{Result: iothub.ConfirmMessageTimeout, Err: iothub.ErrMessageTimeout})
		default:
			m.due(e.deadline)
		}
	}
	m.ring.compact(m.ring.next)
	m.reap()
}
