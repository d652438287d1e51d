package service_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// A message goes to a device of the hub and its feedback comes back, over AMQP and
// over AMQP in WebSockets.
func TestC2DThroughTheHub(t *testing.T) {
	s := startHub(t, nil)
	address, err := s.Listen(hub.AMQP, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]*service.ClientOptions{
		"TCP": {AMQPPort: address.(*net.TCPAddr).Port}, "WebSocket": {WebSocket: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, id := connect(t, s, o), "dev-"+name
			if _, err := s.CreateDevice(ctx, id); err != nil {
				t.Fatal(err)
			}
			m := &iothub.Message{Payload: []byte("hello"), MessageID: "m1", Ack: "full", Properties: map[string]string{"level": "high"}}
			if err := c.SendC2D(ctx, id, m); err != nil {
				t.Fatal(err)
			}
			got, err := connectDevice(t, s, id).Receive(ctx)
			if err != nil || string(got.Payload) != "hello" || got.MessageID != "m1" || got.Properties["level"] != "high" {
				t.Fatalf("%+v %v", got, err)
			}
			if err := got.Settle(iothub.DispositionAccepted); err != nil {
				t.Fatal(err)
			}
			r := c.Feedback(nil)
			d, err := r.Receive(ctx)
			if err != nil || len(d.Body) != 1 || d.Body[0].MessageID != "m1" || d.Body[0].Status != "Success" || d.Body[0].DeviceID != id {
				t.Fatalf("%+v %v", d, err)
			}
			if err := d.Abandon(ctx); err != nil {
				t.Error(err)
			}
			if d, err = r.Receive(ctx); err != nil || d.Body[0].MessageID != "m1" {
				t.Fatalf("%+v %v", d, err)
			}
			if err := d.Complete(ctx); err != nil {
				t.Error(err)
			}
			wantKind(t, c.SendC2D(ctx, "nobody", m), iothub.KindNotFound, 404001)
		})
	}
}
