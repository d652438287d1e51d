package hub_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// TestMain fails when a test leaves a goroutine of the hub behind.
func TestMain(m *testing.M) { testkit.Main(m, 10*time.Second, "iothub-go/iothub/hub", "nats-server") }

// start starts a hub with both protocols on free ports.
func start(t testing.TB, o *hub.Options) *hub.Server {
	t.Helper()
	s, err := hub.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	for _, p := range []hub.Protocol{hub.MQTT, hub.HTTPS} {
		if _, err := s.Listen(p, "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func shutdown(t testing.TB, s *hub.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// device is a raw MQTT client of one identity.
type device struct {
	t    testing.TB
	nc   net.Conn
	buf  []byte
	r, w int
	base string
}

// dial connects with a connection string.
func dial(t testing.TB, s *hub.Server, connectionString string) *device {
	t.Helper()
	d, code := tryDial(t, s, connectionString)
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	return d
}

func tryDial(t testing.TB, s *hub.Server, connectionString string) (*device, byte) {
	t.Helper()
	cs, err := iothub.ParseConnectionString(connectionString)
	if err != nil {
		t.Fatal(err)
	}
	host, _, err := net.SplitHostPort(cs.HostName)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", cs.HostName, &tls.Config{RootCAs: s.CertPool(), ServerName: host})
	if err != nil {
		t.Fatal(err)
	}
	return tryConnect(t, nc, cs)
}

// tryConnect connects over nc.
func tryConnect(t testing.TB, nc net.Conn, cs *iothub.ConnectionString) (*device, byte) {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	id := cs.Identity()
	token, err := cs.Credential().Token(t.Context(), id.Resource(cs.HostName), time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	packet, err := mqtt.AppendConnect(nil, &mqtt.ConnectPacket{
		ClientID: id.String(), KeepAlive: 240, CleanSession: true,
		Username: cs.HostName + "/" + id.String() + "/?api-version=2021-04-12",
		Password: []byte(token.Value),
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, nc: nc, buf: make([]byte, 64<<10), base: "devices/" + id.DeviceID + "/messages/events/"}
	if id.IsModule() {
		d.base = "devices/" + id.DeviceID + "/modules/" + id.ModuleID + "/messages/events/"
	}
	d.write(packet)
	frame, err := d.next()
	if err != nil {
		t.Fatal(err)
	}
	_, code, err := mqtt.DecodeConnack(frame)
	if err != nil {
		t.Fatal(err)
	}
	return d, code
}

func (d *device) write(b []byte) {
	d.t.Helper()
	if _, err := d.nc.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) publish(payload string, id uint16) {
	d.t.Helper()
	b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{
		Topic: []byte(d.base + "n=" + fmt.Sprint(id)), Payload: []byte(payload), QoS: 1, PacketID: id,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(b)
}

// next reads one packet; it is valid until the next call.
func (d *device) next() ([]byte, error) {
	for {
		n, err := mqtt.Frame(d.buf[d.r:d.w], len(d.buf))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			d.r += n
			return d.buf[d.r-n : d.r], nil
		}
		if d.r > 0 {
			d.r, d.w = 0, copy(d.buf, d.buf[d.r:d.w])
		}
		_ = d.nc.SetReadDeadline(time.Now().Add(30 * time.Second))
		m, err := d.nc.Read(d.buf[d.w:])
		d.w += m
		if m == 0 && err != nil {
			return nil, err
		}
	}
}

func (d *device) puback() uint16 {
	d.t.Helper()
	frame, err := d.next()
	if err != nil {
		d.t.Fatal(err)
	}
	id, err := mqtt.DecodeAck(frame)
	if err != nil || mqtt.PacketType(frame) != mqtt.TypePuback {
		d.t.Fatalf("%v %v", mqtt.PacketType(frame), err)
	}
	return id
}

// closed waits for the end of the connection.
func (d *device) closed() {
	d.t.Helper()
	if frame, err := d.next(); err == nil {
		d.t.Fatalf("got %v", mqtt.PacketType(frame))
	} else if !errors.Is(err, io.EOF) {
		d.t.Fatalf("not a clean end: %v", err)
	}
}

// events reads all there is.
func events(t testing.TB, s *hub.Server) []*hub.Event {
	t.Helper()
	var all []*hub.Event
	for e, err := range s.Events(t.Context(), &hub.EventsOptions{NoWait: true}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
