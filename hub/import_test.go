package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub"
)

const importedKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// Many identities are made in one call, which says what of it failed.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	s, ctx := start(t, &hub.Options{DataDir: dir}), t.Context()
	var items []hub.ImportItem
	for i := range 200 {
		id := hub.Identity{DeviceID: fmt.Sprintf("d%03d", i)}
		items = append(items, hub.ImportItem{Identity: id, Mode: hub.ImportCreate, Tags: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))})
		id.ModuleID = "m" // behind its device
		items = append(items, hub.ImportItem{Identity: id, Desired: json.RawMessage(`{"on":true}`)})
	}
	items = append(items,
		hub.ImportItem{Identity: hub.Identity{DeviceID: "edge", PrimaryKey: importedKey, SecondaryKey: importedKey, Disabled: true}, IoTEdge: true})
	if err := s.Import(ctx, items); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		n := 0
		for _, id := range s.Identities() {
			if n++; id.PrimaryKey == "" || id.DeviceID == "edge" && id.ModuleID == "" && (id.PrimaryKey != importedKey || !id.Disabled) {
				t.Errorf("%s has no key, or another one", id)
			}
		}
		if n != 200*2+3 { // edge has two modules by itself
			t.Errorf("%d identities", n)
		}
		twin, err := s.Twin(ctx, "d123", "")
		module, errM := s.Twin(ctx, "d123", "m")
		if err != nil || errM != nil || string(twin.Tags) != `{"n":123}` || !strings.Contains(string(module.Desired), `"on":true`) {
			t.Errorf("%+v %+v %v %v", twin, module, err, errM)
		}
	}
	check()
	shutdown(t, s)
	s = start(t, &hub.Options{DataDir: dir})
	check()

	keys := func(id string) hub.Identity {
		got, err := s.CreateDevice(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	before, twin := keys("d000"), func() *hub.Twin {
		got, err := s.Twin(ctx, "d000", "")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := twin()
	d := func(id string) hub.Identity { return hub.Identity{DeviceID: id} }
	err := s.Import(ctx, []hub.ImportItem{
		{Identity: d("d000"), ETag: first.DeviceETag, Tags: json.RawMessage(`{"n":null,"m":1}`)}, // keeps its keys
		{Identity: d("d001"), Mode: hub.ImportCreate},
		{Identity: d("nobody"), Mode: hub.ImportUpdate},
		{Identity: d("d002"), Mode: hub.ImportDelete},
		{Identity: d("d003"), Mode: hub.ImportDelete, ETag: "old"},
		{Identity: d("new"), Mode: hub.ImportCreate, ETag: "old"},
		{Identity: d("d004"), Mode: hub.ImportUpdateTwin, Desired: json.RawMessage(`{"x":1}`), ETag: "*"},
		{Identity: d("d005"), Mode: "magic"},
		{Identity: d("a/b")},
		{Identity: d("d006"), Tags: json.RawMessage(`7`)},
	})
	failed, ok := errors.AsType[*hub.ImportError](err)
	if !ok || failed.Total != 10 || !strings.Contains(err.Error(), "7 of 10 failed, first d001") {
		t.Fatal(err)
	}
	want := map[int]int{1: 409001, 2: 404001, 4: 412001, 5: 400004, 7: 400004, 8: 400004, 9: 400004}
	for _, f := range failed.Failed {
		wantCode(t, f.Err, want[f.Index])
		delete(want, f.Index)
	}
	if len(want) > 0 {
		t.Errorf("these did not fail: %v", want)
	}
	if after := keys("d000"); after != before || string(twin().Tags) != `{"m":1}` {
		t.Errorf("d000 has other keys, or the tags %s", twin().Tags)
	}
	if s.HasIdentity("d002", "") || !s.HasIdentity("d003", "") || s.HasIdentity("new", "") {
		t.Error("deleted or made what it should not")
	}

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Import(gone, []hub.ImportItem{{Identity: d("late")}}); !errors.Is(err, context.Canceled) || s.HasIdentity("late", "") {
		t.Error(err)
	}
	shutdown(t, s)
	if err := s.Import(ctx, nil); !errors.Is(err, hub.ErrServerClosed) {
		t.Error(err)
	}
}
