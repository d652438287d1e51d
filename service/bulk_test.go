package service_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

func TestBulk(t *testing.T) {
	c, ctx := connect(t, startHub(t, nil), nil), t.Context()
	items := make([]*service.BulkItem, 150)
	for i := range items {
		items[i] = &service.BulkItem{DeviceID: fmt.Sprint("d", i), Mode: service.BulkCreate, Tags: map[string]any{"n": i}}
	}
	if err := c.Bulk(ctx, items); err != nil {
		t.Fatal(err)
	}
	if s, err := c.RegistryStatistics(ctx); err != nil || s.Total != 150 {
		t.Errorf("%+v %v", s, err)
	}
	tw, err := c.GetTwin(ctx, "d149", "")
	if err != nil || string(tw.Tags) != `{"n":149}` {
		t.Errorf("%+v %v", tw, err)
	}
	err = c.Bulk(ctx, []*service.BulkItem{
		{DeviceID: "d0", Mode: service.BulkCreate},
		{DeviceID: "d1", Mode: service.BulkUpdateTwinIfMatch, TwinETag: "old", Tags: map[string]any{}},
		{DeviceID: "d2", Mode: service.BulkDelete},
		{DeviceID: "d3", ModuleID: "m", Mode: service.BulkCreate},
	})
	b, ok := errors.AsType[*service.BulkError](err)
	if !ok || len(b.Items) != 2 || b.Items[0].DeviceID != "d0" || b.Items[1].DeviceID != "d1" {
		t.Fatal(err)
	}
	wantKind(t, b.Items[0].Err, iothub.KindConflict, 409001)
	wantKind(t, b.Items[1].Err, iothub.KindPreconditionFailed, 412001)
	_, err = c.GetDevice(ctx, "d2")
	wantKind(t, err, iothub.KindNotFound, 404001)
	if _, err := c.GetModule(ctx, "d3", "m"); err != nil {
		t.Error(err)
	}
}

func TestRegenerateKeys(t *testing.T) {
	c, ctx := connect(t, startHub(t, nil), nil), t.Context()
	d, err := c.CreateDevice(ctx, &service.Device{DeviceID: "dev1"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.RegenerateKeys(ctx, service.SecondaryKey, iothub.Identity{DeviceID: "dev1"})
	old := d.Authentication.SymmetricKey
	if err != nil || len(k) != 1 || k[0].Primary != old.Primary || k[0].Secondary == old.Secondary || k[0].Secondary == "" {
		t.Errorf("%+v %v", k, err)
	}
	k, err = c.RegenerateKeys(ctx, service.BothKeys, iothub.Identity{DeviceID: "dev1"}, iothub.Identity{DeviceID: "nobody"})
	b, ok := errors.AsType[*service.BulkError](err)
	if len(k) != 1 || !ok || len(b.Items) != 1 || b.Items[0].DeviceID != "nobody" || iothub.KindOf(err) != iothub.KindNotFound {
		t.Errorf("%+v %v", k, err)
	}
	_, err = c.RegenerateKeys(ctx, service.BothKeys)
	wantKind(t, err, iothub.KindInvalidArgument, 0)
}

func TestDigitalTwins(t *testing.T) {
	s := startHub(t, nil)
	c, ctx := connect(t, s, nil), t.Context()
	if _, err := s.CreateDevice(ctx, "dev1"); err != nil {
		t.Fatal(err)
	}
	d, err := c.GetDigitalTwin(ctx, "dev1")
	if err != nil || d.ETag == "" {
		t.Fatalf("%+v %v", d, err)
	}
	etag, err := c.PatchDigitalTwin(ctx, "dev1", []map[string]any{{"op": "add", "path": "/targetTemperature", "value": 21.5}}, d.ETag)
	if err != nil || etag == "" || etag == d.ETag {
		t.Errorf("%q %v", etag, err)
	}
	tw, err := c.GetTwin(ctx, "dev1", "")
	if err != nil || string(tw.Properties.Desired.Values) != `{"targetTemperature":21.5}` {
		t.Errorf("%+v %v", tw, err)
	}
	_, err = c.PatchDigitalTwin(ctx, "dev1", []map[string]any{{"op": "add", "path": "/x", "value": 1}}, d.ETag)
	wantKind(t, err, iothub.KindPreconditionFailed, 412001)
	dev := connectDevice(t, s, "dev1")
	dev.HandleMethod("", func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 202, Payload: []byte(`"` + r.Name + `"`)}
	})
	for component, want := range map[string]string{"": `"reboot"`, "thermostat1": `"thermostat1*reboot"`} {
		a, err := c.InvokeCommand(ctx, "dev1", component, "reboot", nil, &service.MethodOptions{ConnectTimeout: 20e9})
		if err != nil || a.Status != 202 || string(a.Payload) != want {
			t.Errorf("%+v %v", a, err)
		}
	}
}
