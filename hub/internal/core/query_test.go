package core_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// ask reads all pages of a query.
func ask(t *testing.T, h *core.Hub, text string, pageSize int) (itemType string, rows []string) {
	t.Helper()
	for continuation := ""; ; {
		page, err := h.Query(t.Context(), text, pageSize, continuation)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if len(page.Rows) > pageSize {
			t.Errorf("a page of %d rows", len(page.Rows))
		}
		for _, r := range page.Rows {
			rows = append(rows, string(r))
		}
		if continuation = page.Continuation; continuation == "" {
			return page.ItemType, rows
		}
	}
}

func patchTwin(t *testing.T, h *core.Hub, device, module, patch string) {
	t.Helper()
	if _, err := h.UpdateTwin(t.Context(), device, module, []byte(patch), core.AnyETag); err != nil {
		t.Fatal(err)
	}
}

// fleet makes ten devices, of which odd ones are in the attic.
func fleet(t *testing.T) *core.Hub {
	h := memoryHub(t)
	for i := range 10 {
		id := fmt.Sprintf("d%d", i)
		createDevice(t, h, core.Device{DeviceID: id})
		room := "cellar"
		if i%2 == 1 {
			room = "attic"
		}
		patchTwin(t, h, id, "", fmt.Sprintf(`{"tags":{"room":%q,"n":%d},"properties":{"desired":{"deep":{"x":%d}}}}`, room, i, i))
	}
	createModule(t, h, core.Module{DeviceID: "d1", ModuleID: "m1"})
	createModule(t, h, core.Module{DeviceID: "d1", ModuleID: "m2"})
	patchTwin(t, h, "d1", "m2", `{"properties":{"desired":{"on":true}}}`)
	return h
}

func TestQuery(t *testing.T) {
	h := fleet(t)
	a := attach(t, h, login(t, h, "d3", "", deviceOf(t, h, "d3").Authentication), nil)
	defer a.Detach()
	mustReport(t, a, `{"temp":21.5}`)
	for text, want := range map[string]string{
		"SELECT deviceId FROM devices WHERE tags.room = 'attic' AND tags.n > 3":                                                                `{"deviceId":"d5"} {"deviceId":"d7"} {"deviceId":"d9"}`,
		"SELECT TOP 3 deviceId AS id FROM devices":                                                                                             `{"id":"d0"} {"id":"d1"} {"id":"d2"}`,
		"SELECT deviceId FROM devices WHERE connectionState = 'Connected'":                                                                     `{"deviceId":"d3"}`,
		"SELECT deviceId, properties.reported.temp FROM devices WHERE properties.reported.temp > 20 and properties.reported.$version = 2":      `{"deviceId":"d3","temp":21.5}`,
		"SELECT deviceId, moduleId FROM devices.modules WHERE properties.desired.on":                                                           `{"deviceId":"d1","moduleId":"m2"}`,
		"SELECT COUNT() AS n, tags.room AS room FROM devices GROUP BY tags.room":                                                               `{"n":5,"room":"attic"} {"n":5,"room":"cellar"}`,
		"SELECT AVG(tags.n) AS mean FROM devices":                                                                                              `{"mean":4.5}`,
		"SELECT deviceId FROM devices WHERE tags.n < 3 ORDER BY tags.n DESC":                                                                   `{"deviceId":"d2"} {"deviceId":"d1"} {"deviceId":"d0"}`,
		"SELECT deviceId FROM devices WHERE properties.desired.$metadata.deep.x.$lastUpdated > '2020-01-01T00:00:00Z' AND tags.n = 0":          `{"deviceId":"d0"}`,
		"SELECT deviceId FROM devices WHERE status = 'enabled' AND capabilities.iotEdge = false AND authenticationType = 'sas' AND tags.n = 4": `{"deviceId":"d4"}`,
		"SELECT deviceId FROM devices WHERE is_defined(properties.desired.deep) AND tags.n in [6]":                                             `{"deviceId":"d6"}`,
		"SELECT properties.desired.deep.x FROM devices WHERE tags.n = 7":                                                                       `{"x":7}`,
		"SELECT deviceId FROM devices WHERE lastActivityTime > '2020-01-01T00:00:00Z'":                                                         `{"deviceId":"d3"}`,
	} {
		for _, size := range []int{1, 3, 1000} {
			itemType, rows := ask(t, h, text, size)
			if got := strings.Join(rows, " "); got != want || itemType != core.ItemRaw {
				t.Errorf("%s, pages of %d: %s %s\nwant %s", text, size, itemType, got, want)
			}
		}
	}
	for text, want := range map[string]int{
		"SELECT * FROM devices":                                 10,
		"SELECT TOP 7 * FROM devices":                           7,
		"SELECT * FROM devices.modules":                         2,
		"SELECT * FROM devices WHERE tags.none != 1":            0,
		"SELECT * FROM devices WHERE deviceId NIN ['d1', 'd2']": 8,
		"SELECT * FROM devices WHERE startswith(deviceId, 'd') ORDER BY tags.room, deviceId DESC": 10,
	} {
		for _, size := range []int{1, 4, 1000} {
			itemType, rows := ask(t, h, text, size)
			ids := make(map[string]bool)
			for _, r := range rows {
				var twin core.Twin
				if err := json.Unmarshal([]byte(r), &twin); err != nil || twin.ETag == "" {
					t.Errorf("a row is %s", r)
				}
				ids[twin.DeviceID+"/"+twin.ModuleID] = true
			}
			if len(rows) != want || len(ids) != want || itemType != core.ItemTwin {
				t.Errorf("%s, pages of %d: %d rows %s, want %d", text, size, len(rows), itemType, want)
			}
		}
	}
}

func deviceOf(t *testing.T, h *core.Hub, id string) core.Device {
	t.Helper()
	d, err := h.GetDevice(id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPagesWhileDevicesComeAndGo: what matches all the while comes exactly once.
func TestPagesWhileDevicesComeAndGo(t *testing.T) {
	h := fleet(t)
	const text = "SELECT deviceId FROM devices"
	var got []string
	for continuation, n := "", 0; ; n++ {
		page, err := h.Query(t.Context(), text, 2, continuation)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rows {
			got = append(got, string(r))
		}
		if n == 1 {
			createDevice(t, h, core.Device{DeviceID: "a-new-one"})
			if err := h.DeleteDevice(t.Context(), "d0", core.AnyETag); err != nil {
				t.Fatal(err)
			}
			if err := h.DeleteDevice(t.Context(), "d9", core.AnyETag); err != nil {
				t.Fatal(err)
			}
		}
		if continuation = page.Continuation; continuation == "" {
			break
		}
	}
	var want []string
	for i := range 9 {
		want = append(want, fmt.Sprintf(`{"deviceId":"d%d"}`, i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	h := fleet(t)
	page, err := h.Query(t.Context(), "SELECT * FROM devices", 1, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text, continuation string
		size, code         int
		want               string
	}{
		{"", "", 0, core.CodeArgumentNull, "empty"},
		{"SELECT * FROM devices WHERE a == 1", "", 0, core.CodeArgumentInvalid, "column 31"},
		{"SELECT * FROM devices", "", 1001, core.CodeArgumentInvalid, "page size"},
		{"SELECT * FROM devices", "", -1, core.CodeArgumentInvalid, "page size"},
		{"SELECT * FROM devices", "%", 0, core.CodeArgumentInvalid, "not one of this hub's"},
		{"SELECT * FROM devices", "e30=", 0, core.CodeArgumentInvalid, "another query"},
		{"SELECT deviceId FROM devices", page.Continuation, 0, core.CodeArgumentInvalid, "another query"},
	} {
		_, err := h.Query(t.Context(), c.text, c.size, c.continuation)
		wantCode(t, err, c.code)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}
