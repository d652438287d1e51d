package hub_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

func (d *device) request(topic, payload string) {
	d.t.Helper()
	b, err := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(topic), Payload: []byte(payload)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(b)
}

// received reads a PUBLISH as "topic payload".
func (d *device) received() string {
	d.t.Helper()
	frame, err := d.next()
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := mqtt.DecodePublish(frame)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(p.Topic) + " " + string(p.Payload)
}

// TestTwins goes through a twin's life on the wire and from Go, across a restart.
func TestTwins(t *testing.T) {
	dir := t.TempDir()
	s, err := hub.New(&hub.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateModule(t.Context(), "dev", "mod"); err != nil {
		t.Fatal(err)
	}
	cs, err := s.ModuleConnectionString("dev", "mod")
	if err != nil {
		t.Fatal(err)
	}
	d := dial(t, s, cs)
	d.subscribe("$iothub/twin/res/#")
	d.subscribe("$iothub/twin/PATCH/properties/desired/#")
	fresh, err := s.Twin(t.Context(), "dev", "mod")
	if err != nil || !fresh.Connected || !fresh.Enabled || fresh.LastActivity.IsZero() || fresh.DeviceETag == "" {
		t.Fatalf("%+v, %v", fresh, err)
	}
	changed, err := s.UpdateTwin(t.Context(), "dev", "mod", []byte(`{"tags":{"site":"north"},"properties":{"desired":{"interval":5.0}}}`), fresh.ETag)
	if err != nil || string(changed.Tags) != `{"site":"north"}` || changed.Version != fresh.Version+1 {
		t.Fatalf("%+v, %v", changed, err)
	}
	if got := d.received(); got != `$iothub/twin/PATCH/properties/desired/?$version=2 {"interval":5.0,"$version":2}` {
		t.Error(got)
	}
	d.request("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"firmware":"1.2"}`)
	if got := d.received(); got != "$iothub/twin/res/204/?$rid=1&$version=2 " {
		t.Error(got)
	}
	if _, err := s.UpdateTwin(t.Context(), "dev", "mod", []byte(`{"tags":{}}`), fresh.ETag); iothub.KindOf(err) != iothub.KindPreconditionFailed {
		t.Errorf("a stale ETag: %v", err)
	}
	if _, err := s.Twin(t.Context(), "dev", "none"); iothub.KindOf(err) != iothub.KindNotFound {
		t.Errorf("no such module: %v", err)
	}
	if _, err := s.ReplaceTwin(t.Context(), "dev", "", []byte(`{"tags":{"a b":1}}`), ""); err == nil || !strings.Contains(err.Error(), "tags: the name") {
		t.Errorf("a wrong name: %v", err)
	}
	before, err := s.Twin(t.Context(), "dev", "mod")
	if err != nil {
		t.Fatal(err)
	}
	shutdown(t, s)
	if _, err := s.Twin(t.Context(), "dev", "mod"); !errors.Is(err, hub.ErrServerClosed) {
		t.Errorf("closed: %v", err)
	}

	s = start(t, &hub.Options{DataDir: dir})
	after, err := s.Twin(t.Context(), "dev", "mod")
	if err != nil {
		t.Fatal(err)
	}
	before.Connected, before.LastActivity = false, after.LastActivity
	if fmt.Sprint(*after) != fmt.Sprint(*before) {
		t.Errorf("after the restart\n%v\nbefore\n%v", *after, *before)
	}
	if cs, err = s.ModuleConnectionString("dev", "mod"); err != nil {
		t.Fatal(err)
	}
	d = dial(t, s, cs)
	d.subscribe("$iothub/twin/res/#")
	d.request("$iothub/twin/GET/?$rid=2", "")
	if got := d.received(); got != `$iothub/twin/res/200/?$rid=2 {"desired":{"interval":5.0,"$version":2},"reported":{"firmware":"1.2","$version":2}}` {
		t.Error(got)
	}
}
