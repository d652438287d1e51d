package examples_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/iothub-go/iothub/edge"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/testkit"
	"github.com/iothub-go/iothub/service"
)

// The two modules run in a local runtime: what is hot arrives at the hub, and the
// threshold follows the twin.
func TestEdgeModule(t *testing.T) {
	s := startHub(t, nil)
	https, err := s.Listen(hub.HTTPS, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mqtt, err := s.Listen(hub.MQTT, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	back, err := service.NewClientFromConnectionString(s.ServiceConnectionString(), &service.ClientOptions{TLS: &tls.Config{RootCAs: s.CertPool()}})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close(context.Background())
	d, err := back.CreateDevice(ctx, &service.Device{DeviceID: "edge1", Capabilities: service.Capabilities{IoTEdge: true}})
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "edge-module")
	if out, err := exec.Command("go", "build", "-o", bin, "./edge-module").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, text, _ := net.SplitHostPort(https.String())
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	var out testkit.Buffer
	rt, err := edge.New(ctx, &edge.Options{
		ConnectionString: d.ConnectionString(mqtt.String()), HTTPSPort: port, Authorities: s.CACertPEM(),
		DataDir: t.TempDir(), MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Output: &out,
		Modules: []edge.Module{{Name: "sensor", Command: []string{bin, "sensor"}}, {Name: "filter", Command: []string{bin, "filter"}}},
		Routes: []string{
			`FROM /messages/modules/sensor/outputs/temperatures INTO BrokeredEndpoint("/modules/filter/inputs/temperatures")`,
			`FROM /messages/modules/filter/outputs/hot INTO $upstream`,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rt.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(out.String())
		}
	}()
	if _, err := s.UpdateTwin(ctx, "edge1", "filter", []byte(`{"properties":{"desired":{"threshold":20}}}`), ""); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ Temperature float64 }
		if err := json.Unmarshal(e.Body, &r); err != nil || e.ModuleID != "filter" || e.Properties["alert"] != "hot" || r.Temperature <= 20 {
			t.Fatalf("event %s of %s with %v: %v", e.Body, e.ModuleID, e.Properties, err)
		}
		break
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		twin, err := s.Twin(ctx, "edge1", "filter")
		if err != nil {
			t.Fatal(err)
		}
		var reported struct{ Threshold int }
		if json.Unmarshal(twin.Reported, &reported) == nil && reported.Threshold == 20 {
			return
		}
	}
}
