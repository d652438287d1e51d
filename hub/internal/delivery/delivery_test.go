package delivery_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/delivery"
)

var events = []core.StoredEvent{
	{
		Offset: "4096", EnqueuedTime: core.Time{Time: time.Date(2026, 1, 31, 12, 0, 0, 123e6, time.UTC)},
		DeviceID: "dev.1", ModuleID: "m", AuthMethod: "{}", GenerationID: "g", Source: "Telemetry",
		Properties: map[string]string{"room": "attic", "bad": "a\r\nb"},
		System:     map[string]string{"content-type": "application/json", "content-encoding": "utf-8", "message-id": "m1"},
		Body:       []byte(`{"t":21}`),
	},
	{Offset: "4097", DeviceID: "dev2", Source: "Telemetry", Body: []byte{0, 1, 2}},
}

func newDeliverer(t *testing.T, d core.Delivery) core.Deliverer {
	t.Helper()
	to, err := delivery.Config{HubName: "hub1"}.New(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	return to
}

func TestWebhook(t *testing.T) {
	var got []map[string]any
	var header http.Header
	status := http.StatusAccepted
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(data, &got) != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %s, %v", r.Method, data, err)
		}
		header = r.Header
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	to := newDeliverer(t, core.Delivery{Webhook: &core.WebhookEndpoint{
		Name: "hook", URL: srv.URL + "/in?code=secret", Headers: map[string]string{"Authorization": "Bearer x"},
	}})
	if err := to.Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	first, second := got[0], got[1]
	system, _ := first["SystemProperties"].(map[string]any)
	body, _ := first["Body"].(map[string]any)
	if first["EnqueuedTimeUtc"] != "2026-01-31T12:00:00.1230000Z" || body["t"] != 21.0 || system["messageId"] != "m1" ||
		system["connectionDeviceId"] != "dev.1" || system["connectionModuleId"] != "m" || second["Body"] != "AAEC" {
		t.Errorf("posted %v", got)
	}
	if header.Get("Authorization") != "Bearer x" || header.Get("iothub-name") != "hub1" || header.Get("iothub-first-offset") != "4096" ||
		header.Get("iothub-count") != "2" || header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("headers %v", header)
	}
	for _, status = range []int{http.StatusFound, http.StatusBadRequest, http.StatusInternalServerError} {
		if err := to.Deliver(t.Context(), events); err == nil {
			t.Errorf("%d is taken for a confirmation", status)
		}
	}
	srv.Close()
	if err := to.Deliver(t.Context(), events); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody there: %v", err)
	}
}

func runNATS(t *testing.T) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return srv
}

func TestNATS(t *testing.T) {
	srv := runNATS(t)
	listener, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	sub, err := listener.SubscribeSync("iot.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	to := newDeliverer(t, core.Delivery{NATS: &core.NATSEndpoint{Name: "bus", URL: srv.ClientURL(), Subject: "iot.{source}.{deviceId}.{moduleId}"}})
	if err := to.Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "iot.Telemetry.dev_1.m" || string(m.Data) != `{"t":21}` || m.Header.Get("room") != "attic" ||
		m.Header.Get("bad") != "" || m.Header.Get("iothub-messageId") != "m1" || m.Header.Get("iothub-connectionDeviceId") != "dev.1" {
		t.Errorf("got %s %v", m.Subject, m.Header)
	}
	if m, err = sub.NextMsg(10 * time.Second); err != nil || m.Subject != "iot.Telemetry.dev2.-" {
		t.Errorf("the second: %v, %v", m, err)
	}
	// Nobody has a stream for it: with JetStream that is no confirmation.
	strict := newDeliverer(t, core.Delivery{NATS: &core.NATSEndpoint{Name: "bus", URL: srv.ClientURL(), Subject: "other.x", JetStream: true}})
	if err := strict.Deliver(t.Context(), events); err == nil {
		t.Error("without a stream it is taken for stored")
	}
	js, err := listener.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "IOT", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after a failure between delivery and noting it
		if err := strict.Deliver(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	info, err := js.StreamInfo("IOT")
	if err != nil || info.State.Msgs != 2 {
		t.Errorf("the stream has %+v, %v", info, err)
	}
}

func TestEndpointsThatCannotBe(t *testing.T) {
	for _, d := range []core.Delivery{
		{Webhook: &core.WebhookEndpoint{Name: "w", URL: "ftp://x"}},
		{Webhook: &core.WebhookEndpoint{Name: "w", URL: "https://"}},
		{NATS: &core.NATSEndpoint{Name: "n", URL: "http://x"}},
		{NATS: &core.NATSEndpoint{Name: "n", URL: "nats://"}},
	} {
		if _, err := (delivery.Config{}).New(d); err == nil {
			t.Errorf("%+v is taken", d)
		}
	}
	unreachable := newDeliverer(t, core.Delivery{NATS: &core.NATSEndpoint{Name: "n", URL: "nats://user:secret@127.0.0.1:1", Subject: "x"}})
	if err := unreachable.Deliver(t.Context(), events); err == nil || strings.Contains(err.Error(), "secret") || errors.Is(err, nil) {
		t.Errorf("nobody there: %v", err)
	}
}
