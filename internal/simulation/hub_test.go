package simulation_test

import (
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// hub is the scripted hub of one scenario. It checks all that a client may do
// wrong on the wire. As on the real one, a new connection of the same identity
// ends the one before.
type hub struct {
	w    *world
	base []byte // telemetry topic
	wg   sync.WaitGroup

	// guarded by w.mu
	sessions []*session
	accepted int // sessions that were
	goodbyes int
}

// session is one connection.
type session struct {
	h    *hub
	n    int
	conn net.Conn
	wake chan struct{}
	dice dice

	// guarded by w.mu
	connected    bool
	acceptedAt   time.Time
	ended        bool // or taken over: nothing of it counts any more
	goodbye      bool
	out          []answer
	lastAck      time.Time
	unacked      map[uint16]*record
	unackedBytes int
	lastID       uint16
	lastSerial   int
	firstTime    bool // a PUBLISH without DUP was seen
}

// answer is a packet on its way out.
type answer struct {
	due    time.Time
	packet []byte
	ack    *record
	id     uint16
	size   int
}

func (h *hub) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.w.mu.Lock()
		s := &session{h: h, n: len(h.sessions), conn: c, wake: make(chan struct{}, 1), unacked: map[uint16]*record{}, lastSerial: -1}
		s.dice = newDice(h.w.sc.seed, 1_000_000+uint64(s.n))
		h.sessions = append(h.sessions, s)
		h.w.mu.Unlock()
		h.w.trace("hub: connection %d", s.n)
		h.wg.Go(s.read)
		h.wg.Go(s.write)
	}
}

// drop ends every connection.
func (h *hub) drop() {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, s := range h.sessions {
		s.endLocked()
	}
}

func (s *session) endLocked() {
	if !s.ended {
		s.ended = true
		s.conn.Close()
		s.signal()
	}
}

func (s *session) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) read() {
	defer func() {
		s.h.w.mu.Lock()
		s.endLocked()
		s.h.w.mu.Unlock()
		s.h.w.trace("hub: connection %d ended", s.n)
	}()
	var in []byte
	buf := make([]byte, 4<<10)
	for {
		k, err := s.conn.Read(buf)
		if err != nil {
			return
		}
		in = append(in, buf[:k]...)
		p := in
		for {
			size, err := mqtt.Frame(p, 256<<10)
			if err != nil {
				s.h.w.violation("connection %d: the client wrote garbage: %v", s.n, err)
				return
			}
			if size == 0 {
				break
			}
			s.h.w.mu.Lock()
			ok := !s.ended && s.packetLocked(p[:size])
			s.h.w.mu.Unlock()
			if !ok {
				return
			}
			p = p[size:]
		}
		in = append(in[:0], p...)
		if k == len(buf) && k < 64<<10 {
			buf = make([]byte, 64<<10)
		}
	}
}

func (s *session) packetLocked(frame []byte) bool {
	w := s.h.w
	t := mqtt.PacketType(frame)
	if s.goodbye {
		w.violationLocked("connection %d: %v after DISCONNECT", s.n, t)
		return false
	}
	if !s.connected && t != mqtt.TypeConnect {
		w.violationLocked("connection %d: %v before CONNACK", s.n, t)
		return false
	}
	switch t {
	case mqtt.TypeConnect:
		return s.connectLocked(frame)
	case mqtt.TypePublish:
		return s.publishLocked(frame)
	case mqtt.TypePingreq:
		w.trace("hub: PINGREQ on %d", s.n)
		s.sendLocked(answer{due: time.Now(), packet: mqtt.AppendEmpty(nil, mqtt.TypePingresp)})
	case mqtt.TypeDisconnect:
		w.trace("hub: DISCONNECT on %d", s.n)
		s.goodbye = true
		s.h.goodbyes++
	default:
		w.violationLocked("connection %d: unexpected %v", s.n, t)
		return false
	}
	return true
}

func (s *session) connectLocked(frame []byte) bool {
	w := s.h.w
	if s.connected {
		w.violationLocked("connection %d: second CONNECT", s.n)
		return false
	}
	if _, err := mqtt.DecodeConnect(frame); err != nil {
		w.violationLocked("connection %d: bad CONNECT: %v", s.n, err)
		return false
	}
	code := 0
	if s.n < len(w.sc.refusals) {
		code = w.sc.refusals[s.n]
	}
	w.trace("hub: CONNECT on %d, answer %d", s.n, code)
	if code < 0 {
		return true
	}
	s.sendLocked(answer{due: time.Now(), packet: mqtt.AppendConnack(nil, false, byte(code))})
	if code > 0 {
		return true // the client hangs up
	}
	for _, other := range s.h.sessions {
		if other != s && other.connected {
			other.endLocked()
		}
	}
	s.connected = true
	s.acceptedAt = time.Now()
	s.h.accepted++
	return true
}

// sendLocked queues a, behind all that is due no later.
func (s *session) sendLocked(a answer) {
	i := len(s.out)
	for i > 0 && s.out[i-1].due.After(a.due) {
		i--
	}
	s.out = append(s.out, answer{})
	copy(s.out[i+1:], s.out[i:])
	s.out[i] = a
	s.signal()
}

// write writes what is due. An acknowledgement counts as given the moment it
// is written, whether or not it arrives.
func (s *session) write() {
	for {
		var buf []byte
		s.h.w.mu.Lock()
		ended := s.ended
		now := time.Now()
		i := 0
		for ; i < len(s.out) && !s.out[i].due.After(now) && !ended; i++ {
			a := &s.out[i]
			if a.ack != nil {
				s.h.w.ackLocked(s, a)
			}
			buf = append(buf, a.packet...)
		}
		s.out = append(s.out[:0], s.out[i:]...)
		wait := time.Hour
		if len(s.out) > 0 {
			wait = s.out[0].due.Sub(now)
		}
		s.h.w.mu.Unlock()
		if ended {
			return
		}
		if len(buf) > 0 {
			if _, err := s.conn.Write(buf); err != nil {
				return // the reader notices, too
			}
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-s.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

func (s *session) publishLocked(frame []byte) bool {
	w := s.h.w
	p, err := mqtt.DecodePublish(frame)
	if err != nil || p.QoS != 1 || p.Retain {
		w.violationLocked("connection %d: bad PUBLISH (QoS %d, retain %v): %v", s.n, p.QoS, p.Retain, err)
		return false
	}
	bag, ok := topic.ParseTelemetry(p.Topic, s.h.base)
	if !ok {
		w.violationLocked("connection %d: PUBLISH to %q", s.n, p.Topic)
		return false
	}
	props := map[string]string{}
	if err := topic.DecodeBag(bag, func(k, v string, _ bool) error { props[k] = v; return nil }); err != nil {
		w.violationLocked("connection %d: property bag %q: %v", s.n, bag, err)
		return false
	}
	serial, err := strconv.Atoi(props["serial"])
	if err != nil || serial < 0 || serial >= len(w.records) {
		w.violationLocked("connection %d: a message that nobody sent: %v", s.n, props)
		return false
	}
	r := w.records[serial]
	w.trace("hub: PUBLISH on %d: message %d, id %d, dup %v", s.n, serial, p.PacketID, p.Dup)
	w.checkContentLocked(s, r, props, p.Payload)
	s.checkOrderLocked(r, &p)
	r.received++
	r.session = s.n
	r.id = p.PacketID
	s.unacked[p.PacketID] = r
	s.unackedBytes += len(frame)
	if !w.sc.expires() && (len(s.unacked) > w.sc.window || (len(s.unacked) > 1 && s.unackedBytes > w.sc.windowBytes)) {
		w.violationLocked("connection %d: %d messages, %d bytes in flight: the window is %d, %d",
			s.n, len(s.unacked), s.unackedBytes, w.sc.window, w.sc.windowBytes)
	}
	s.acknowledgeLocked(r, p.PacketID, len(frame))
	return true
}

// checkOrderLocked checks what the contract and MQTT say of ids, DUP and
// order.
func (s *session) checkOrderLocked(r *record, p *mqtt.PublishPacket) {
	w := s.h.w
	id := p.PacketID
	if other, used := s.unacked[id]; used {
		w.violationLocked("connection %d: message %d has id %d, which message %d still has", s.n, r.serial, id, other.serial)
	}
	if s.lastID != 0 {
		d := int(id) - int(s.lastID)
		if d < 0 {
			d += 65535
		}
		if d == 0 || d > 40_000 {
			w.violationLocked("connection %d: id %d after %d", s.n, id, s.lastID)
		}
	}
	s.lastID = id
	switch {
	case r.received > 0 && r.session == s.n:
		w.violationLocked("connection %d: message %d twice on one connection", s.n, r.serial)
	case r.received > 0 && r.id != id:
		w.violationLocked("connection %d: message %d again with id %d, it was %d", s.n, r.serial, id, r.id)
	case r.received > 0 && !p.Dup:
		w.violationLocked("connection %d: message %d again without DUP", s.n, r.serial)
	case p.Dup && r.offeredAt.After(s.acceptedAt):
		w.violationLocked("connection %d: message %d has DUP, but the connection is older than it", s.n, r.serial)
	case p.Dup && s.h.accepted == 1:
		w.violationLocked("connection %d: message %d has DUP on the first connection", s.n, r.serial)
	case p.Dup && s.firstTime:
		w.violationLocked("connection %d: message %d is sent again after new ones", s.n, r.serial)
	}
	s.firstTime = s.firstTime || !p.Dup
	if !r.ordered {
		return
	}
	if r.serial <= s.lastSerial {
		w.violationLocked("connection %d: message %d after %d", s.n, r.serial, s.lastSerial)
	}
	s.lastSerial = r.serial
	if r.received == 0 {
		if r.serial < w.lastFirst {
			w.violationLocked("connection %d: message %d is first received after %d", s.n, r.serial, w.lastFirst)
		}
		w.lastFirst = max(w.lastFirst, r.serial)
	}
}

func (s *session) acknowledgeLocked(r *record, id uint16, size int) {
	sc := s.h.w.sc
	now := time.Now()
	a := answer{due: now, packet: mqtt.AppendAck(nil, mqtt.TypePuback, id), ack: r, id: id, size: size}
	if end := s.h.w.start.Add(sc.ackNormal); now.Before(end) {
		switch {
		case sc.withheld:
			a.due = end
		case sc.ackDelay > 0:
			a.due = now.Add(s.dice.duration(0, sc.ackDelay))
		}
	}
	if !sc.outOfOrder && a.due.Before(s.lastAck) {
		a.due = s.lastAck
	}
	s.lastAck = a.due
	if sc.ackTwice && s.dice.chance(20) {
		a.packet = append(a.packet, a.packet...)
	}
	s.sendLocked(a)
}
