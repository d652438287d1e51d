package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

// subscribe subscribes with QoS 1.
func (d *device) subscribe(filter string) {
	d.t.Helper()
	b, err := mqtt.AppendSubscribe(nil, 1, []mqtt.Subscription{{Filter: filter, QoS: 1}})
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(b)
	if frame, err := d.next(); err != nil || mqtt.PacketType(frame) != mqtt.TypeSuback {
		d.t.Fatalf("no SUBACK: %v", err)
	}
}

// receive reads a message and acknowledges it. It is valid until the next call.
func (d *device) receive() mqtt.PublishPacket {
	d.t.Helper()
	frame, err := d.next()
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		d.t.Fatal(err)
	}
	if p.QoS > 0 {
		d.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.PacketID))
	}
	return p
}

func createDevice(t *testing.T, s *hub.Server, id string) string {
	t.Helper()
	if _, err := s.CreateDevice(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString(id)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	if e, ok := errors.AsType[*iothub.Error](err); !ok || e.Code != code {
		t.Errorf("error %v, want an iothub.Error with code %d", err, code)
	}
}

// TestC2D sends messages to a device over a restart of the hub.
func TestC2D(t *testing.T) {
	for _, dir := range []string{"", "data"} {
		t.Run("dir="+dir, func(t *testing.T) {
			o := &hub.Options{}
			if dir != "" {
				o.DataDir = t.TempDir()
			}
			s := start(t, o)
			cs := createDevice(t, s, "dev1")
			msg := &iothub.Message{
				Payload: []byte("first"), MessageID: "m1", Ack: "full", ContentType: "text/plain",
				Properties: map[string]string{"b": "2", "a": "1 1"},
			}
			if err := s.SendC2D(t.Context(), "dev1", msg); err != nil {
				t.Fatal(err)
			}
			copy(msg.Payload, "XXXXX") // it is ours again
			if err := s.SendC2D(t.Context(), "dev1", &iothub.Message{Payload: []byte("second")}); err != nil {
				t.Fatal(err)
			}
			if dir != "" {
				shutdown(t, s)
				s = start(t, o)
				cs = createDevice(t, s, "dev1")
			}
			d := dial(t, s, cs)
			d.subscribe("devices/dev1/messages/devicebound/#")
			p := d.receive()
			const want = "devices/dev1/messages/devicebound/%24.mid=m1&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound" +
				"&%24.ct=text%2Fplain&iothub-ack=full&a=1%201&b=2"
			if string(p.Payload) != "first" || string(p.Topic) != want {
				t.Errorf("got %s with the topic\n%s, want\n%s", p.Payload, p.Topic, want)
			}
			if p := d.receive(); string(p.Payload) != "second" {
				t.Errorf("got %s", p.Payload)
			}
			for f, err := range s.Feedback(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if f.MessageID != "m1" || f.Status != "Success" || f.DeviceID != "dev1" || f.GenerationID == "" || f.Time.IsZero() {
					t.Errorf("feedback %+v", f)
				}
				break
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			for f, err := range s.Feedback(ctx) { // the record was taken for good
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %+v, %v", f, err)
				}
			}
		})
	}
}

func TestC2DErrors(t *testing.T) {
	s := start(t, nil)
	createDevice(t, s, "dev1")
	msg := &iothub.Message{Payload: []byte("x")}
	wantCode(t, s.SendC2D(t.Context(), "nobody", msg), 404001)
	wantCode(t, s.SendC2D(t.Context(), "dev1", &iothub.Message{Payload: make([]byte, 65<<10)}), 413001)
	if err := s.SendC2D(t.Context(), "dev1", nil); err == nil {
		t.Error("no message was sent")
	}
	for range 50 {
		if err := s.SendC2D(t.Context(), "dev1", msg); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, s.SendC2D(t.Context(), "dev1", msg), 403004)
	if n, err := s.PurgeC2D(t.Context(), "dev1"); n != 50 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	_, err := s.PurgeC2D(t.Context(), "nobody")
	wantCode(t, err, 404001)
	shutdown(t, s)
	_, purged := s.PurgeC2D(t.Context(), "dev1")
	_, _, invoked := s.InvokeMethod(t.Context(), "dev1", "", "m", nil, nil)
	var fed error
	for _, fed = range s.Feedback(t.Context()) {
	}
	for _, err := range []error{s.SendC2D(t.Context(), "dev1", msg), purged, invoked, fed} {
		if !errors.Is(err, hub.ErrServerClosed) {
			t.Errorf("after Shutdown: %v", err)
		}
	}
}

func TestInvokeMethod(t *testing.T) {
	s := start(t, nil)
	cs := createDevice(t, s, "dev1")
	_, _, err := s.InvokeMethod(t.Context(), "dev1", "", "reboot", nil, nil)
	wantCode(t, err, 404103)
	done := make(chan error, 1)
	go func() {
		status, response, err := s.InvokeMethod(t.Context(), "dev1", "", "reboot", []byte(`{"delay":5}`),
			&hub.MethodOptions{ConnectTimeout: time.Minute, ResponseTimeout: time.Minute})
		if err == nil && (status != 202 || string(response) != `"soon"`) {
			err = fmt.Errorf("got %d %s", status, response)
		}
		done <- err
	}()
	d := dial(t, s, cs)
	d.subscribe("$iothub/methods/POST/#")
	p := d.receive()
	_, rid, _ := strings.Cut(string(p.Topic), "?$rid=")
	if !strings.HasPrefix(string(p.Topic), "$iothub/methods/POST/reboot/?$rid=") || string(p.Payload) != `{"delay":5}` {
		t.Errorf("the request is %s %s", p.Topic, p.Payload)
	}
	b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte("$iothub/methods/res/202/?$rid=" + rid), Payload: []byte(`"soon"`)})
	if err != nil {
		t.Fatal(err)
	}
	d.write(b)
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.InvokeMethod(ctx, "dev1", "", "reboot", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

func TestOptionsRoutes(t *testing.T) {
	_, err := hub.New(&hub.Options{Routes: []hub.Route{{Text: "FROM /messages/* INTO $upstream"}, {Text: "FROM nowhere"}}})
	if err == nil || !strings.Contains(err.Error(), `Options.Routes[1]: route "FROM nowhere": INTO and a sink`) {
		t.Errorf("error %v", err)
	}
	for _, o := range []*hub.Options{{MessageTTL: time.Second}, {MessageTTL: 49 * time.Hour}, {MaxDeliveryCount: 101}, {MaxDeliveryCount: -1}} {
		if s, err := hub.New(o); err == nil {
			t.Errorf("%+v was accepted", o)
			shutdown(t, s)
		}
	}
}

// TestRoutes goes from an output to an input, over a restart.
func TestRoutes(t *testing.T) {
	o := &hub.Options{DataDir: t.TempDir(), Routes: []hub.Route{
		{DeviceID: "edge", Text: `FROM /messages/modules/a/outputs/out INTO BrokeredEndpoint("/modules/b/inputs/in")`},
	}}
	s := start(t, o)
	connect := func(module string) *device {
		t.Helper()
		if _, err := s.CreateModule(t.Context(), "edge", module); err != nil {
			t.Fatal(err)
		}
		cs, err := s.ModuleConnectionString("edge", module)
		if err != nil {
			t.Fatal(err)
		}
		return dial(t, s, cs)
	}
	connect("b")
	a := connect("a")
	for i := range 10 {
		b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{
			Topic: []byte(a.base + "%24.on=out"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		a.write(b)
		a.puback() // from here on it must not be lost
	}
	shutdown(t, s)
	s = start(t, o)
	b := connect("b")
	b.subscribe("devices/edge/modules/b/#")
	for i := range 10 {
		p := b.receive()
		if string(p.Payload) != fmt.Sprint(i) || string(p.Topic) != "devices/edge/modules/b/inputs/in/%24.cdid=edge&%24.cmid=a&%24.on=out" {
			t.Errorf("message %d is %s with the topic %s", i, p.Payload, p.Topic)
		}
	}
	if all := events(t, s); len(all) != 0 {
		t.Errorf("%d events went upstream", len(all))
	}
}
