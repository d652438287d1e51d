package core_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// configWorld is a hub in virtual time.
type configWorld struct {
	t *testing.T
	h *core.Hub
}

// inConfigWorld runs a test in a bubble, where everything the hub has begun is
// done when synctest.Wait returns.
func inConfigWorld(t *testing.T, storage core.Storage, test func(t *testing.T, w *configWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, storage)
		if err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		test(t, &configWorld{t, h})
	})
}

func (w *configWorld) content(text string) core.ConfigurationContent {
	w.t.Helper()
	var c core.ConfigurationContent
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *configWorld) create(id string, priority int, condition, content string) core.Configuration {
	w.t.Helper()
	c, err := w.h.CreateConfiguration(w.t.Context(), core.Configuration{
		ID: id, Priority: priority, TargetCondition: condition, Content: w.content(content),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *configWorld) delete(id string) {
	w.t.Helper()
	if err := w.h.DeleteConfiguration(w.t.Context(), id, core.AnyETag); err != nil {
		w.t.Fatal(err)
	}
}

func (w *configWorld) patch(device, module, patch string) {
	w.t.Helper()
	if _, err := w.h.UpdateTwin(w.t.Context(), device, module, []byte(patch), core.AnyETag); err != nil {
		w.t.Fatal(err)
	}
}

// want checks the desired properties of a twin and the states of configurations
// in it, once all is quiet.
func (w *configWorld) want(device, module, desired, states string) {
	w.t.Helper()
	synctest.Wait()
	twin, err := w.h.GetTwin(device, module)
	if err != nil {
		w.t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(twin.Properties.Desired, &got); err != nil {
		w.t.Fatal(err)
	}
	delete(got, "$metadata")
	delete(got, "$version")
	text, err := json.Marshal(got)
	if err != nil {
		w.t.Fatal(err)
	}
	status := make(map[string]string)
	for id, c := range twin.Configurations {
		status[id] = c.Status
	}
	if string(text) != desired || fmt.Sprint(status) != "map["+states+"]" {
		w.t.Errorf("%s/%s: %s %v, want %s %s", device, module, text, status, desired, states)
	}
}

func TestDeviceConfigurations(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		createDevice(t, w.h, core.Device{DeviceID: "a"})
		createDevice(t, w.h, core.Device{DeviceID: "b"})
		w.patch("a", "", `{"tags":{"env":"prod"},"properties":{"desired":{"own":{"k":1}}}}`)
		w.create("low", 1, "*", `{"deviceContent":{"properties.desired.x":1,"properties.desired.own.low":{"deep":[1,2]}}}`)
		w.create("high", 10, "tags.env='prod'", `{"deviceContent":{"properties.desired.x":2,"properties.desired.y":"z"}}`)
		w.create("idle", 99, "", `{"deviceContent":{"properties.desired.never":1}}`)
		w.want("a", "", `{"own":{"k":1},"x":2,"y":"z"}`, "high:Applied low:Targeted")
		w.want("b", "", `{"own":{"low":{"deep":[1,2]}},"x":1}`, "low:Applied")

		// What somebody else changes is put back, what is theirs is left.
		w.patch("a", "", `{"properties":{"desired":{"x":99,"y":null,"mine":true}}}`)
		w.want("a", "", `{"mine":true,"own":{"k":1},"x":2,"y":"z"}`, "high:Applied low:Targeted")
		// A twin that leaves the condition, one that enters it, and a new one.
		w.patch("a", "", `{"tags":{"env":"test"}}`)
		w.want("a", "", `{"mine":true,"own":{"k":1,"low":{"deep":[1,2]}},"x":1}`, "low:Applied")
		w.patch("b", "", `{"tags":{"env":"prod"}}`)
		w.want("b", "", `{"x":2,"y":"z"}`, "high:Applied low:Targeted")
		createDevice(t, w.h, core.Device{DeviceID: "c"})
		w.want("c", "", `{"own":{"low":{"deep":[1,2]}},"x":1}`, "low:Applied")

		c, err := w.h.GetConfiguration(t.Context(), "high")
		if err != nil || c.SystemMetrics.Results["targetedCount"] != 1 || c.SystemMetrics.Results["appliedCount"] != 1 {
			t.Errorf("%+v %v", c, err)
		}
		low, err := w.h.GetConfiguration(t.Context(), "low")
		if err != nil || low.SystemMetrics.Results["targetedCount"] != 3 || low.SystemMetrics.Results["appliedCount"] != 2 ||
			low.SystemMetrics.Queries["appliedCount"] != "select deviceId from devices where configurations.[[low]].status = 'Applied'" {
			t.Errorf("%+v %v", low, err)
		}
		// Another priority, another condition, and away.
		low.Priority, low.TargetCondition = 20, "tags.env='prod'"
		if low, err = w.h.UpdateConfiguration(t.Context(), low, low.ETag); err != nil || low.ETag != "Mg==" {
			t.Fatal(low, err)
		}
		w.want("b", "", `{"own":{"low":{"deep":[1,2]}},"x":1}`, "high:Targeted low:Applied")
		w.want("c", "", `{}`, "")
		w.delete("low")
		w.want("b", "", `{"x":2,"y":"z"}`, "high:Applied")
		w.delete("high")
		w.want("b", "", `{}`, "")
		w.want("a", "", `{"mine":true,"own":{"k":1}}`, "")
	})
}

// TestConfigurationReachesTheDevice: a connected device is told like of any change.
func TestConfigurationReachesTheDevice(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		a := attachNew(t, w.h, "a")
		var told []string
		a.OnDesired(func(_ uint64, patch []byte) { told = append(told, string(patch)) })
		w.create("c", 1, "*", `{"deviceContent":{"properties.desired.x":1}}`)
		w.want("a", "", `{"x":1}`, "c:Applied")
		w.delete("c")
		w.want("a", "", `{}`, "")
		if fmt.Sprint(told) != `[{"x":1,"$version":2} {"x":null,"$version":3}]` {
			t.Errorf("%v", told)
		}
		a.Detach()
	})
}

// TestConfigurationAfterRestart: what was set before a restart is taken out after
// it, and what was missed is made up for.
func TestConfigurationAfterRestart(t *testing.T) {
	storage := memory.New(nil)
	inConfigWorld(t, storage, func(t *testing.T, w *configWorld) {
		createDevice(t, w.h, core.Device{DeviceID: "a"})
		w.create("c", 1, "*", `{"deviceContent":{"properties.desired.x":1}}`)
		w.want("a", "", `{"x":1}`, "c:Applied")
		createDevice(t, w.h, core.Device{DeviceID: "b"}) // nobody waits for its configuration
	})
	inConfigWorld(t, storage, func(t *testing.T, w *configWorld) {
		w.want("b", "", `{"x":1}`, "c:Applied")
		w.delete("c")
		w.want("a", "", `{}`, "")
		w.want("b", "", `{}`, "")
	})
	inConfigWorld(t, storage, func(t *testing.T, w *configWorld) { w.want("a", "", `{}`, "") })
}

func TestModuleConfigurations(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		createDevice(t, w.h, core.Device{DeviceID: "a"})
		createModule(t, w.h, core.Module{DeviceID: "a", ModuleID: "m"})
		createModule(t, w.h, core.Module{DeviceID: "a", ModuleID: "n"})
		w.patch("a", "m", `{"tags":{"k":"v"}}`)
		w.create("c", 1, "FROM devices.modules WHERE  tags.k='v'", `{"moduleContent":{"properties.desired.x":1}}`)
		w.create("all", 0, "from devices.modules", `{"moduleContent":{"properties.desired.x":0}}`)
		w.want("a", "m", `{"x":1}`, "all:Targeted c:Applied")
		w.want("a", "n", `{"x":0}`, "all:Applied")
		w.want("a", "", `{}`, "")
	})
}

func TestEdgeDeployments(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		createDevice(t, w.h, core.Device{DeviceID: "edge", Capabilities: core.Capabilities{IoTEdge: true}})
		createDevice(t, w.h, core.Device{DeviceID: "leaf"})
		w.create("base", 5, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired":{"modules":{"f":{"version":"1.0"}}}},
			"$edgeHub":{"properties.desired":{"routes":{}}},"f":{"properties.desired.k":1}}}`)
		w.create("layer", 6, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired.modules.g":{"version":"2"}}}}`)
		w.create("below", 4, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired.modules.h":{"version":"3"}}}}`)
		w.want("edge", "$edgeAgent", `{"modules":{"f":{"version":"1.0"},"g":{"version":"2"}}}`, "base:Applied below:Targeted layer:Applied")
		w.want("edge", "$edgeHub", `{"routes":{}}`, "")
		w.want("edge", "f", `{"k":1}`, "")
		w.want("edge", "", `{}`, "base:Applied below:Targeted layer:Applied")
		w.want("leaf", "", `{}`, "")

		// A module configuration and the deployment do not undo each other.
		w.create("mods", 50, "from devices.modules", `{"moduleContent":{"properties.desired.k":2}}`)
		w.want("edge", "f", `{"k":1}`, "mods:Targeted")
		w.delete("mods")

		agent, err := w.h.GetModule("edge", "$edgeAgent")
		if err != nil {
			t.Fatal(err)
		}
		a := attach(t, w.h, login(t, w.h, "edge", "$edgeAgent", agent.Authentication), nil)
		defer a.Detach()
		twin, err := w.h.GetTwin("edge", "$edgeAgent")
		if err != nil {
			t.Fatal(err)
		}
		var desired struct {
			Version int `json:"$version"`
		}
		if err := json.Unmarshal(twin.Properties.Desired, &desired); err != nil {
			t.Fatal(err)
		}
		report := func(code int) core.Configuration {
			t.Helper()
			a.PatchReported(fmt.Appendf(nil, `{"lastDesiredVersion":%d,"lastDesiredStatus":{"code":%d}}`, desired.Version, code), func(_ uint64, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			c, err := w.h.GetConfiguration(t.Context(), "base")
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if r := report(200).SystemMetrics.Results; fmt.Sprint(r) != "map[appliedCount:1 reportedFailedCount:0 reportedSuccessfulCount:1 targetedCount:1]" {
			t.Error(r)
		}
		if r := report(412).SystemMetrics.Results; r["reportedFailedCount"] != 1 || r["reportedSuccessfulCount"] != 0 {
			t.Error(r)
		}
		w.delete("layer")
		w.want("edge", "$edgeAgent", `{"modules":{"f":{"version":"1.0"}}}`, "base:Applied below:Targeted")
		w.delete("base")
		w.want("edge", "$edgeAgent", `{}`, "below:Targeted")
		w.want("edge", "f", `{}`, "")
	})
}

func TestApplyConfigurationContent(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		createDevice(t, w.h, core.Device{DeviceID: "edge", Capabilities: core.Capabilities{IoTEdge: true}})
		createDevice(t, w.h, core.Device{DeviceID: "d"})
		apply := func(device, content string) error {
			return w.h.ApplyConfigurationContent(t.Context(), device, w.content(content))
		}
		if err := apply("d", `{"deviceContent":{"properties.desired.a.b":1}}`); err != nil {
			t.Fatal(err)
		}
		w.want("d", "", `{"a":{"b":1}}`, "")
		if err := apply("edge", `{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.1"}},"f":{"properties.desired":{"k":1}}}}`); err != nil {
			t.Fatal(err)
		}
		w.want("edge", "$edgeAgent", `{"schemaVersion":"1.1"}`, "")
		w.want("edge", "f", `{"k":1}`, "")
		if m, err := w.h.GetModule("edge", "f"); err != nil || m.ManagedBy != "iotEdge" {
			t.Error(m, err)
		}
		wantCode(t, apply("nobody", `{"deviceContent":{"properties.desired.a":1}}`), core.CodeDeviceNotFound)
		wantCode(t, apply("d", `{"modulesContent":{"f":{"properties.desired.a":1}}}`), core.CodeInvalidConfigContent)
		wantCode(t, apply("d", `{"moduleContent":{"properties.desired.a":1}}`), core.CodeInvalidConfigContent)
	})
}

func TestInvalidConfigurations(t *testing.T) {
	inConfigWorld(t, memory.New(nil), func(t *testing.T, w *configWorld) {
		create := func(c core.Configuration) error {
			_, err := w.h.CreateConfiguration(t.Context(), c)
			return err
		}
		good := w.content(`{"deviceContent":{"properties.desired.x":1}}`)
		for _, content := range []string{`{}`, `{"deviceContent":{}}`, `{"deviceContent":{"properties.reported.x":1}}`, `{"deviceContent":{"properties.desired.":1}}`,
			`{"deviceContent":{"properties.desired.a b":1}}`, `{"deviceContent":{"properties.desired.a":null}}`, `{"deviceContent":{"properties.desired":1}}`,
			`{"deviceContent":{"properties.desired.a":1,"properties.desired.a.b":2}}`, `{"deviceContent":{"properties.desired.a":1},"moduleContent":{"properties.desired.a":1}}`,
			`{"modulesContent":{"a b":{"properties.desired.a":1}}}`} {
			wantCode(t, create(core.Configuration{ID: "c", Content: w.content(content)}), core.CodeInvalidConfigContent)
		}
		wantCode(t, create(core.Configuration{ID: "C", Content: good}), core.CodeArgumentInvalid)
		wantCode(t, create(core.Configuration{Content: good}), core.CodeArgumentNull)
		wantCode(t, create(core.Configuration{ID: "c", Content: good, Priority: -1}), core.CodeArgumentInvalid)
		wantCode(t, create(core.Configuration{ID: "c", Content: good, TargetCondition: "?"}), core.CodeInvalidTargetCondition)
		wantCode(t, create(core.Configuration{ID: "c", Content: good, TargetCondition: "from devices.modules"}), core.CodeInvalidTargetCondition)
		wantCode(t, create(core.Configuration{ID: "c", Content: good, Metrics: core.ConfigurationMetrics{Queries: map[string]string{"m": " "}}}), core.CodeInvalidMetricsQuery)

		c := w.create("c", 0, "*", `{"deviceContent":{"properties.desired.x":1}}`)
		wantCode(t, create(core.Configuration{ID: "c", Content: good}), core.CodeConfigurationAlreadyExists)
		c.Content = w.content(`{"deviceContent":{"properties.desired.x":2}}`)
		_, err := w.h.UpdateConfiguration(t.Context(), c, core.AnyETag)
		wantCode(t, err, core.CodeImmutableConfigContent)
		c.Content = w.content(`{"deviceContent":{"properties.desired.x": 1}}`)
		_, err = w.h.UpdateConfiguration(t.Context(), c, "MTA=")
		wantCode(t, err, core.CodePreconditionFailed)
		_, err = w.h.UpdateConfiguration(t.Context(), core.Configuration{ID: "none"}, core.AnyETag)
		wantCode(t, err, core.CodeConfigurationNotFound)
		wantCode(t, w.h.DeleteConfiguration(t.Context(), "c", "MTA="), core.CodePreconditionFailed)
		for i := 1; i < 100; i++ {
			w.create(fmt.Sprint(i), 0, "", `{"deviceContent":{"properties.desired.x":1}}`)
		}
		wantCode(t, create(core.Configuration{ID: "more", Content: good}), core.CodeConfigurationCountLimit)
		if list := w.h.ListConfigurations(t.Context(), 7); len(list) != 7 || list[0].ID != "1" {
			t.Errorf("%d", len(list))
		}
		tested := w.h.TestConfigurationQueries("?", map[string]string{"good": "select deviceId from devices", "bad": ""})
		if tested.TargetConditionError == nil || tested.CustomMetricQueryErrors["good"] != nil || tested.CustomMetricQueryErrors["bad"] == nil {
			t.Errorf("%+v", tested)
		}
	})
}
