package httpfront_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/sas"
)

const scopePath = "/devices/gw/modules/$edgeHub/"

type scopePage struct {
	Devices []struct {
		DeviceID, GenerationID, Status, DeviceScope string
		ParentScopes                                []string
		Authentication                              core.Authentication
		Capabilities                                struct{ IoTEdge bool }
	}
	Modules          []struct{ DeviceID, ModuleID, GenerationID string }
	ContinuationLink *string
}

func (p *scopePage) ids() (ids []string) {
	for _, d := range p.Devices {
		ids = append(ids, d.DeviceID)
	}
	return ids
}

// signed is a token for an identity with the primary key of a device or module.
func (w *world) signed(device, module string, a core.Authentication, lifetime time.Duration) string {
	w.t.Helper()
	return sas.Sign(sas.Resource("hub.example", device, module), keyBytes(w.t, string(a.SymmetricKey.PrimaryKey)), time.Now().Add(lifetime), "")
}

func TestScope(t *testing.T) {
	w := newWorld(t)
	create := func(d core.Device) core.Device {
		d, err := w.hub.CreateDevice(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	edge := create(core.Device{DeviceID: "gw", Capabilities: core.Capabilities{IoTEdge: true}})
	other := create(core.Device{DeviceID: "other", Capabilities: core.Capabilities{IoTEdge: true}, ParentScopes: []string{edge.DeviceScope}})
	for i := range 5 {
		create(core.Device{DeviceID: fmt.Sprint("leaf", i), DeviceScope: edge.DeviceScope})
	}
	create(core.Device{DeviceID: "deep", DeviceScope: other.DeviceScope})
	alone := create(core.Device{DeviceID: "alone"})
	hub, err := w.hub.GetModule("gw", "$edgeHub")
	if err != nil {
		t.Fatal(err)
	}
	agent, err := w.hub.GetModule("gw", "$edgeAgent")
	if err != nil {
		t.Fatal(err)
	}
	token := w.signed("gw", "$edgeHub", hub.Authentication, time.Hour)

	list := scopePath + "devicesAndModulesInDeviceScope?api-version=2018-08-30-preview&deviceCount=3&continuationToken="
	var ids []string
	for pages := 1; ; pages++ {
		resp, text := w.do("GET", list, token, "", "")
		if resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, text)
		}
		page := decode[scopePage](t, text)
		ids = append(ids, page.ids()...)
		if len(page.Devices) > 3 {
			t.Errorf("a page has %d devices", len(page.Devices))
		}
		if page.ContinuationLink == nil {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		list = *page.ContinuationLink // relative
	}
	if want := []string{"gw", "leaf0", "leaf1", "leaf2", "leaf3", "leaf4", "other"}; !slices.Equal(ids, want) {
		t.Errorf("got %v, want %v", ids, want)
	}

	one := func(query string) scopePage {
		_, text := w.do("GET", scopePath+"deviceAndModuleInDeviceScope?api-version=2018-08-30-preview&"+query, token, "", "")
		return decode[scopePage](t, text)
	}
	p := one("targetDeviceId=leaf1")
	if len(p.Devices) != 1 || p.Devices[0].Authentication.SymmetricKey.PrimaryKey == "" || p.Devices[0].DeviceScope != edge.DeviceScope ||
		p.Devices[0].Status != "enabled" || p.Devices[0].Authentication.Type != "sas" || len(p.Modules) != 0 {
		t.Errorf("got %d devices, %d modules", len(p.Devices), len(p.Modules))
	}
	if p := one("targetDeviceId=gw&targetModuleId=$edgeAgent"); len(p.Devices) != 1 || len(p.Modules) != 1 || p.Modules[0].ModuleID != "$edgeAgent" {
		t.Errorf("got %d devices, %d modules", len(p.Devices), len(p.Modules))
	}
	for _, query := range []string{"targetDeviceId=deep", "targetDeviceId=alone", "targetDeviceId=nobody", "targetDeviceId=leaf1&targetModuleId=x"} {
		if p := one(query); len(p.Devices)+len(p.Modules) != 0 {
			t.Errorf("%s: got %v", query, p.ids())
		}
	}

	testNestedScope(t, w, token)
	testScopeRefusals(t, w, token, map[string]string{
		"nobody":             "",
		"expired":            w.signed("gw", "$edgeHub", hub.Authentication, -time.Hour),
		"another module":     w.signed("gw", "$edgeAgent", agent.Authentication, time.Hour),
		"another key":        w.signed("gw", "$edgeHub", agent.Authentication, time.Hour),
		"a leaf":             w.signed("leaf1", "", alone.Authentication, time.Hour),
		"the owner":          "iothubowner",
		"another edge's hub": w.signed("other", "$edgeHub", other.Authentication, time.Hour),
	})
}

// testNestedScope asks in the newer form.
func testNestedScope(t *testing.T, w *world, token string) {
	nested := func(what, body string) (int, scopePage) {
		resp, text := w.do("POST", scopePath+what+"?api-version=2020-06-30-preview", token, "", body)
		if resp.StatusCode != 200 {
			return resp.StatusCode, scopePage{}
		}
		return 200, decode[scopePage](t, text)
	}
	_, p := nested("devicesAndModulesInTargetDeviceScope", `{"pageSize":1,"continuationLink":null,"authChain":"other;gw"}`)
	if !slices.Equal(p.ids(), []string{"deep"}) || p.ContinuationLink == nil {
		t.Fatalf("got %v", p.ids())
	}
	_, p = nested("devicesAndModulesInTargetDeviceScope", `{"pageSize":1,"continuationLink":"`+*p.ContinuationLink+`","authChain":"other;gw"}`)
	if !slices.Equal(p.ids(), []string{"other"}) || p.ContinuationLink != nil {
		t.Errorf("got %v", p.ids())
	}
	if _, p = nested("getDeviceAndModuleOnBehalfOf", `{"targetDeviceId":"deep","authChain":"deep;other;gw"}`); !slices.Equal(p.ids(), []string{"deep"}) {
		t.Errorf("got %v", p.ids())
	}
	const targetScope, onBehalf = "devicesAndModulesInTargetDeviceScope", "getDeviceAndModuleOnBehalfOf"
	for _, forged := range [][2]string{
		{targetScope, `{"authChain":"alone;gw"}`},
		{targetScope, `{"authChain":"gw;other"}`},
		{targetScope, `{"authChain":""}`},
		{targetScope, `{"authChain":"leaf1;other;gw"}`},
		{onBehalf, `{"targetDeviceId":"alone","authChain":"deep;other;gw"}`},
		{onBehalf, `{"targetDeviceId":"alone","authChain":"alone;gw"}`},
		{onBehalf, `{"targetDeviceId":"deep","authChain":"deep;gw"}`},
		{onBehalf, `{"targetDeviceId":"deep","targetModuleId":"m","authChain":"deep/other;other;gw"}`},
	} {
		if status, p := nested(forged[0], forged[1]); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %v", forged[1], status, p.ids())
		}
	}
}

func testScopeRefusals(t *testing.T, w *world, token string, refusals map[string]string) {
	for name, refused := range refusals {
		for _, call := range []string{"GET devicesAndModulesInDeviceScope", "GET deviceAndModuleInDeviceScope",
			"POST devicesAndModulesInTargetDeviceScope", "POST getDeviceAndModuleOnBehalfOf"} {
			method, what, _ := strings.Cut(call, " ")
			resp, text := w.do(method, scopePath+what+"?api-version=2018-08-30-preview&targetDeviceId=gw", refused, "", `{"authChain":"gw","targetDeviceId":"gw"}`)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d %s", name, call, resp.StatusCode, text)
			}
		}
	}
	for _, query := range []string{"deviceCount=-1", "deviceCount=1001", "deviceCount=x"} {
		w.wantError(400, "ArgumentInvalid", "GET", scopePath+"devicesAndModulesInDeviceScope?api-version=x&"+query, token, "", "")
	}
	w.wantError(400, "ArgumentNull", "GET", scopePath+"deviceAndModuleInDeviceScope?api-version=x", token, "", "")
}

// An IoT Edge device keeps its own modules with its own key, and nothing else.
func TestEdgeDeviceKeepsItsModules(t *testing.T) {
	w := newWorld(t)
	create := func(d core.Device) core.Device {
		d, err := w.hub.CreateDevice(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	edge := create(core.Device{DeviceID: "gw", Capabilities: core.Capabilities{IoTEdge: true}})
	plain := create(core.Device{DeviceID: "plain"})
	other := create(core.Device{DeviceID: "other", Capabilities: core.Capabilities{IoTEdge: true}})
	agent, err := w.hub.GetModule("gw", "$edgeAgent")
	if err != nil {
		t.Fatal(err)
	}
	own := w.signed("gw", "", edge.Authentication, time.Hour)
	for _, step := range []struct {
		status       int
		method, path string
		body         string
	}{
		{200, "PUT", "/devices/gw/modules/m", `{"managedBy":"IotEdge"}`},
		{200, "GET", "/devices/gw/modules/m", ""},
		{200, "GET", "/devices/gw/modules/$edgeAgent", ""},
		{200, "GET", "/devices/gw/modules", ""},
		{204, "DELETE", "/devices/gw/modules/m", ""},
		{401, "DELETE", "/devices/gw/modules/$edgeHub", ""},
		{401, "GET", "/devices/gw", ""},
		{401, "DELETE", "/devices/gw", ""},
		{401, "GET", "/twins/gw/modules/$edgeAgent", ""},
		{401, "GET", "/devices/other/modules", ""},
		{401, "PUT", "/devices/other/modules/m", "{}"},
		{401, "GET", "/devices/nobody/modules", ""},
	} {
		if resp, text := w.do(step.method, step.path, own, "", step.body); resp.StatusCode != step.status {
			t.Errorf("%s %s: %d %s", step.method, step.path, resp.StatusCode, text)
		}
	}
	for name, token := range map[string]string{
		"a module":            w.signed("gw", "$edgeAgent", agent.Authentication, time.Hour),
		"a module's key":      w.signed("gw", "", agent.Authentication, time.Hour),
		"another edge device": w.signed("other", "", other.Authentication, time.Hour),
		"another key":         w.signed("gw", "", other.Authentication, time.Hour),
		"expired":             w.signed("gw", "", edge.Authentication, -time.Hour),
		"the policy device":   "device",
	} {
		w.wantStatus(http.StatusUnauthorized, name, "PUT", "/devices/gw/modules/x", token)
	}
	w.wantStatus(http.StatusUnauthorized, "no edge device", "PUT", "/devices/plain/modules/x", w.signed("plain", "", plain.Authentication, time.Hour))
	if list, err := w.hub.ListModules("gw"); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}

func (w *world) wantStatus(status int, name, method, path, token string) {
	w.t.Helper()
	if resp, text := w.do(method, path, token, "", "{}"); resp.StatusCode != status {
		w.t.Errorf("%s: %d %s", name, resp.StatusCode, text)
	}
}
