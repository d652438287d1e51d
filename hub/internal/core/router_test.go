package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// readHub reads what an event hub holds.
func readHub(t *testing.T, h *core.Hub, name string) []core.StoredEvent {
	t.Helper()
	e, err := h.EventHub(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.NewReader(t.Context(), core.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var list []core.StoredEvent
	for {
		ev, err := r.TryNext(t.Context())
		if errors.Is(err, core.ErrNoEvent) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
}

func bodies(list []core.StoredEvent) []string {
	var all []string
	for _, e := range list {
		all = append(all, string(e.Body))
	}
	return all
}

const twoHubs = `"endpoints":{"eventHubs":[{"name":"alerts","partitionCount":2},{"name":"archive"}]}`

func TestRoutesLeadMessages(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, release := open()
		defer release()
		h := newHub(t, core.Config{Routing: []byte(`{` + twoHubs + `,
			"routes":[
				{"name":"hot","source":"DeviceMessages","condition":"level = 'hot'","endpointNames":["alerts"]},
				{"name":"hot-too","source":"DeviceMessages","condition":"as_number(temp) > 30","endpointNames":["ALERTS","archive"]},
				{"name":"body","source":"DeviceMessages","condition":"$body.a[0].b = 7","endpointNames":["archive"]},
				{"name":"twin","source":"DeviceMessages","condition":"$twin.tags.room = 'attic' and up = '1'","endpointNames":["archive"]},
				{"name":"off","source":"DeviceMessages","endpointNames":["archive"],"isEnabled":false}],
			"enrichments":[
				{"key":"hub","value":"$iothubname","endpointNames":["alerts"]},
				{"key":"room","value":"$twin.tags.room","endpointNames":["alerts"]},
				{"key":"level","value":"stamped","endpointNames":["alerts"]},
				{"key":"none","value":"$twin.tags.none","endpointNames":["alerts"]}]}`)}, storage)
		a := attachNew(t, h, "dev1")
		if _, err := h.UpdateTwin(t.Context(), "dev1", "", []byte(`{"tags":{"room":"attic"}}`), core.AnyETag); err != nil {
			t.Fatal(err)
		}
		defer a.Detach()
		ingest(t, a,
			core.Event{Bag: []byte("level=hot&temp=31"), Payload: []byte("1")},
			core.Event{Bag: []byte("level=cold"), Payload: []byte("2")},
			core.Event{Bag: []byte("$.ct=application%2Fjson&$.ce=utf-8"), Payload: []byte(`{"a":[{"b":7}]}`)},
			core.Event{Bag: []byte("up=1"), Payload: []byte("4")})
		if got := bodies(readHub(t, h, "events")); !slices.Equal(got, []string{"2"}) {
			t.Errorf("the fallback took %q", got)
		}
		alerts := readHub(t, h, "Alerts")
		if got := bodies(alerts); !slices.Equal(got, []string{"1"}) {
			t.Errorf("alerts has %q", got)
		}
		if got := bodies(readHub(t, h, "archive")); !slices.Equal(got, []string{"1", `{"a":[{"b":7}]}`, "4"}) {
			t.Errorf("archive has %q", got)
		}
		want := map[string]string{"hub": "hub", "room": "attic", "level": "stamped", "temp": "31", "none": "$twin.tags.none"}
		if got := alerts[0].Properties; fmt.Sprint(got) != fmt.Sprint(want) || alerts[0].DeviceID != "dev1" || alerts[0].Source != "Telemetry" {
			t.Errorf("the alert is %+v", alerts[0])
		}
		if s := h.RoutingStats(); s.Matched["hot"] != 1 || s.Matched["$fallback"] != 1 || s.Matched["off"] != 0 || s.Unrouted != 0 {
			t.Errorf("stats %+v", s)
		}
		if _, err := h.EventHub("nowhere"); !errors.Is(err, &core.Error{Code: core.CodeGenericNotFound}) {
			t.Errorf("an unknown event hub: %v", err)
		}
	})
}

func TestWithoutFallbackMessagesAreDropped(t *testing.T) {
	h := newHub(t, core.Config{Routing: []byte(`{"routes":[],"fallbackRoute":{"isEnabled":false}}`)}, memory.New(nil))
	a := attachNew(t, h, "dev1")
	defer a.Detach()
	ingest(t, a, core.Event{Payload: []byte("x")})
	if got := readAll(t, h, core.FromStart()); len(got) != 0 || h.RoutingStats().Unrouted != 1 {
		t.Errorf("%d events, %+v", len(got), h.RoutingStats())
	}
}

func TestTheHubTellsOfItself(t *testing.T) {
	h := newHub(t, core.Config{Routing: []byte(`{"routes":[
		{"name":"a","source":"TwinChangeEvents","endpointNames":["events"]},
		{"name":"b","source":"DeviceLifecycleEvents","condition":"opType = 'createDeviceIdentity' or opType = 'deleteDeviceIdentity'","endpointNames":["events"]},
		{"name":"c","source":"DeviceConnectionStateEvents","endpointNames":["events"]},
		{"name":"d","source":"DigitalTwinChangeEvents","endpointNames":["events"]}]}`)}, memory.New(nil))
	d := createDevice(t, h, core.Device{DeviceID: "dev1"})
	p := login(t, h, "dev1", "", d.Authentication)
	a, err := h.Attach(p, "dtmi:x;1", func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	mustReport(t, a, `{"temp":21,"part":{"__t":"c","speed":1}}`)
	mustReport(t, a, `{"temp":null,"part":{"__t":"c","speed":2}}`)
	if _, err := h.UpdateTwin(t.Context(), "dev1", "", []byte(`{"tags":{"t":1},"properties":{"desired":{"on":true}}}`), core.AnyETag); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReplaceTwin(t.Context(), "dev1", "", []byte(`{"tags":{"u":2}}`), core.AnyETag); err != nil {
		t.Fatal(err)
	}
	a.Detach()
	if err := h.DeleteDevice(t.Context(), "dev1", core.AnyETag); err != nil {
		t.Fatal(err)
	}
	type told struct{ source, operation, schema string }
	var got []told
	var connections []string
	byOperation := make(map[string][]core.StoredEvent)
	reader, err := h.NewReader(t.Context(), core.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range 10 { // they become durable behind what they tell of
		e, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := e.Properties
		got = append(got, told{e.Source, p["opType"], p["iothub-message-schema"]})
		byOperation[p["opType"]] = append(byOperation[p["opType"]], e)
		if p["hubName"] != "hub" || p["deviceId"] != "dev1" || e.DeviceID != "dev1" || e.System["content-encoding"] != "utf-8" ||
			e.System["correlation-id"] == "" || !strings.HasSuffix(p["operationTimestamp"], "Z") {
			t.Errorf("an event is %+v", e)
		}
		if e.Source == "deviceConnectionStateEvents" {
			var body struct{ SequenceNumber string }
			if err := json.Unmarshal(e.Body, &body); err != nil || len(body.SequenceNumber) != 64 {
				t.Errorf("connection state: %s", e.Body)
			}
			connections = append(connections, body.SequenceNumber)
		}
	}
	want := []told{
		{"deviceLifecycleEvents", "createDeviceIdentity", "deviceLifecycleNotification"},
		{"deviceConnectionStateEvents", "deviceConnected", "deviceConnectionStateNotification"},
		{"twinChangeEvents", "updateTwin", "twinChangeNotification"},
		{"digitalTwinChangeEvents", "updateDigitalTwin", "digitalTwinChangeNotification"},
		{"twinChangeEvents", "updateTwin", "twinChangeNotification"},
		{"digitalTwinChangeEvents", "updateDigitalTwin", "digitalTwinChangeNotification"},
		{"twinChangeEvents", "updateTwin", "twinChangeNotification"},
		{"twinChangeEvents", "replaceTwin", "twinChangeNotification"},
		{"deviceConnectionStateEvents", "deviceDisconnected", "deviceConnectionStateNotification"},
		{"deviceLifecycleEvents", "deleteDeviceIdentity", "deviceLifecycleNotification"},
	}
	if !slices.Equal(got, want) {
		t.Fatalf("told\n%v\nwant\n%v", got, want)
	}
	if len(connections) != 2 || connections[0] >= connections[1] {
		t.Errorf("numbers of the connection states: %q", connections)
	}
	patches := byOperation["updateDigitalTwin"]
	if string(patches[0].Body) != `[{"op":"add","path":"/part","value":{"__t":"c","speed":1}},{"op":"add","path":"/temp","value":21}]` ||
		string(patches[1].Body) != `[{"op":"replace","path":"/part/__t","value":"c"},{"op":"replace","path":"/part/speed","value":2},{"op":"remove","path":"/temp"}]` ||
		patches[0].System["content-type"] != "application/json-patch+json" {
		t.Errorf("patches %s and %s", patches[0].Body, patches[1].Body)
	}
	var change struct {
		Version    int
		Tags       map[string]any
		Properties struct{ Desired map[string]any }
	}
	if err := json.Unmarshal(byOperation["updateTwin"][2].Body, &change); err != nil || change.Tags["t"] != 1.0 ||
		change.Properties.Desired["on"] != true || change.Properties.Desired["$version"] != 2.0 || change.Version == 0 {
		t.Errorf("the update is %s", byOperation["updateTwin"][2].Body)
	}
	var whole struct {
		DeviceID, ETag string
		Tags           map[string]any
		Properties     struct{ Desired, Reported map[string]any }
	}
	if err := json.Unmarshal(byOperation["replaceTwin"][0].Body, &whole); err != nil || whole.DeviceID != "dev1" || whole.ETag == "" ||
		fmt.Sprint(whole.Tags) != "map[u:2]" || whole.Properties.Desired["on"] != true || whole.Properties.Reported["$version"] == nil {
		t.Errorf("the replacement is %s", byOperation["replaceTwin"][0].Body)
	}
}

func TestRoutingChangesWhileMessagesCome(t *testing.T) {
	storage := memory.New(nil)
	h := newHub(t, core.Config{}, storage)
	a := attachNew(t, h, "dev1")
	configs := []string{
		`{` + twoHubs + `,"routes":[{"name":"r","source":"DeviceMessages","endpointNames":["alerts"]}]}`,
		`{` + twoHubs + `,"routes":[{"name":"r","source":"DeviceMessages","endpointNames":["archive"]}]}`,
		`{"routes":[]}`,
		`{"endpoints":{"eventHubs":[{"name":"archive"},{"name":"alerts"}]},"routes":[{"name":"r","source":"DeviceMessages","condition":"true","endpointNames":["archive","alerts"]}]}`,
	}
	const total = 2000
	var wg sync.WaitGroup
	for i := range total {
		if i%50 == 0 {
			if err := h.SetRouting(t.Context(), []byte(configs[i/50%len(configs)]), core.AnyETag); err != nil {
				t.Fatal(err)
			}
		}
		wg.Add(1) // not waited for: it is on its way while the routing changes
		err := a.Ingest([]core.Event{{Payload: fmt.Append(nil, i)}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	a.Detach()
	found := make(map[string]int)
	for _, name := range []string{"events", "alerts", "archive"} {
		last := -1
		for _, body := range bodies(readHub(t, h, name)) {
			found[body]++
			var n int
			if _, err := fmt.Sscan(body, &n); err != nil || n <= last {
				t.Errorf("%s has %s behind %d", name, body, last)
			}
			last = n
		}
	}
	for i := range total {
		want := 1
		if i/50%len(configs) == 3 { // to two places
			want = 2
		}
		if got := found[fmt.Sprint(i)]; got != want {
			t.Errorf("message %d arrived %d times, want %d", i, got, want)
		}
	}
	// What was set last holds after a restart, by the same event hubs.
	before, etag, err := h.Routing()
	if err != nil {
		t.Fatal(err)
	}
	closeHub(t, h)
	again := newHub(t, core.Config{}, storage)
	if after, tag, err := again.Routing(); err != nil || string(after) != string(before) || tag != etag {
		t.Errorf("after the restart %s %s %v, before %s %s", after, tag, err, before, etag)
	}
	if got := len(readHub(t, again, "alerts")); got == 0 {
		t.Error("the event hub is empty after the restart")
	}
	if err := again.SetRouting(t.Context(), []byte(`{}`), "AAAAAAAAAAE="); !errors.Is(err, &core.Error{Code: core.CodePreconditionFailed}) {
		t.Errorf("an old ETag: %v", err)
	}
}

func TestRoutingThatIsRefused(t *testing.T) {
	h := newHub(t, core.Config{EventHubName: "own"}, memory.New(nil))
	if err := h.SetRouting(t.Context(), []byte(`{"endpoints":{"eventHubs":[{"name":"a","partitionCount":2}]}}`), core.AnyETag); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{`:            "not the JSON",
		`{"rutes":[]}`: "rutes",
		`{"endpoints":{"eventHubs":[{"name":"a","partitionCount":3}]}}`:                                         "made with 2 partitions",
		`{"endpoints":{"eventHubs":[{"name":"a"},{"name":"A"}]}}`:                                               "two endpoints",
		`{"endpoints":{"eventHubs":[{"name":"events"}]}}`:                                                       "two endpoints",
		`{"endpoints":{"eventHubs":[{"name":"own"}]}}`:                                                          "is the built-in one",
		`{"endpoints":{"eventHubs":[{"name":"a b"}]}}`:                                                          "is no name",
		`{"endpoints":{"eventHubs":[{"name":"b","partitionCount":33}]}}`:                                        "1 to 32",
		`{"endpoints":{"eventHubs":[{"name":"b","consumerGroups":["x","X"]}]}}`:                                 "twice",
		`{"endpoints":{"nats":[{"name":"n","url":"nats://h","subject":"a.>"}]}}`:                                "no subject",
		`{"routes":[{"name":"r","source":"Everything","endpointNames":["events"]}]}`:                            "no source",
		`{"routes":[{"name":"r","source":"DeviceMessages","endpointNames":["x"]}]}`:                             "no endpoint",
		`{"routes":[{"name":"r","source":"DeviceMessages"}]}`:                                                   "names no endpoint",
		`{"routes":[{"name":"r","source":"DeviceMessages","condition":"a == 'b'","endpointNames":["events"]}]}`: "column 4",
		`{"routes":[{"name":"r r","source":"DeviceMessages","endpointNames":["events"]}]}`:                      "no name for a route",
		`{"enrichments":[{"key":"a b","value":"x","endpointNames":["events"]}]}`:                                "needs a key",
		`{"fallbackRoute":{"source":"TwinChangeEvents","endpointNames":["events"]}}`:                            "the fallback route is for",
	} {
		err := h.SetRouting(t.Context(), []byte(text), core.AnyETag)
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Status != 400 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	fixed := newHub(t, core.Config{Routing: []byte(`{}`)}, memory.New(nil))
	if err := fixed.SetRouting(t.Context(), []byte(`{}`), core.AnyETag); !errors.Is(err, &core.Error{Code: core.CodeInvalidOperation}) {
		t.Errorf("a routing that the program has set: %v", err)
	}
}

// target takes events when it is up.
type target struct {
	mu       sync.Mutex
	down     bool
	bodies   []string
	attempts int
}

func (t *target) Deliver(_ context.Context, events []core.StoredEvent) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts++
	if t.down {
		return errors.New("it is down")
	}
	t.bodies = append(t.bodies, bodies(events)...)
	return nil
}

func (t *target) Close() {}

func (t *target) got() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.bodies)
}

func (t *target) set(down bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = down
}

// TestDelivery has the endpoint down for an hour, and the hub restarted meanwhile.
func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage, to := memory.New(nil), new(target)
		cfg := core.Config{
			HostName: "hub.example", Deliver: func(core.Delivery) (core.Deliverer, error) { return to, nil },
			Routing: []byte(`{"endpoints":{"webhooks":[{"name":"hook","url":"https://x","maxBatchSize":10}]},
				"routes":[{"name":"r","source":"DeviceMessages","endpointNames":["hook"]}]}`),
		}
		h, err := core.New(t.Context(), cfg, storage)
		if err != nil {
			t.Fatal(err)
		}
		d := createDevice(t, h, core.Device{DeviceID: "dev1"})
		a := attach(t, h, login(t, h, "dev1", "", d.Authentication), nil)
		var want []string
		send := func(n int) {
			for range n {
				want = append(want, fmt.Sprint(len(want)))
				ingest(t, a, core.Event{Payload: []byte(want[len(want)-1])})
			}
		}
		send(25)
		synctest.Wait()
		if !slices.Equal(to.got(), want) {
			t.Fatalf("delivered %q", to.got())
		}
		to.set(true)
		send(25)
		<-time.After(time.Hour)
		if s := h.RoutingStats().Deliveries["hook"]; s.Delivered != 25 || s.Failures < 55 || s.Failures > 140 || s.LastError != "it is down" {
			t.Errorf("stats %+v", s)
		}
		a.Detach()
		closeHub(t, h)
		if h, err = core.New(t.Context(), cfg, storage); err != nil {
			t.Fatal(err)
		}
		a = attach(t, h, login(t, h, "dev1", "", d.Authentication), nil)
		send(5)
		to.set(false)
		<-time.After(2 * time.Minute)
		if !slices.Equal(to.got(), want) {
			t.Errorf("delivered %q", to.got())
		}
		if s := h.RoutingStats().Deliveries["hook"]; s.Delivered != 30 || s.LastError != "" {
			t.Errorf("stats %+v", s)
		}
		if _, err := h.EventHub("hook"); err == nil {
			t.Error("what waits for delivery is open to Event Hubs clients")
		}
		a.Detach()
		closeHub(t, h)
	})
}

func TestTestRoute(t *testing.T) {
	h := memoryHub(t)
	createDevice(t, h, core.Device{DeviceID: "dev1"})
	if _, err := h.UpdateTwin(t.Context(), "dev1", "", []byte(`{"tags":{"room":"attic"}}`), core.AnyETag); err != nil {
		t.Fatal(err)
	}
	got, err := h.TestRoute("DeviceMessages", "$twin.tags.room = 'attic' and a = '1'", "dev1", core.Event{Bag: []byte("a=1")})
	if err != nil || !got {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := h.TestRoute("DeviceMessages", "a == 1", "dev1", core.Event{}); !errors.Is(err, &core.Error{Code: core.CodeArgumentInvalid}) {
		t.Errorf("a condition that does not compile: %v", err)
	}
}
