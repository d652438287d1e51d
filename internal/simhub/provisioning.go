package simhub

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// Reply is what a scripted provisioning service does with one request.
type Reply struct {
	Status int    // 0 does not answer, -1 hangs up
	Wait   string // retry-after
	Body   string
}

// Provisioning is a provisioning service that answers requests over MQTT in the order of
// its script, the last one for ever. Its fields are set before it serves.
type Provisioning struct {
	Connack, Suback byte
	Deaf            string // the packet that nothing follows: "CONNECT", "SUBSCRIBE"
	Late            bool   // answers come before the acknowledgements of the requests
	Script          []Reply

	mu       sync.Mutex
	requests []string // "topic body" and the time since the start
	connects []mqtt.ConnectPacket
	wg       sync.WaitGroup
}

// Serve takes connections from l until it is closed.
func (p *Provisioning) Serve(l net.Listener) {
	start := time.Now()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer conn.Close()
			p.session(conn, start)
		})
	}
}

func (p *Provisioning) session(conn net.Conn, start time.Time) {
	var in []byte
	buf := make([]byte, 4096)
	for {
		n, err := mqtt.Frame(in, 1<<20)
		if err != nil {
			return
		}
		if n == 0 {
			k, err := conn.Read(buf)
			if err != nil {
				return
			}
			in = append(in, buf[:k]...)
			continue
		}
		out, ok := p.packet(in[:n], time.Since(start))
		in = in[n:]
		if _, err := conn.Write(out); err != nil || !ok {
			return
		}
	}
}

func (p *Provisioning) packet(frame []byte, at time.Duration) (out []byte, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch mqtt.PacketType(frame) {
	case mqtt.TypeConnect:
		c, err := mqtt.DecodeConnect(frame)
		if err != nil {
			return nil, false
		}
		p.connects = append(p.connects, c)
		if p.Deaf == "CONNECT" {
			return nil, true
		}
		return mqtt.AppendConnack(nil, false, p.Connack), p.Connack == 0
	case mqtt.TypeSubscribe:
		id, subs, err := mqtt.DecodeSubscribe(frame)
		if err != nil || p.Deaf == "SUBSCRIBE" || subs[0].Filter != "$dps/registrations/res/#" {
			return nil, err == nil
		}
		return mqtt.AppendSuback(nil, id, []byte{p.Suback}), true
	case mqtt.TypePublish:
		publish, err := mqtt.DecodePublish(frame)
		if err != nil {
			return nil, false
		}
		return p.answer(&publish, at)
	case mqtt.TypeDisconnect:
		p.requests = append(p.requests, "goodbye")
		return nil, false
	}
	return nil, true
}

func (p *Provisioning) answer(asked *mqtt.PublishPacket, at time.Duration) (out []byte, ok bool) {
	r := p.Script[0]
	if len(p.Script) > 1 {
		p.Script = p.Script[1:]
	}
	name, rid, _ := strings.Cut(string(asked.Topic), "/?$rid=")
	rid, rest, _ := strings.Cut(rid, "&")
	name = strings.TrimPrefix(name, "$dps/registrations/")
	p.requests = append(p.requests, strings.TrimSpace(fmt.Sprintf("%v %s %s %s", at, name, rest, asked.Payload)))
	if r.Status == -1 {
		return nil, false
	}
	ack := mqtt.AppendAck(nil, mqtt.TypePuback, asked.PacketID)
	if r.Status == 0 {
		return ack, true
	}
	topic := fmt.Sprintf("$dps/registrations/res/%d/?$rid=%s", r.Status, rid)
	if r.Wait != "" {
		topic += "&retry-after=" + r.Wait
	}
	stranger, _ := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte("$dps/registrations/res/200/?$rid=60000"), Payload: []byte("{}"), QoS: 0})
	result, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(topic), Payload: []byte(r.Body), QoS: 1, PacketID: 7})
	if err != nil {
		return nil, false
	}
	if p.Late {
		return append(append(stranger, result...), ack...), true
	}
	return append(append(ack, stranger...), result...), true
}

// Say replaces the script.
func (p *Provisioning) Say(script ...Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Script = script
}

// Wait returns when no connection is left.
func (p *Provisioning) Wait() { p.wg.Wait() }

// Connects returns the CONNECT packets, in order.
func (p *Provisioning) Connects() []mqtt.ConnectPacket {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]mqtt.ConnectPacket(nil), p.connects...)
}

// Requests returns the requests so far, as "time since Serve, path, query, body", and
// "goodbye" for DISCONNECT.
func (p *Provisioning) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}
