package edgehub_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/module"
	"github.com/iothub-go/iothub/service"
)

func (w *world) setDesired(device, moduleID, properties string) {
	w.t.Helper()
	if _, err := w.up.UpdateTwin(bound(w.t), device, moduleID, []byte(`{"properties":{"desired":`+properties+`}}`), ""); err != nil {
		w.t.Fatal(err)
	}
}

// reported are the reported properties upstream.
func (w *world) reported(device, moduleID string) map[string]any {
	w.t.Helper()
	twin, err := w.up.Twin(w.t.Context(), device, moduleID)
	if err != nil {
		w.t.Fatal(err)
	}
	v := decode(w.t, twin.Reported)
	delete(v, "$version")
	delete(v, "$metadata")
	return v
}

func (w *world) wantReported(device, moduleID, want string) {
	w.t.Helper()
	wanted := decode(w.t, []byte(want))
	until(w.t, "reported is "+want, func() bool { return reflect.DeepEqual(w.reported(device, moduleID), wanted) })
}

// The first twin that a module reads is that upstream, with its version.
func TestTwinComesDown(t *testing.T) {
	w := newWorld(t)
	w.setDesired("gw", "a", `{"interval":5,"deep":{"x":[1,2]}}`)
	w.setDesired("gw", "a", `{"other":true}`)
	w.start(nil)
	a := w.module("a")
	twin, err := a.Twin(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := decode(t, []byte(`{"interval":5,"deep":{"x":[1,2]},"other":true}`)); !reflect.DeepEqual(decode(t, twin.Desired.Values), want) || twin.Desired.Version != 3 {
		t.Errorf("got %s, version %d", twin.Desired.Values, twin.Desired.Version)
	}

	changes := make(chan *iothub.DesiredChange, 10)
	if err := a.HandleDesired(func(c *iothub.DesiredChange) { changes <- c }); err != nil {
		t.Fatal(err)
	}
	if c := <-changes; !c.Complete || c.Version != 3 {
		t.Errorf("got %s, version %d", c.Patch, c.Version)
	}
	w.setDesired("gw", "a", `{"interval":6,"deep":{"x":null},"other":true}`)
	if c := <-changes; c.Version != 4 || !reflect.DeepEqual(decode(t, c.Patch), decode(t, []byte(`{"interval":6,"deep":{"x":null}}`))) {
		t.Errorf("got %s, version %d", c.Patch, c.Version)
	}

	// What changes while the cable is cut is told afterwards.
	w.cable.set(true)
	w.setDesired("gw", "a", `{"interval":7}`)
	w.setDesired("gw", "a", `{"late":1}`)
	w.cable.set(false)
	if c := <-changes; c.Version != 6 || !reflect.DeepEqual(decode(t, c.Patch), decode(t, []byte(`{"interval":7,"late":1}`))) {
		t.Errorf("got %s, version %d", c.Patch, c.Version)
	}
}

// Changes that follow each other deep inside a twin end in the same twin here.
func TestDesiredChangesFollowEachOther(t *testing.T) {
	const changes = 300
	w := newWorld(t)
	w.start(nil)
	a := w.module("a")
	last := make(chan struct{})
	err := a.HandleDesired(func(c *iothub.DesiredChange) {
		deep, _ := decode(t, c.Patch)["deep"].(map[string]any)
		if deep["n"] == float64(changes-1) {
			close(last)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range changes {
		w.setDesired("gw", "a", fmt.Sprintf(`{"deep":{"n":%d,"k%d":{"v":%d}}}`, i, i%40, i))
	}
	select {
	case <-last:
	case <-bound(t).Done():
		t.Fatal("the last change never came")
	}
}

// What is reported without a connection goes up as what became of it, also after a
// restart, and leaves alone what is upstream already.
func TestReportedGoesUp(t *testing.T) {
	w := newWorld(t)
	direct, err := module.NewClientFromConnectionString(must(t)(w.up.ModuleConnectionString("gw", "a")), &iothub.ClientOptions{TLS: w.options().Upstream.TLS})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := direct.UpdateReported(bound(t), `{"earlier":1}`); err != nil {
		t.Fatal(err)
	}
	within(t, direct.Close)
	w.start(nil)
	a := w.module("a")
	report := func(patch string) {
		t.Helper()
		if _, err := a.UpdateReported(bound(t), patch); err != nil {
			t.Fatal(err)
		}
	}
	report(`{"n":1,"deep":{"x":1,"y":2}}`)
	w.wantReported("gw", "a", `{"earlier":1,"n":1,"deep":{"x":1,"y":2}}`)
	twin, err := a.Twin(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := decode(t, twin.Reported.Values); got["earlier"] != 1.0 || got["n"] != 1.0 {
		t.Errorf("here it is %s", twin.Reported.Values)
	}

	w.cable.set(true)
	for i := range 100 {
		report(fmt.Sprintf(`{"n":%d}`, i))
	}
	report(`{"deep":{"x":null},"earlier":null}`)
	w.restart(nil)
	w.cable.set(false)
	w.wantReported("gw", "a", `{"n":99,"deep":{"y":2}}`)
	v, err := w.up.Twin(t.Context(), "gw", "a")
	if err != nil {
		t.Fatal(err)
	}
	var head struct {
		Version int `json:"$version"`
	}
	if err := json.Unmarshal(v.Reported, &head); err != nil || head.Version > 5 {
		t.Errorf("it took %d versions upstream: %v", head.Version, err)
	}
}

// Ids may be as long as IoT Hub lets them be.
func TestLongIDs(t *testing.T) {
	w := newWorld(t)
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{strings.Repeat("*", 128), strings.Repeat("d", 128), strings.Repeat("D", 128)} {
		w.create(service.Device{DeviceID: id, Scope: gw.Scope})
	}
	w.start(nil)
	for i, id := range []string{strings.Repeat("*", 128), strings.Repeat("d", 128), strings.Repeat("D", 128)} {
		patch := fmt.Sprintf(`{"n%d":1}`, i)
		if _, err := w.device(id).UpdateReported(bound(t), patch); err != nil {
			t.Fatal(err)
		}
		w.wantReported(id, "", patch)
	}
	w.restart(nil)
	id := strings.Repeat("D", 128)
	if _, err := w.device(id).UpdateReported(bound(t), `{"m":2}`); err != nil {
		t.Fatal(err)
	}
	w.wantReported(id, "", `{"n2":1,"m":2}`)
	if strings.Contains(w.log.String(), "level=ERROR") {
		t.Error(w.log.String())
	}
}

// A device that leaves the scope and comes back finds upstream what it had reported.
func TestReportedOutlivesTheScope(t *testing.T) {
	w := newWorld(t)
	other := w.create(service.Device{DeviceID: "gw2", Capabilities: service.Capabilities{IoTEdge: true}})
	w.start(nil)
	leaf := w.device("leaf")
	if _, err := leaf.UpdateReported(bound(t), `{"n":1}`); err != nil {
		t.Fatal(err)
	}
	w.wantReported("leaf", "", `{"n":1}`)
	within(t, leaf.Close)
	move := func(scope string) {
		t.Helper()
		d, err := w.service.GetDevice(t.Context(), "leaf")
		if err != nil {
			t.Fatal(err)
		}
		d.Scope, d.ParentScopes = scope, []string{scope}
		if _, err := w.service.UpdateDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		status, _, err := w.up.InvokeMethod(bound(t), "gw", "$edgeHub", "RefreshDeviceScopeIdentityCache", nil, nil)
		if err != nil || status != 200 {
			t.Fatalf("got %d, %v", status, err)
		}
	}
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	move(other.Scope)
	until(t, "who has left is not among the clients", func() bool {
		clients, _ := w.reported("gw", "$edgeHub")["clients"].(map[string]any)
		return clients != nil && clients["leaf"] == nil
	})
	move(gw.Scope)
	if _, err := w.device("leaf").UpdateReported(bound(t), `{"m":2}`); err != nil {
		t.Fatal(err)
	}
	w.wantReported("leaf", "", `{"n":1,"m":2}`)
}

// $edgeHub follows its desired properties and tells of itself.
func TestConfiguration(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	b := w.module("b")
	in := make(chan *iothub.ReceivedMessage, 10)
	b.HandleInput("in", func(m *iothub.ReceivedMessage) iothub.Disposition { in <- m; return iothub.DispositionAccepted })
	a, leaf := w.module("a"), w.device("leaf")
	w.setDesired("gw", "$edgeHub", `{"schemaVersion":"1.1","storeAndForwardConfiguration":{"timeToLiveSecs":7200},"routes":{
		"toB":"FROM /messages/modules/a/outputs/out WHERE kind = 'x' INTO BrokeredEndpoint(\"/modules/b/inputs/in\")",
		"leaf":{"route":"FROM /messages/* WHERE leaf = '1' INTO BrokeredEndpoint(\"/modules/b/inputs/in\")","priority":1},
		"up":"FROM /messages/* WHERE kind = 'up' INTO $upstream"}}`)
	status := func(want string) {
		t.Helper()
		until(t, want+" is reported", func() bool {
			s, err := json.Marshal(w.reported("gw", "$edgeHub")["lastDesiredStatus"])
			return err == nil && strings.Contains(string(s), want)
		})
	}
	status(`"code":200`)
	send := func(c interface {
		SendEventAsync(*iothub.Message, iothub.ConfirmFunc) error
	}, output string, properties map[string]string) {
		t.Helper()
		if err := c.SendEventAsync(&iothub.Message{Payload: []byte("m"), OutputName: output, Properties: properties}, nil); err != nil {
			t.Fatal(err)
		}
	}
	send(a, "out", map[string]string{"kind": "x"})
	if m := <-in; m.ConnectionDeviceID != "gw" || m.ConnectionModuleID != "a" || m.Properties["kind"] != "x" {
		t.Errorf("got %+v", m.Message)
	}
	send(leaf, "", map[string]string{"leaf": "1"})
	if m := <-in; m.ConnectionDeviceID != "leaf" || m.ConnectionModuleID != "" {
		t.Errorf("got %+v", m.Message)
	}
	send(a, "out", map[string]string{"kind": "up"})
	if e := w.events(1)[0]; e.Properties["kind"] != "up" {
		t.Errorf("got %+v", e)
	}

	until(t, "who is connected is reported", func() bool {
		s, err := json.Marshal(w.reported("gw", "$edgeHub")["clients"])
		return err == nil && strings.Count(string(s), `"Connected"`) == 3
	})

	// What is wrong is said, and changes nothing; what was right survives a restart
	// without the hub upstream.
	w.setDesired("gw", "$edgeHub", `{"routes":{"bad":"FROM nowhere"}}`)
	status(`"code":400`)
	w.setDesired("gw", "$edgeHub", `{"routes":{"bad":null,"up":null}}`)
	status(`"code":200`)
	w.cable.set(true)
	w.restart(nil)
	b = w.module("b")
	b.HandleInput("in", func(m *iothub.ReceivedMessage) iothub.Disposition { in <- m; return iothub.DispositionAccepted })
	send(w.module("a"), "out", map[string]string{"kind": "x"})
	if m := <-in; m.ConnectionModuleID != "a" {
		t.Errorf("got %+v", m.Message)
	}
}

// A method upstream reaches who is connected here, and one here who is, too.
func TestMethods(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	a, leaf := w.module("a"), w.device("leaf")
	answer := func(r *iothub.MethodRequest) *iothub.MethodResponse {
		return &iothub.MethodResponse{Status: 201, Payload: []byte(`{"echo":` + string(r.Payload) + `}`)}
	}
	a.HandleMethod("m", answer)
	leaf.HandleMethod("m", answer)
	for _, id := range [][2]string{{"gw", "a"}, {"leaf", ""}} {
		var status int
		var got []byte
		until(t, "the connection upstream is there", func() bool {
			var err error
			status, got, err = w.up.InvokeMethod(bound(t), id[0], id[1], "m", []byte(`[1]`), nil)
			return err == nil && status == 201
		})
		if string(got) != `{"echo":[1]}` {
			t.Errorf("%v: %d %s", id, status, got)
		}
	}
	r, err := w.module("b").InvokeMethod(bound(t), "gw", "a", "m", []byte(`2`), &iothub.InvokeOptions{Port: port(w.edge.Addr(hub.HTTPS))})
	if err != nil || r.Status != 201 || string(r.Payload) != `{"echo":2}` {
		t.Errorf("got %+v, %v", r, err)
	}
	// Who has gone is gone upstream.
	within(t, leaf.Close)
	until(t, "the leaf is not connected upstream", func() bool { return !w.up.IsConnected("leaf", "") })
	if _, _, err := w.up.InvokeMethod(bound(t), "leaf", "", "m", nil, nil); iothub.KindOf(err) != iothub.KindTimeout {
		t.Errorf("got %v", err)
	}
}

// A message to a device waits here for a device that is away for a moment.
func TestMessagesToDevices(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	leaf := w.device("leaf")
	until(t, "it is connected upstream", func() bool { return w.up.IsConnected("leaf", "") })
	m := &iothub.Message{Payload: []byte("hello"), MessageID: "id", CorrelationID: "c", Properties: map[string]string{"k": "v"}, Ack: "full"}
	if err := w.up.SendC2D(bound(t), "leaf", m); err != nil {
		t.Fatal(err)
	}
	for f, err := range w.up.Feedback(bound(t)) { // it is durable here
		if err != nil || f.Status != "Success" || f.MessageID != "id" {
			t.Errorf("got %+v, %v", f, err)
		}
		break
	}
	w.cable.set(true)
	w.closeClient(leaf.Close)
	w.restart(nil)
	got, err := w.device("leaf").Receive(bound(t))
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Payload) != "hello" || got.MessageID != "id" || got.CorrelationID != "c" || got.Properties["k"] != "v" {
		t.Errorf("got %+v", got.Message)
	}
	if err := got.Settle(iothub.DispositionAccepted); err != nil {
		t.Error(err)
	}
}
