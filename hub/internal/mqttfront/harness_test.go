package mqttfront

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// TestMain fails when a test leaves a goroutine of this package behind.
func TestMain(m *testing.M) { testkit.Main(m, 0, "mqttfront.(*") }

const hostName = "hub.test"

// env is a hub on the memory store with a Front before it.
type env struct {
	t     testing.TB
	hub   *core.Hub
	front *Front
	gate  *gate
	log   *testkit.Buffer
	keys  map[string]iothub.SharedAccessKey
}

// gate is a storage whose telemetry log can be told to wait and to fail.
type gate struct {
	mu      sync.Mutex
	hold    chan struct{} // appends wait until it is closed
	failing error
}

type gatedStorage struct {
	core.Storage
	g *gate
}

func (s gatedStorage) EventLog(ctx context.Context, cfg core.EventLogConfig) (core.EventLog, error) {
	l, err := s.Storage.EventLog(ctx, cfg)
	return gatedLog{l, s.g}, err
}

type gatedLog struct {
	core.EventLog
	g *gate
}

func (l gatedLog) Append(ctx context.Context, partition int, record []byte) (uint64, error) {
	l.g.mu.Lock()
	hold := l.g.hold
	l.g.mu.Unlock()
	if hold != nil {
		<-hold
	}
	l.g.mu.Lock()
	err := l.g.failing
	l.g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return l.EventLog.Append(ctx, partition, record)
}

// close makes appends wait until the returned function is called.
func (g *gate) close() (open func()) {
	hold := make(chan struct{})
	g.mu.Lock()
	g.hold = hold
	g.mu.Unlock()
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.hold = nil
		g.mu.Unlock()
		close(hold)
	})
}

func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failing = err
}

func newEnv(t testing.TB, cfg Config, hubCfg core.Config) *env {
	t.Helper()
	e := &env{t: t, gate: &gate{}, log: &testkit.Buffer{}, keys: map[string]iothub.SharedAccessKey{}}
	hubCfg.HostName = hostName
	var err error
	e.hub, err = core.New(t.Context(), hubCfg, gatedStorage{memory.New(nil), e.gate})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Hub = e.hub
	cfg.Logger = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if e.front, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	e.addDevice("dev1")
	e.addDevice("dev2")
	m, err := e.hub.CreateModule(t.Context(), core.Module{DeviceID: "dev1", ModuleID: "mod1"})
	if err != nil {
		t.Fatal(err)
	}
	e.addKey("dev1/mod1", m.Authentication)
	return e
}

// run runs a test in virtual time on a fresh hub and sees to its end.
func run(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	runWith(t, Config{}, core.Config{}, f)
}

func runWith(t *testing.T, cfg Config, hubCfg core.Config, f func(t *testing.T, e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, cfg, hubCfg)
		defer e.close()
		f(t, e)
	})
}

func (e *env) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.front.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		e.t.Error(err)
	}
	if err := e.hub.Close(ctx); err != nil {
		e.t.Error(err)
	}
}

func (e *env) addDevice(id string) {
	d, err := e.hub.CreateDevice(context.Background(), core.Device{DeviceID: id})
	if err != nil {
		e.t.Fatal(err)
	}
	e.addKey(id, d.Authentication)
}

func (e *env) addKey(id string, a core.Authentication) {
	key, err := iothub.ParseSharedAccessKey(string(a.SymmetricKey.PrimaryKey))
	if err != nil {
		e.t.Fatal(err)
	}
	e.keys[id] = key
}

// password signs a token for an identity ("dev" or "dev/mod").
func (e *env) password(id string, lifetime time.Duration) []byte {
	device, module, _ := strings.Cut(id, "/")
	resource := iothub.Identity{DeviceID: device, ModuleID: module}.Resource(hostName)
	return []byte(e.keys[id].Sign(resource, time.Now().Add(lifetime), "").Value)
}

// connectPacket is a good CONNECT of an identity.
func (e *env) connectPacket(id string) *mqtt.ConnectPacket {
	return &mqtt.ConnectPacket{
		ClientID: id, KeepAlive: 60, CleanSession: true,
		Username: hostName + "/" + id + "/?api-version=2021-04-12",
		Password: e.password(id, time.Hour),
	}
}

// events returns everything stored, in order per partition.
func (e *env) events() []core.StoredEvent {
	e.t.Helper()
	r, err := e.hub.NewReader(context.Background(), core.FromStart())
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Close()
	var all []core.StoredEvent
	for {
		ev, err := r.TryNext(context.Background())
		if errors.Is(err, core.ErrNoEvent) {
			return all
		}
		if err != nil {
			e.t.Fatal(err)
		}
		all = append(all, ev)
	}
}

// client is the other end of a connection.
type client struct {
	t    testing.TB
	nc   net.Conn
	in   []byte
	done chan error // the result of ServeConn
}

// dial opens a connection that has sent nothing yet.
func (e *env) dial() *client { return e.dialContext(context.Background()) }

func (e *env) dialContext(ctx context.Context) *client {
	here, there := net.Pipe()
	c := &client{t: e.t, nc: here, done: make(chan error, 1)}
	go func() { c.done <- e.front.ServeConn(ctx, there, nil) }()
	return c
}

// connect opens a connection and lets it be accepted.
func (e *env) connect(id string) *client {
	e.t.Helper()
	return e.connectWith(e.connectPacket(id))
}

func (e *env) connectWith(p *mqtt.ConnectPacket) *client {
	e.t.Helper()
	c := e.dial()
	c.write(connectBytes(e.t, p))
	if present, code := c.connack(); present || code != 0 {
		e.t.Fatalf("CONNACK: session present %v, code %d", present, code)
	}
	return c
}

func connectBytes(t testing.TB, p *mqtt.ConnectPacket) []byte {
	t.Helper()
	b, err := mqtt.AppendConnect(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if err := c.tryWrite(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) tryWrite(b []byte) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Hour))
	_, err := c.nc.Write(b)
	return err
}

// next reads one packet.
func (c *client) next() ([]byte, error) {
	buf := make([]byte, 4096)
	for {
		n, err := mqtt.Frame(c.in, maxPacket)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			frame := c.in[:n:n]
			c.in = c.in[n:]
			return frame, nil
		}
		_ = c.nc.SetReadDeadline(time.Now().Add(2 * time.Hour))
		m, err := c.nc.Read(buf)
		c.in = append(c.in, buf[:m]...)
		if err != nil && m == 0 {
			return nil, err
		}
	}
}

func (c *client) mustNext(want mqtt.Type) []byte {
	c.t.Helper()
	frame, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %v: %v", want, err)
	}
	if got := mqtt.PacketType(frame); got != want {
		c.t.Fatalf("got %v, want %v", got, want)
	}
	return frame
}

func (c *client) connack() (present bool, code byte) {
	c.t.Helper()
	present, code, err := mqtt.DecodeConnack(c.mustNext(mqtt.TypeConnack))
	if err != nil {
		c.t.Fatal(err)
	}
	return present, code
}

func (c *client) puback() uint16 {
	c.t.Helper()
	id, err := mqtt.DecodeAck(c.mustNext(mqtt.TypePuback))
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// ping shows that everything before it has been handled.
func (c *client) ping() {
	c.t.Helper()
	c.write(mqtt.AppendEmpty(nil, mqtt.TypePingreq))
	c.mustNext(mqtt.TypePingresp)
}

// nothing checks that the hub has nothing to say now.
func (c *client) nothing() {
	c.t.Helper()
	synctest.Wait()
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Nanosecond))
	var b [1]byte
	if n, err := c.nc.Read(b[:]); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("unexpected: %d bytes (%x), %v", n, b[:n], err)
	}
}

// closed waits until the hub has closed the connection and returns why. Packets
// that come before are passed over.
func (c *client) closed() error {
	c.t.Helper()
	for {
		if _, err := c.next(); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				c.t.Fatalf("want the connection closed, got %v", err)
			}
			break
		}
	}
	return <-c.done
}

func publish(topic string, payload string, qos byte, id uint16) []byte {
	p := &mqtt.PublishPacket{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: id}
	b, err := mqtt.AppendPublish(nil, p)
	if err != nil {
		panic(err)
	}
	return b
}

const telemetry1 = "devices/dev1/messages/events/"

// advance lets virtual time pass.
func advance(d time.Duration) { <-time.After(d) }
