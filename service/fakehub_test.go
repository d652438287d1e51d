package service_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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
	settled []amqp.Code
}

// fakeConn is one connection.
type fakeConn struct {
	hub *fakeHub
	raw net.Conn // below TLS

	nc      *tls.Conn
	out     chan []byte             // what is written; reading never waits for it
	links   map[uint32]*amqp.Attach // of the client
	nextID  uint32
	cbs     uint32
	notices uint32 // handle, with credit
	credit  uint32
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
	c := &fakeConn{hub: h, raw: there, nc: tls.Server(there, &tls.Config{Certificates: []tls.Certificate{h.cert}}), links: map[uint32]*amqp.Attach{}, out: make(chan []byte, 1000)}
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

func (c *fakeConn) send(p amqp.Performative) {
	b, err := amqp.AppendFrame(nil, amqp.FrameAMQP, 0, p)
	if err != nil {
		c.hub.t.Error(err)
	}
	c.out <- b
}

// detach ends the client's link to an address.
func (c *fakeConn) detach(address string) {
	for handle, l := range c.links {
		if l.Target != nil && l.Target.Address == address {
			delete(c.links, handle) // the client's own detach is the answer
			c.send(&amqp.Detach{Handle: handle, Closed: true, Error: &amqp.Error{Condition: "amqp:link:detach-forced"}})
		}
	}
}

func (c *fakeConn) serve() error {
	var header [amqp.HeaderLen]byte
	if _, err := io.ReadFull(c.nc, header[:]); err != nil {
		return err
	}
	c.out <- []byte(amqp.HeaderAMQP)
	for {
		var size [4]byte
		if _, err := io.ReadFull(c.nc, size[:]); err != nil {
			return err
		}
		n, err := amqp.FrameLen(size[:], 1<<20)
		if err != nil {
			return err
		}
		frame := make([]byte, n)
		copy(frame, size[:])
		if _, err := io.ReadFull(c.nc, frame[4:]); err != nil {
			return err
		}
		_, _, body, err := amqp.DecodeFrame(frame)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			continue
		}
		if err := c.frame(body); err != nil {
			return err
		}
	}
}

// frame handles one performative.
func (c *fakeConn) frame(body []byte) error {
	code, err := amqp.PeekCode(body)
	if err != nil {
		return err
	}
	switch code {
	case amqp.CodeOpen:
		c.send(&amqp.Open{ContainerID: "fake", MaxFrameSize: 65536, ChannelMax: 10, IdleTimeout: 60000})
	case amqp.CodeBegin:
		c.send(&amqp.Begin{RemoteChannel: amqp.Some(uint16(0)), IncomingWindow: 5000, OutgoingWindow: 5000, HandleMax: 100})
	case amqp.CodeAttach:
		var a amqp.Attach
		if err := a.Decode(body); err != nil {
			return err
		}
		c.attach(&a)
	case amqp.CodeFlow:
		var f amqp.Flow
		if err := f.Decode(body); err != nil {
			return err
		}
		if f.Handle.OK && c.notices == f.Handle.V+1 {
			c.credit = f.LinkCredit.V
			c.deliver()
		}
	case amqp.CodeTransfer:
		var t amqp.Transfer
		if err := t.Decode(body); err != nil {
			return err
		}
		return c.transfer(&t)
	case amqp.CodeDisposition:
		var d amqp.Disposition
		if err := d.Decode(body); err != nil {
			return err
		}
		c.hub.mu.Lock()
		c.hub.settled = append(c.hub.settled, d.State.Kind)
		c.hub.mu.Unlock()
		if !d.Settled {
			c.send(&amqp.Disposition{Role: amqp.RoleSender, First: d.First, Last: d.Last, Settled: true, State: d.State})
		}
	case amqp.CodeDetach:
		var d amqp.Detach
		if err := d.Decode(body); err != nil {
			return err
		}
		if c.links[d.Handle] != nil {
			delete(c.links, d.Handle)
			c.send(&amqp.Detach{Handle: d.Handle, Closed: true})
		}
	case amqp.CodeClose:
		c.send(&amqp.Close{})
	}
	return nil
}

func (c *fakeConn) attach(a *amqp.Attach) {
	c.links[a.Handle] = a
	reply := *a
	reply.Role = !a.Role
	if a.Role == amqp.RoleReceiver {
		reply.InitialDeliveryCount = amqp.Some(uint32(0))
		switch a.Source.Address {
		case "$cbs":
			c.cbs = a.Handle
		default:
			c.notices = a.Handle + 1
		}
	}
	c.send(&reply)
	if a.Role == amqp.RoleSender {
		c.send(&amqp.Flow{NextIncomingID: amqp.Some(uint32(0)), IncomingWindow: 5000, OutgoingWindow: 5000,
			Handle: amqp.Some(a.Handle), DeliveryCount: amqp.Some(uint32(0)), LinkCredit: amqp.Some(uint32(1000))})
	}
}

// message sends one to a link of the client.
func (c *fakeConn) message(handle uint32, m *amqp.Message) {
	payload, err := m.Append(nil)
	if err != nil {
		c.hub.t.Error(err)
	}
	c.send(&amqp.Transfer{Handle: handle, DeliveryID: amqp.Some(c.nextID), DeliveryTag: []byte{byte(c.nextID >> 8), byte(c.nextID)},
		MessageFormat: amqp.Some(uint32(0)), Payload: payload})
	c.nextID++
}

// deliver sends the notices that there is credit for.
func (c *fakeConn) deliver() {
	for c.notices > 0 && c.credit > 0 {
		c.hub.mu.Lock()
		text, ok := "", len(c.hub.notices) > 0
		if ok {
			text, c.hub.notices = c.hub.notices[0], c.hub.notices[1:]
		}
		c.hub.mu.Unlock()
		if !ok {
			return
		}
		c.credit--
		c.message(c.notices-1, &amqp.Message{
			MessageAnnotations: amqp.Map{{Key: amqp.Symbol("iothub-enqueuedtime"), Value: amqp.TimestampOf(time.Now())}},
			Data:               [][]byte{[]byte(text)},
		})
	}
}

func (c *fakeConn) transfer(t *amqp.Transfer) error {
	var m amqp.Message
	if err := m.Decode(t.Payload); err != nil {
		return err
	}
	l := c.links[t.Handle]
	if l == nil {
		return errors.New("a transfer on no link")
	}
	settle := func(s amqp.State) {
		if s.Kind != 0 {
			c.send(&amqp.Disposition{Role: amqp.RoleReceiver, First: t.DeliveryID.V, Settled: true, State: s})
		}
	}
	h := c.hub
	if l.Target.Address == "$cbs" {
		h.mu.Lock()
		h.tokens = append(h.tokens, time.Since(h.begun))
		status := int32(200)
		if h.tokenStatus != nil {
			status = h.tokenStatus(len(h.tokens))
		}
		h.mu.Unlock()
		settle(amqp.Accepted)
		c.message(c.cbs, &amqp.Message{
			Properties: &amqp.Properties{CorrelationID: m.Properties.MessageID},
			ApplicationProperties: amqp.Map{{Key: "status-code", Value: status},
				{Key: "status-description", Value: "as told"}},
			HasValue: true,
		})
		return nil
	}
	h.mu.Lock()
	h.sent = append(h.sent, m.Properties.To+" "+string(m.Body()))
	n, decide := len(h.sent), h.onSend
	h.mu.Unlock()
	state := amqp.Accepted
	if decide != nil {
		state = decide(n, c)
	}
	time.AfterFunc(h.answerAfter, func() { settle(state) })
	return nil
}

var hello = &iothub.Message{Payload: []byte("hello")}
