package amqpfront

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/sas"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// TestMain fails when a test leaves a goroutine of this package behind.
func TestMain(m *testing.M) { testkit.Main(m, 100*time.Millisecond, "amqpfront.(*") }

const hostName = "hub.test"

// env is a hub on the memory store with a Front before it.
type env struct {
	t     testing.TB
	hub   *core.Hub
	front *Front
	log   *testkit.Buffer
}

func newEnv(t testing.TB) *env { return newEnvWith(t, Config{}, core.Config{}) }

func newEnvWith(t testing.TB, cfg Config, hubCfg core.Config) *env {
	t.Helper()
	e := &env{t: t, log: &testkit.Buffer{}}
	hubCfg.HostName = hostName
	var err error
	if e.hub, err = core.New(t.Context(), hubCfg, memory.New(nil)); err != nil {
		t.Fatal(err)
	}
	cfg.Hub = e.hub
	cfg.Logger = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if e.front, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"dev1", "100%"} {
		if _, err := e.hub.CreateDevice(t.Context(), core.Device{DeviceID: id}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(e.close)
	return e
}

func (e *env) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.front.Shutdown(ctx); err != nil {
		e.t.Error(err)
	}
	if err := e.hub.Close(ctx); err != nil {
		e.t.Error(err)
	}
}

// token signs a token with the key of a policy.
func (e *env) token(policy, resource string, life time.Duration) string {
	for _, p := range e.hub.Policies() {
		if p.Name == policy {
			key, err := base64.StdEncoding.DecodeString(p.PrimaryKey)
			if err != nil {
				e.t.Fatal(err)
			}
			return sas.Sign(resource, key, time.Now().Add(life), policy)
		}
	}
	e.t.Fatalf("no policy %s", policy)
	return ""
}

func (e *env) policyKey(policy string) string {
	for _, p := range e.hub.Policies() {
		if p.Name == policy {
			return p.PrimaryKey
		}
	}
	e.t.Fatalf("no policy %s", policy)
	return ""
}

// dial connects to the front, which serves the other end.
func (e *env) dial() net.Conn {
	here, there := net.Pipe()
	go func() { _ = e.front.ServeConn(context.Background(), there, nil) }()
	e.t.Cleanup(func() { _ = here.Close() })
	return here
}

// connect makes a connection of go-amqp, which knows nothing of this package.
func (e *env) connect(o *goamqp.ConnOptions) *goamqp.Conn {
	e.t.Helper()
	if o == nil {
		o = &goamqp.ConnOptions{}
	}
	o.HostName = hostName
	c, err := goamqp.NewConn(e.t.Context(), e.dial(), o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (e *env) session(c *goamqp.Conn) *goamqp.Session {
	e.t.Helper()
	s, err := c.NewSession(e.t.Context(), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// putToken does the request for a token and returns the status of the answer.
func (e *env) putToken(c *goamqp.Conn, name, token string) (status int32, text string) {
	e.t.Helper()
	s := e.session(c)
	ctx := e.t.Context()
	r, err := s.NewReceiver(ctx, "$cbs", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	w, err := s.NewSender(ctx, "$cbs", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	to, reply := "$cbs", "cbs"
	err = w.Send(ctx, &goamqp.Message{
		Properties:            &goamqp.MessageProperties{MessageID: "m-1", To: &to, ReplyTo: &reply},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": name},
		Value:                 token,
	}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	m, err := r.Receive(ctx, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := r.AcceptMessage(ctx, m); err != nil {
		e.t.Fatal(err)
	}
	if m.Properties.CorrelationID != "m-1" {
		e.t.Errorf("correlation id %v", m.Properties.CorrelationID)
	}
	status, ok := m.ApplicationProperties["status-code"].(int32)
	if !ok {
		e.t.Errorf("status code %#v", m.ApplicationProperties["status-code"])
	}
	text, _ = m.ApplicationProperties["status-description"].(string)
	if err := s.Close(ctx); err != nil {
		e.t.Fatal(err)
	}
	return status, text
}

// service connects with a token of the policy.
func (e *env) service(policy string) *goamqp.Session {
	e.t.Helper()
	c := e.connect(nil)
	if status, text := e.putToken(c, hostName, e.token(policy, hostName, time.Hour)); status != 200 {
		e.t.Fatalf("%d %s", status, text)
	}
	return e.session(c)
}

// wire is a client that writes its own frames.
type wire struct {
	t  testing.TB
	nc net.Conn
}

// raw connects and exchanges headers and open.
func (e *env) raw() *wire {
	e.t.Helper()
	w := &wire{e.t, e.dial()}
	w.write([]byte(amqp.HeaderAMQP))
	if h := w.read(8); string(h) != amqp.HeaderAMQP {
		e.t.Fatalf("header %q", h)
	}
	w.send(0, &amqp.Open{ContainerID: "c", MaxFrameSize: 512, ChannelMax: amqp.DefaultChannelMax})
	if code, _ := w.next(); code != amqp.CodeOpen {
		e.t.Fatalf("%#x instead of open", code)
	}
	return w
}

func (w *wire) write(b []byte) {
	w.t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) read(n int) []byte {
	w.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(w.nc, b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *wire) send(channel uint16, p amqp.Performative) {
	w.t.Helper()
	b, err := amqp.AppendFrame(nil, amqp.FrameAMQP, channel, p)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(b)
}

// next reads the next frame that is not empty.
func (w *wire) next() (amqp.Code, []byte) {
	w.t.Helper()
	for {
		head := w.read(4)
		n, err := amqp.FrameLen(head, maxFrame)
		if err != nil {
			w.t.Fatal(err)
		}
		_, _, body, err := amqp.DecodeFrame(append(head, w.read(n-4)...))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(body) == 0 {
			continue
		}
		code, err := amqp.PeekCode(body)
		if err != nil {
			w.t.Fatal(err)
		}
		return code, body
	}
}

// closed reads up to Close and returns its error.
func (w *wire) closed() *amqp.Error {
	w.t.Helper()
	for {
		code, body := w.next()
		if code != amqp.CodeClose {
			continue
		}
		var p amqp.Close
		if err := p.Decode(body); err != nil {
			w.t.Fatal(err)
		}
		return p.Error
	}
}

// conditionOf is the condition with which a link or connection of go-amqp ended.
func conditionOf(err error) string {
	if e, ok := errors.AsType[*goamqp.Error](err); ok {
		return string(e.Condition)
	}
	if e, ok := errors.AsType[*goamqp.LinkError](err); ok && e.RemoteErr != nil {
		return string(e.RemoteErr.Condition)
	}
	if e, ok := errors.AsType[*goamqp.ConnError](err); ok && e.RemoteErr != nil {
		return string(e.RemoteErr.Condition)
	}
	if e, ok := errors.AsType[*goamqp.SessionError](err); ok && e.RemoteErr != nil {
		return string(e.RemoteErr.Condition)
	}
	return fmt.Sprint(err)
}
