// Package simhub is a scripted MQTT hub for tests of clients: it takes what
// they publish, remembers all of it, and acknowledges, withholds or refuses as
// the test says. Package hub is the real one; this one can misbehave.
package simhub

import (
	"net"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// Received is one PUBLISH as it arrived.
type Received struct {
	Session    int // the connection it came on, from 0
	ID         uint16
	Dup        bool
	Topic      string
	Properties map[string]string // application and system, as in the bag
	Payload    string
	At         time.Time
}

// Hub is the scripted hub. Its functions may be nil; they are called from the
// goroutine of the connection, without locks held.
type Hub struct {
	// Connack returns the CONNACK code for the n-th connection; negative
	// is silence.
	Connack func(session int, c *mqtt.ConnectPacket) int
	// Ack reports whether to acknowledge r, at once.
	Ack func(r *Received) bool
	// Mute, if it returns true, makes PINGREQ go unanswered.
	Mute func(session int) bool
	// Takeover makes every accepted CONNECT close the connections before it,
	// as a hub does for connections with one identity.
	Takeover bool

	mu       sync.Mutex
	sessions int
	live     map[int]net.Conn
	drops    map[int]func() error // how to end each at once
	received []Received
	connects []mqtt.ConnectPacket
	subs     map[int]map[string]byte // by connection: filter → granted QoS
	acks     []uint16                // PUBACKs from clients, in order
	twin     twin
	goodbyes int
	wg       sync.WaitGroup
}

// Serve takes connections from l until it is closed.
func (h *Hub) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.wg.Go(func() { h.session(c, c.Close) })
	}
}

// session serves one connection; drop ends it at once.
func (h *Hub) session(c net.Conn, drop func() error) {
	h.mu.Lock()
	n := h.sessions
	h.sessions++
	if h.live == nil {
		h.live, h.drops = map[int]net.Conn{}, map[int]func() error{}
	}
	h.live[n], h.drops[n] = c, drop
	h.mu.Unlock()
	h.serve(n, c)
	drop()
	h.mu.Lock()
	delete(h.live, n)
	delete(h.drops, n)
	delete(h.subs, n)
	h.mu.Unlock()
}

// Drop closes every connection.
func (h *Hub) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, drop := range h.drops {
		drop()
	}
}

// Wait returns when no connection is left.
func (h *Hub) Wait() { h.wg.Wait() }

// Received returns everything that was published, in order of arrival.
func (h *Hub) Received() []Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Received(nil), h.received...)
}

// Connects returns the CONNECT packets, in order.
func (h *Hub) Connects() []mqtt.ConnectPacket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]mqtt.ConnectPacket(nil), h.connects...)
}

// Goodbyes returns how many connections ended with DISCONNECT.
func (h *Hub) Goodbyes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.goodbyes
}

// Acknowledge sends PUBACK for id on every live connection: a late one, or one
// that nobody asked for.
func (h *Hub) Acknowledge(id uint16) {
	h.mu.Lock()
	live := make([]net.Conn, 0, len(h.live))
	for _, c := range h.live {
		live = append(live, c)
	}
	h.mu.Unlock()
	for _, c := range live {
		c.Write(mqtt.AppendAck(nil, mqtt.TypePuback, id))
	}
}

func (h *Hub) serve(n int, c net.Conn) {
	var in []byte
	buf := make([]byte, 64<<10)
	for {
		k, err := c.Read(buf)
		if err != nil {
			return
		}
		in = append(in, buf[:k]...)
		var out []byte
		for {
			size, err := mqtt.Frame(in, 1<<20)
			if err != nil {
				return
			}
			if size == 0 {
				break
			}
			var ok bool
			if out, ok = h.packet(n, in[:size], out); !ok {
				c.Write(out)
				return
			}
			in = in[size:]
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

func (h *Hub) packet(n int, frame, out []byte) ([]byte, bool) {
	switch mqtt.PacketType(frame) {
	case mqtt.TypeConnect:
		return h.connect(n, frame, out)
	case mqtt.TypePublish:
		return h.publish(n, frame, out)
	case mqtt.TypePingreq:
		if h.Mute != nil && h.Mute(n) {
			return out, true
		}
		return mqtt.AppendEmpty(out, mqtt.TypePingresp), true
	case mqtt.TypeSubscribe:
		return h.subscribe(n, frame, out)
	case mqtt.TypeUnsubscribe:
		return h.unsubscribe(n, frame, out)
	case mqtt.TypePuback:
		if id, err := mqtt.DecodeAck(frame); err == nil {
			h.mu.Lock()
			h.acks = append(h.acks, id)
			h.mu.Unlock()
		}
		return out, true
	case mqtt.TypeDisconnect:
		h.mu.Lock()
		h.goodbyes++
		h.mu.Unlock()
		return out, false
	}
	return out, false
}

func (h *Hub) connect(n int, frame, out []byte) ([]byte, bool) {
	c, err := mqtt.DecodeConnect(frame)
	if err != nil {
		return out, false
	}
	h.mu.Lock()
	h.connects = append(h.connects, c)
	h.mu.Unlock()
	code := 0
	if h.Connack != nil {
		code = h.Connack(n, &c)
	}
	if code < 0 {
		return out, true
	}
	if h.Takeover && code == 0 {
		h.mu.Lock()
		for i, c := range h.live {
			if i < n {
				c.Close()
			}
		}
		h.mu.Unlock()
	}
	return mqtt.AppendConnack(out, false, byte(code)), code == 0
}

func (h *Hub) publish(n int, frame, out []byte) ([]byte, bool) {
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		return out, false
	}
	r := Received{Session: n, ID: p.PacketID, Dup: p.Dup, Topic: string(p.Topic), Payload: string(p.Payload),
		Properties: map[string]string{}, At: time.Now()}
	if i := strings.Index(r.Topic, "/messages/events/"); i >= 0 {
		topic.DecodeBag(p.Topic[i+len("/messages/events/"):], func(k, v string, _ bool) error {
			r.Properties[k] = v
			return nil
		})
	}
	h.mu.Lock()
	h.received = append(h.received, r)
	h.mu.Unlock()
	if answer := h.answerTwin(n, p.Topic, p.Payload); answer != nil {
		return append(out, answer...), true
	}
	if p.QoS == 1 && (h.Ack == nil || h.Ack(&r)) {
		out = mqtt.AppendAck(out, mqtt.TypePuback, p.PacketID)
	}
	return out, true
}
