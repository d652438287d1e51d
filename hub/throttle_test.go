package hub_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

func TestTierOptions(t *testing.T) {
	for _, tt := range []struct {
		o    hub.Options
		want string
	}{
		{hub.Options{Tier: "S9"}, "Options.Tier must be empty or one of F1, B1, B2, B3, S1, S2, S3"},
		{hub.Options{Tier: "S1", Units: -1}, "Options.Units must be 0 or more"},
		{hub.Options{Units: 1}, "Options.Units must be 0 without a Tier"},
		{hub.Options{Tier: "F1", Units: 2}, "Units must be 1 to 1 for tier F1"},
	} {
		s, err := hub.New(&tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.o, err, tt.want)
		}
		if err == nil {
			shutdown(t, s)
		}
	}
}

func TestUsage(t *testing.T) {
	s := start(t, &hub.Options{Tier: "s2", Units: 3})
	if _, err := s.CreateDevice(t.Context(), "d"); err != nil { // not a request: free
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString("d")
	if err != nil {
		t.Fatal(err)
	}
	d := dial(t, s, cs)
	defer d.nc.Close()
	d.publish("x", 1)
	d.puback()
	u := s.Usage()
	got := map[string]int64{}
	for _, op := range u.Operations {
		if op.Accepted > 0 {
			got[op.Operation] = op.Accepted
		}
		if op.Operation == "DeviceToCloudSend" && op.PerMinute != 3*7200 {
			t.Errorf("%+v", op)
		}
	}
	if u.Tier != "S2" || u.Units != 3 || u.Messages != 1 || u.Quota != 18_000_000 || u.Day.IsZero() ||
		len(got) != 2 || got["DeviceConnect"] != 1 || got["DeviceToCloudSend"] != 1 {
		t.Errorf("%+v", u)
	}
	free := start(t, nil)
	if u := free.Usage(); u.Tier != "" || u.Quota != 0 || u.Operations != nil {
		t.Errorf("%+v", u)
	}
}

func TestServerDisconnect(t *testing.T) {
	s := start(t, nil)
	if _, err := s.CreateModule(t.Context(), "d", "m"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.ModuleConnectionString("d", "m")
	if err != nil {
		t.Fatal(err)
	}
	m := dial(t, s, cs)
	if s.Disconnect("d", "") {
		t.Error("the device was never connected")
	}
	if !s.Disconnect("d", "m") {
		t.Error("the module is connected")
	}
	m.closed()
	m = dial(t, s, cs)
	defer m.nc.Close()
	m.publish("x", 1)
	m.puback()
}

// Faults go through TLS and TCP as well.
func TestFaultInjection(t *testing.T) {
	s := start(t, &hub.Options{FaultInjection: true})
	if _, err := s.CreateDevice(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.DeviceConnectionString("d")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"KillTcp", "ShutDownMqtt"} {
		d := dial(t, s, cs)
		d.base += "AzIoTHub_FaultOperationType=" + kind + "&"
		d.publish("f", 1)
		_, err := d.next()
		if kind == "ShutDownMqtt" && !errors.Is(err, io.EOF) || err == nil {
			t.Errorf("%s: %v", kind, err)
		}
		_ = d.nc.Close()
	}
	if got := events(t, s); len(got) != 0 {
		t.Errorf("%d events", len(got))
	}
}
