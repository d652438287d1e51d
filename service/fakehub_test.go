package service_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/amqp"
	"github.com/iothub-go/iothub/service"
)

// fakeHub is the AMQP side of a hub that does as a test says, on connections in
// memory, so that it works in virtual time.
type fakeHub struct {
	t     *testing.T
	cert  tls.Certificate
	roots *x509.CertPool
	begun time.Time

	// tokenStatus answers the n-th token, from 1; nil accepts all.
	tokenStatus func(n int) int32
	// onSend decides about the n-th message; a zero state says nothing. nil
	// accepts all.
	onSend func(n int, c *fakeConn) amqp.State

	// answerAfter is how long messages wait for their answer.
	answerAfter time.Duration

	mu      sync.Mutex
	wg      sync.WaitGroup
	conns   []*fakeConn
	tokens  []time.Duration // when they came
	sent    []string        // to, body
	notices []string        // what receivers get
	events  int             // how many each of two partitions has

	positions []string // the filters that partitions were read with
	settled   []amqp.Code
}

// fakeConn is one connection.
type fakeConn struct {
	hub *fakeHub
	raw net.Conn // below TLS

	nc      *tls.Conn
	out     chan []byte               // what is written; reading never waits for it
	links   map[fakeLink]*amqp.Attach // of the client
	credit  map[fakeLink]uint32
	sent    map[fakeLink]uint32
	nextID  map[uint16]uint32 // by session
	reading map[fakeLink]int  // the next event of links to partitions
}

// fakeLink is a link in its session.
type fakeLink struct {
	channel uint16
	handle  uint32
}

func newFakeHub(t *testing.T) *fakeHub {
	// The certificate of a server that is not used.
	s := httptest.NewTLSServer(http.NotFoundHandler())
	s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &fakeHub{t: t, cert: s.TLS.Certificates[0], roots: roots, begun: time.Now()}
}

// client returns a client that is connected to the hub when it needs to be.
func (h *fakeHub) client(o service.ClientOptions) *service.Client {
	h.t.Helper()
	o.TLS, o.Dial = &tls.Config{RootCAs: h.roots}, h.dial
	c, err := service.NewClientFromConnectionString("HostName=127.0.0.1;SharedAccessKeyName=service;SharedAccessKey="+testKey, &o)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// end closes the client and waits for the hub.
func (h *fakeHub) end(c *service.Client) {
	if err := c.Close(context.Background()); err != nil {
		h.t.Error(err)
	}
	h.cut()
	h.wg.Wait()
}

func (h *fakeHub) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	c := &fakeConn{hub: h, raw: there, nc: tls.Server(there, &tls.Config{Certificates: []tls.Certificate{h.cert}}), out: make(chan []byte, 1000),
		links: map[fakeLink]*amqp.Attach{}, credit: map[fakeLink]uint32{}, sent: map[fakeLink]uint32{}, nextID: map[uint16]uint32{}, reading: map[fakeLink]int{}}
	h.mu.Lock()
	h.conns = append(h.conns, c)
	h.mu.Unlock()
	done := make(chan struct{})
	h.wg.Go(func() {
		defer close(done)
		defer there.Close()
		if err := c.serve(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, io.ErrUnexpectedEOF) {
			h.t.Error(err)
		}
	})
	h.wg.Go(func() {
		tick := time.NewTicker(20 * time.Second) // signs of life
		defer tick.Stop()
		for {
			var b []byte
			select {
			case <-done:
				return
			case b = <-c.out:
			case <-tick.C:
				b = amqp.AppendEmptyFrame(nil)
			}
			_, _ = c.nc.Write(b) // a connection that is gone is what some tests are about
		}
	})
	return here, nil
}

// cut breaks all connections.
func (h *fakeHub) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		_ = c.raw.Close()
	}
}

// last is the newest connection.
func (h *fakeHub) last() *fakeConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[len(h.conns)-1]
}

// seen returns copies of what has come.
func (h *fakeHub) seen() (conns int, tokens []time.Duration, sent []string, settled []amqp.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns), append(tokens, h.tokens...), append(sent, h.sent...), append(settled, h.settled...)
}

func (c *fakeConn) send(channel uint16, p amqp.Performative) {
	b, err := amqp.AppendFrame(nil, amqp.FrameAMQP, channel, p)
	if err != nil {
		c.hub.t.Error(err)
	}
	c.out <- b
}

// detach ends the client's link to an address.
func (c *fakeConn) detach(address string) {
	for k, l := range c.links {
		if l.Target != nil && l.Target.Address == address {
			delete(c.links, k) // the client's own detach is the answer
			c.send(k.channel, &amqp.Detach{Handle: k.handle, Closed: true, Error: &amqp.Error{Condition: "amqp:link:detach-forced"}})
		}
	}
}

func (c *fakeConn) serve() error {
	var header [amqp.HeaderLen]byte
	for {
		if _, err := io.ReadFull(c.nc, header[:]); err != nil {
			return err
		}
		c.out <- slices.Clone(header[:])
		if string(header[:]) != amqp.HeaderSASL {
			break
		}
		if err := c.sasl(); err != nil {
			return err
		}
	}
	for {
		frame, err := c.read()
		if err != nil {
			return err
		}
		_, channel, body, err := amqp.DecodeFrame(frame)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			continue
		}
		if err := c.frame(channel, body); err != nil {
			return err
		}
	}
}

// sasl lets anybody in.
func (c *fakeConn) sasl() error {
	for _, p := range []amqp.Performative{&amqp.SASLMechanisms{Mechanisms: []amqp.Symbol{"ANONYMOUS"}}, &amqp.SASLOutcome{}} {
		b, err := amqp.AppendFrame(nil, amqp.FrameSASL, 0, p)
		if err != nil {
			return err
		}
		c.out <- b
	}
	_, err := c.read() // the choice of the client
	return err
}

func (c *fakeConn) read() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		return nil, err
	}
	n, err := amqp.FrameLen(size[:], 1<<20)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, n)
	copy(frame, size[:])
	_, err = io.ReadFull(c.nc, frame[4:])
	return frame, err
}

// frame handles one performative.
func (c *fakeConn) frame(channel uint16, body []byte) error {
	code, err := amqp.PeekCode(body)
	if err != nil {
		return err
	}
	switch code {
	case amqp.CodeOpen:
		c.send(0, &amqp.Open{ContainerID: "fake", MaxFrameSize: 65536, ChannelMax: 100, IdleTimeout: 60000})
	case amqp.CodeBegin:
		c.send(channel, &amqp.Begin{RemoteChannel: amqp.Some(channel), IncomingWindow: 5000, OutgoingWindow: 5000, HandleMax: 100})
	case amqp.CodeAttach:
		var a amqp.Attach
		if err := a.Decode(body); err != nil {
			return err
		}
		c.attach(channel, &a)
	case amqp.CodeFlow:
		var f amqp.Flow
		if err := f.Decode(body); err != nil {
			return err
		}
		if f.Handle.OK && c.links[fakeLink{channel, f.Handle.V}] != nil {
			k := fakeLink{channel, f.Handle.V}
			// What is on its way to the client counts (AMQP 2.6.7).
			c.credit[k] = f.DeliveryCount.V + f.LinkCredit.V - c.sent[k]
			c.deliver(k)
		}
	case amqp.CodeTransfer:
		var t amqp.Transfer
		if err := t.Decode(body); err != nil {
			return err
		}
		return c.transfer(channel, &t)
	case amqp.CodeDisposition:
		var d amqp.Disposition
		if err := d.Decode(body); err != nil {
			return err
		}
		c.hub.mu.Lock()
		c.hub.settled = append(c.hub.settled, d.State.Kind)
		c.hub.mu.Unlock()
		if !d.Settled {
			c.send(channel, &amqp.Disposition{Role: amqp.RoleSender, First: d.First, Last: d.Last, Settled: true, State: d.State})
		}
	case amqp.CodeDetach:
		var d amqp.Detach
		if err := d.Decode(body); err != nil {
			return err
		}
		if k := (fakeLink{channel, d.Handle}); c.links[k] != nil {
			delete(c.links, k)
			c.send(channel, &amqp.Detach{Handle: d.Handle, Closed: true})
		}
	case amqp.CodeEnd:
		c.send(channel, &amqp.End{})
	case amqp.CodeClose:
		c.send(0, &amqp.Close{})
	}
	return nil
}

func (c *fakeConn) attach(channel uint16, a *amqp.Attach) {
	k := fakeLink{channel, a.Handle}
	c.links[k] = a
	c.credit[k], c.sent[k] = 0, 0
	delete(c.reading, k)
	reply := *a
	reply.Role = !a.Role
	if a.Role == amqp.RoleReceiver {
		reply.InitialDeliveryCount = amqp.Some(uint32(0))
		if strings.HasSuffix(a.Source.Address, "/messages/events/$management") {
			c.redirect(k, &reply)
			return
		}
		if strings.Contains(a.Source.Address, "/Partitions/") {
			c.reading[k] = firstEvent(a.Source.Filter)
			c.hub.mu.Lock()
			c.hub.positions = append(c.hub.positions, filterText(a.Source.Filter))
			c.hub.mu.Unlock()
		}
	}
	c.send(channel, &reply)
	if a.Role == amqp.RoleSender {
		c.send(channel, &amqp.Flow{NextIncomingID: amqp.Some(uint32(0)), IncomingWindow: 5000, OutgoingWindow: 5000,
			Handle: amqp.Some(a.Handle), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(1000))})
	}
}

// redirect says where the events are.
func (c *fakeConn) redirect(k fakeLink, reply *amqp.Attach) {
	delete(c.links, k)
	reply.Source = nil
	c.send(k.channel, reply)
	c.send(k.channel, &amqp.Detach{Handle: k.handle, Closed: true, Error: &amqp.Error{
		Condition: "amqp:link:redirect",
		Info: amqp.Map{{Key: amqp.Symbol("hostname"), Value: "127.0.0.1"}, {Key: amqp.Symbol("port"), Value: int32(5671)},
			{Key: amqp.Symbol("address"), Value: "amqps://127.0.0.1:5671/hub1/$management"}},
	}})
}

// filterText is the expression of a filter.
func filterText(filter amqp.Map) string {
	for _, e := range filter {
		if d, ok := e.Value.(amqp.Described); ok {
			return fmt.Sprint(d.Value)
		}
	}
	return ""
}

// firstEvent is the sequence number that a filter begins at: behind another one,
// or the start.
func firstEvent(filter amqp.Map) int {
	n := -1
	_, _ = fmt.Sscanf(filterText(filter), "amqp.annotation.x-opt-sequence-number > '%d'", &n)
	return n + 1
}

// message sends one to a link of the client.
func (c *fakeConn) message(k fakeLink, m *amqp.Message) {
	payload, err := m.Append(nil)
	if err != nil {
		c.hub.t.Error(err)
	}
	id := c.nextID[k.channel]
	c.nextID[k.channel]++
	_, isEvent := c.reading[k] // events need no answer
	c.send(k.channel, &amqp.Transfer{Handle: k.handle, Settled: amqp.Some(isEvent), DeliveryID: amqp.Some(id), DeliveryTag: []byte{byte(id >> 8), byte(id)},
		MessageFormat: amqp.Some(uint32(0)), Payload: payload})
}

// deliver sends the notices, or the events, that there is credit for.
func (c *fakeConn) deliver(k fakeLink) {
	_, partition, isPartition := strings.Cut(c.links[k].Source.Address, "/Partitions/")
	for c.credit[k] > 0 {
		var m *amqp.Message
		if isPartition {
			m = c.event(partition, c.reading[k])
			c.reading[k]++
		} else if strings.HasPrefix(c.links[k].Source.Address, "/messages/") {
			m = c.notice()
		}
		if m == nil {
			return
		}
		c.credit[k]--
		c.sent[k]++
		c.message(k, m)
	}
}

func (c *fakeConn) notice() *amqp.Message {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if len(c.hub.notices) == 0 {
		return nil
	}
	text := c.hub.notices[0]
	c.hub.notices = c.hub.notices[1:]
	return &amqp.Message{
		MessageAnnotations: amqp.Map{{Key: amqp.Symbol("iothub-enqueuedtime"), Value: amqp.TimestampOf(time.Now())}},
		Data:               [][]byte{[]byte(text)},
	}
}

// event returns the n-th event of a partition, nil when there are not so many.
func (c *fakeConn) event(partition string, n int) *amqp.Message {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if n >= c.hub.events {
		return nil
	}
	annotation := func(name string, v any) amqp.Entry { return amqp.Entry{Key: amqp.Symbol(name), Value: v} }
	return &amqp.Message{
		MessageAnnotations: amqp.Map{annotation("x-opt-sequence-number", int64(n)), annotation("x-opt-offset", fmt.Sprint(n*100)),
			annotation("x-opt-enqueued-time", amqp.TimestampOf(time.Now())), annotation("iothub-connection-device-id", "dev1"),
			annotation("iothub-message-source", "Telemetry")},
		ApplicationProperties: amqp.Map{{Key: "level", Value: "high"}},
		Properties:            &amqp.Properties{MessageID: "m1", ContentType: "application/json"},
		Data:                  [][]byte{fmt.Appendf(nil, "%s:%d", partition, n)},
	}
}

func (c *fakeConn) transfer(channel uint16, t *amqp.Transfer) error {
	var m amqp.Message
	if err := m.Decode(t.Payload); err != nil {
		return err
	}
	l := c.links[fakeLink{channel, t.Handle}]
	if l == nil {
		return errors.New("a transfer on no link")
	}
	settle := func(s amqp.State) {
		if s.Kind != 0 {
			c.send(channel, &amqp.Disposition{Role: amqp.RoleReceiver, First: t.DeliveryID.V, Settled: true, State: s})
		}
	}
	h := c.hub
	switch l.Target.Address {
	case "$cbs":
		h.mu.Lock()
		h.tokens = append(h.tokens, time.Since(h.begun))
		status := int32(200)
		if h.tokenStatus != nil {
			status = h.tokenStatus(len(h.tokens))
		}
		h.mu.Unlock()
		settle(amqp.Accepted)
		c.answer("$cbs", &m, status, nil)
	case "$management":
		settle(amqp.Accepted)
		c.answer("$management", &m, 200, amqp.Map{{Key: "name", Value: "hub1"}, {Key: "type", Value: "com.microsoft:eventhub"},
			{Key: "created_at", Value: amqp.Timestamp(0)}, {Key: "partition_count", Value: int32(2)},
			{Key: "partition_ids", Value: amqp.StringArray("0", "1")}, {Key: "georeplication_factor", Value: int32(1)}})
	default:
		h.mu.Lock()
		h.sent = append(h.sent, m.Properties.To+" "+string(m.Body()))
		n, decide := len(h.sent), h.onSend
		h.mu.Unlock()
		state := amqp.Accepted
		if decide != nil {
			state = decide(n, c)
		}
		time.AfterFunc(h.answerAfter, func() { settle(state) })
	}
	return nil
}

// answer answers a request: to the link whose target it names, or else to the one
// there is.
func (c *fakeConn) answer(node string, request *amqp.Message, status int32, value any) {
	var to *fakeLink
	for k, l := range c.links {
		if l.Role == amqp.RoleReceiver && l.Source.Address == node && (to == nil || l.Target != nil && l.Target.Address == request.Properties.ReplyTo) {
			to = &k
		}
	}
	if to == nil {
		c.hub.t.Errorf("nobody waits for the answer of %s", node)
		return
	}
	c.message(*to, &amqp.Message{
		Properties: &amqp.Properties{CorrelationID: request.Properties.MessageID},
		ApplicationProperties: amqp.Map{{Key: "status-code", Value: status},
			{Key: "status-description", Value: "as told"}},
		Value: value, HasValue: true,
	})
}

var hello = &iothub.Message{Payload: []byte("hello")}
