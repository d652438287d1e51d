package httpfront_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// attachAs connects a device that announces a model.
func (w *world) attachAs(id identity, model string) *core.Attachment {
	w.t.Helper()
	a := w.attach(id)
	a.Detach()
	a, err := w.hub.Attach(a.Principal(), model, func(error) {})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.Detach)
	return a
}

func (w *world) report(a *core.Attachment, patch string) {
	w.t.Helper()
	done := make(chan error, 1)
	a.PatchReported([]byte(patch), func(_ uint64, err error) { done <- err })
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
}

// sameJSON compares two JSON texts, in which times stand as "T".
func (w *world) sameJSON(got, want string) {
	w.t.Helper()
	var g, x any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		w.t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &x); err != nil {
		w.t.Fatal(err)
	}
	hideTimes(g)
	if !reflect.DeepEqual(g, x) {
		w.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func hideTimes(v any) {
	object, _ := v.(map[string]any)
	for name, member := range object {
		if text, ok := member.(string); ok && name == "lastUpdateTime" && len(text) == len("2020-07-17T06:11:04.9309159Z") {
			object[name] = "T"
		}
		hideTimes(member)
	}
}

func TestDigitalTwin(t *testing.T) {
	w := newWorld(t)
	d := w.newDevice("dev1")
	resp, text := w.want(200, "GET", "/digitaltwins/dev1", "", "")
	w.sameJSON(text, `{"$dtId":"dev1","$metadata":{"$model":""}}`)
	if resp.Header.Get("ETag") != `"AAAAAAAAAAE="` {
		t.Errorf("%v", resp.Header)
	}
	a := w.attachAs(d, "dtmi:com:example:TemperatureController;1")
	w.report(a, `{"serialNumber":"8329","state":{"value":{"on":true},"ac":200,"av":1},"thermostat1":{"__t":"c","maxTemp":25.3}}`)

	resp, _ = w.want(202, "PATCH", "/digitaltwins/dev1", `"*"`, `[{"op":"add","path":"/thermostat1/targetTemperature","value":20.4},
		{"op":"replace","path":"/state/on","value":false},{"op":"add","path":"/fan/speed","value":3},
		{"op":"add","path":"/lamp","value":{"colour":"red","$metadata":{}}},{"op":"remove","path":"/old"}]`)
	if resp.Header.Get("ETag") != `"AAAAAAAAAAI="` || resp.Header.Get("Location") == "" {
		t.Errorf("%v", resp.Header)
	}
	twin := decode[twinBody](t, second(w.want(200, "GET", "/twins/dev1", "", "")))
	delete(twin.Properties.Desired, "$metadata")
	desired, err := json.Marshal(twin.Properties.Desired)
	if err != nil {
		t.Fatal(err)
	}
	w.sameJSON(string(desired), `{"thermostat1":{"__t":"c","targetTemperature":20.4},"state":{"on":false},
		"fan":{"__t":"c","speed":3},"lamp":{"__t":"c","colour":"red"},"$version":2}`)

	w.report(a, `{"thermostat1":{"__t":"c","targetTemperature":{"value":20.4,"ac":200,"av":2,"ad":"done"}}}`)
	_, text = w.want(200, "GET", "/digitaltwins/dev1", "", "")
	w.sameJSON(text, `{"$dtId":"dev1","serialNumber":"8329","state":{"on":true},"fan":{"$metadata":{"speed":{"desiredValue":3,"desiredVersion":2}}},
		"lamp":{"$metadata":{"colour":{"desiredValue":"red","desiredVersion":2}}},
		"thermostat1":{"maxTemp":25.3,"targetTemperature":20.4,"$metadata":{"maxTemp":{"lastUpdateTime":"T"},
			"targetTemperature":{"desiredValue":20.4,"desiredVersion":2,"ackVersion":2,"ackCode":200,"ackDescription":"done","lastUpdateTime":"T"}}},
		"$metadata":{"$model":"dtmi:com:example:TemperatureController;1","serialNumber":{"lastUpdateTime":"T"},
			"state":{"desiredValue":{"on":false},"desiredVersion":2,"ackVersion":1,"ackCode":200,"lastUpdateTime":"T"}}}`)

	w.wantError(412, "PreconditionFailed", "PATCH", "/digitaltwins/dev1", "service", `"AAAAAAAAAAE="`, `[{"op":"add","path":"/x","value":1}]`)
	w.wantError(404, "DeviceNotFound", "PATCH", "/digitaltwins/nobody", "service", "", `[]`)
	w.wantError(404, "DeviceNotFound", "GET", "/digitaltwins/nobody", "service", "", "")
	for _, bad := range []string{`[{"op":"move","path":"/x"}]`, `[{"op":"add","path":"x","value":1}]`, `[{"op":"add","path":"/x"}]`,
		`[{"op":"add","path":"/","value":1}]`, `[{"op":"add","path":"/$metadata/x","value":1}]`, `[{"op":"add","path":"/a b","value":1}]`} {
		w.wantError(400, "ArgumentInvalid", "PATCH", "/digitaltwins/dev1", "service", "", bad)
	}
	w.wantError(400, "IotHubFormatError", "PATCH", "/digitaltwins/dev1", "service", "", `{"x":1}`)
}

func TestCommands(t *testing.T) {
	w := newWorld(t)
	asked := w.answer(w.newDevice("dev1"), 201)
	for path, method := range map[string]string{
		"/digitaltwins/dev1/commands/reboot":                          "reboot",
		"/digitaltwins/dev1/components/thermostat1/commands/getMax":   "thermostat1*getMax",
		"/DigitalTwins/dev1/Components/thermostat1/Commands/setRange": "thermostat1*setRange",
	} {
		resp, text := w.want(200, "POST", path+"?api-version=2021-04-12&connectTimeoutInSeconds=0&responseTimeoutInSeconds=10", "", `{"delay":3}`)
		if _, ok := asked.Load(method); !ok || resp.Header.Get("x-ms-command-statuscode") != "201" || text == "" {
			t.Errorf("%s: %v %s", path, resp.Header, text)
		}
	}
	w.wantError(400, "ArgumentInvalid", "POST", "/digitaltwins/dev1/commands/x?api-version=1&responseTimeoutInSeconds=x", "service", "", "")
	w.wantError(404, "DeviceNotFound", "POST", "/digitaltwins/nobody/commands/x", "service", "", "")
}
