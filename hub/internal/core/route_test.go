package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

func TestParseRouteErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "does not begin with FROM"},
		{"FROMAGE /messages/* INTO $upstream", "does not begin with FROM"},
		{"FROM", "source after FROM is missing"},
		{"FROM INTO $upstream", "source after FROM is missing"},
		{"FROM /messages/*", "INTO and a sink"},
		{"FROM /messages/* INTO", "sink after INTO is missing"},
		{"FROM /messages/* WHERE temp > 1 INTO $upstream", "as_number() makes a number"},
		{"FROM /messages/* WHERE temp = '1'", "INTO and a sink have to follow"},
		{"FROM /twinChangeNotifications INTO $upstream", "cannot be routed"},
		{"FROM /messages INTO $upstream", "allowed are /messages/*"},
		{"FROM /messages/modules/a INTO $upstream", "allowed are /messages/*"},
		{"FROM /messages/modules//* INTO $upstream", "allowed are /messages/*"},
		{"FROM /messages/modules/a/outputs/ INTO $upstream", "allowed are /messages/*"},
		{"FROM /messages/modules/a/inputs/b INTO $upstream", "allowed are /messages/*"},
		{"FROM /messages/* INTO $downstream", "the sink is $downstream"},
		{`FROM /messages/* INTO BrokeredEndpoint(/modules/a/inputs/b)`, "the sink is"},
		{`FROM /messages/* INTO BrokeredEndpoint("/modules/a")`, "the sink is"},
		{`FROM /messages/* INTO BrokeredEndpoint("/modules/a/inputs/b/c")`, "the sink is"},
		{`FROM /messages/* INTO BrokeredEndpoint("/modules/a/inputs/b#")`, "the sink is"},
		{`FROM /messages/* INTO BrokeredEndpoint("/modules//inputs/b")`, "the sink is"},
	} {
		if _, err := core.ParseRoute("", tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// edge is a device with modules and routes, in virtual time.
func edge(t *testing.T, cfg core.Config, test func(t *testing.T, h *core.Hub, attached func(module string) *core.Attachment), routes ...string) {
	t.Helper()
	for _, text := range routes {
		device, text, found := strings.Cut(text, ":")
		if !found {
			device, text = "", device
		}
		r, err := core.ParseRoute(device, text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Routes = append(cfg.Routes, r)
	}
	virtual(t, cfg, func(t *testing.T, h *core.Hub) {
		var all []*core.Attachment
		defer func() {
			for _, a := range all {
				a.Detach()
			}
		}()
		d := createDevice(t, h, core.Device{DeviceID: "edge"})
		known := map[string]core.Authentication{"": d.Authentication}
		for _, id := range []string{"a", "b", "c"} {
			known[id] = createModule(t, h, core.Module{DeviceID: "edge", ModuleID: id}).Authentication
		}
		test(t, h, func(module string) *core.Attachment {
			a := attach(t, h, login(t, h, "edge", module, known[module]), nil)
			all = append(all, a)
			return a
		})
	})
}

// drain takes and completes all that waits for a module, as "input:payload".
func drain(a *core.Attachment) (list []string) {
	r := a.Receive(func() {})
	defer r.Close()
	for m, ok := r.Next(); ok; m, ok = r.Next() {
		list = append(list, m.Input+":"+string(m.Payload))
		r.Settle(m.SequenceNumber, core.Complete)
	}
	return list
}

func TestRoutes(t *testing.T) {
	const into = ` INTO BrokeredEndpoint("/modules/b/inputs/in1")`
	for _, tt := range []struct {
		name     string
		routes   []string
		from     string // module
		output   string
		upstream bool
		b, c     string // inputs
	}{
		{"without routes", nil, "a", "out", true, "", ""},
		{"by output", []string{"FROM /messages/modules/a/outputs/out" + into}, "a", "out", false, "in1", ""},
		{"another output", []string{"FROM /messages/modules/a/outputs/out" + into}, "a", "other", true, "", ""},
		{"without output", []string{"FROM /messages/modules/a/outputs/out" + into}, "a", "", true, "", ""},
		{"another module", []string{"FROM /messages/modules/a/outputs/out" + into}, "c", "out", true, "", ""},
		{"all of a module", []string{"FROM /messages/modules/a/*" + into}, "a", "", false, "in1", ""},
		{"any output", []string{"from messages/Modules/a/Outputs/*" + into}, "a", "out", false, "in1", ""},
		{"any output, without one", []string{"FROM /messages/modules/a/outputs/*" + into}, "a", "", true, "", ""},
		{"any module", []string{"FROM /messages/modules/*/outputs/out" + into}, "c", "out", false, "in1", ""},
		{"any module, the device", []string{"FROM /messages/modules/*/*" + into}, "", "", true, "", ""},
		{"everything, the device", []string{"FROM /messages/*" + into}, "", "", false, "in1", ""},
		{"everything, shorter", []string{"FROM /*" + into}, "a", "", false, "in1", ""},
		{"upstream", []string{"FROM /messages/* INTO $Upstream"}, "a", "out", true, "", ""},
		{"both", []string{"FROM /messages/*" + into, "FROM /messages/* INTO $upstream"}, "a", "out", true, "in1", ""},
		{"twice to one input", []string{"FROM /messages/*" + into, "FROM /messages/modules/a/*" + into}, "a", "out", false, "in1", ""},
		{"two modules", []string{"FROM /messages/*" + into, `FROM /* INTO brokeredendpoint( '/modules/c/inputs/x' )`}, "a", "", false, "in1", "x"},
		{"of this device", []string{"edge:FROM /messages/*" + into}, "a", "", false, "in1", ""},
		{"of another device", []string{"leaf:FROM /messages/*" + into}, "a", "", true, "", ""},
		{"unknown module", []string{`FROM /* INTO BrokeredEndpoint("/modules/gone/inputs/x")`}, "a", "", true, "", ""},
		{"to itself", []string{"FROM /messages/modules/b/outputs/out" + into}, "b", "out", false, "in1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edge(t, core.Config{}, func(t *testing.T, h *core.Hub, attached func(string) *core.Attachment) {
				bag := ""
				if tt.output != "" {
					bag = "%24.on=" + tt.output
				}
				ingest(t, attached(tt.from), core.Event{Bag: []byte(bag), Payload: []byte("x")})
				for module, input := range map[string]string{"b": tt.b, "c": tt.c} {
					var want []string
					if input != "" {
						want = []string{input + ":x"}
					}
					if got := drain(attached(module)); !slices.Equal(got, want) {
						t.Errorf("module %s got %q, want %q", module, got, want)
					}
				}
				if got := len(readAll(t, h, core.FromStart())); got != map[bool]int{true: 1}[tt.upstream] {
					t.Errorf("%d events went upstream, want one: %v", got, tt.upstream)
				}
			}, tt.routes...)
		})
	}
}

// TestRoutedBatch keeps the order of a batch that goes to several places.
func TestRoutedBatch(t *testing.T) {
	edge(t, core.Config{}, func(t *testing.T, h *core.Hub, attached func(string) *core.Attachment) {
		var batch []core.Event
		var want []string
		for i := range 3000 {
			e := core.Event{Payload: fmt.Append(nil, i)}
			if i%3 == 0 {
				e.Bag = []byte("$.on=out")
				want = append(want, "in:"+fmt.Sprint(i))
			}
			batch = append(batch, e)
		}
		ingest(t, attached("a"), batch...)
		if got := drain(attached("b")); !slices.Equal(got, want) {
			t.Errorf("module b got %d messages, want %d in order", len(got), len(want))
		}
		if got := len(readAll(t, h, core.FromStart())); got != 2000 {
			t.Errorf("%d events went upstream, want 2000", got)
		}
	}, `FROM /messages/modules/a/outputs/out INTO BrokeredEndpoint("/modules/b/inputs/in")`)
}

func TestInputMessage(t *testing.T) {
	edge(t, core.Config{}, func(t *testing.T, _ *core.Hub, attached func(string) *core.Attachment) {
		ingest(t, attached("a"), core.Event{Retain: true, Payload: []byte("p"), Bag: []byte(
			"$.mid=m%201&%24.cid=c&%24.uid=u&%24.ct=t&%24.ce=e&%24.on=out&%24.to=x&%24.exp=y&%24.cdid=liar&$.cmid=liar&a%26=%3D1&null&bad=%zz")})
		r := attached("b").Receive(func() {})
		defer r.Close()
		m, _ := r.Next()
		want := []core.Property{{Name: "$.on", Value: "out"}, {Name: "a&", Value: "=1"}, {Name: "null", NoValue: true},
			{Name: "bad", Value: "%zz"}, {Name: "mqtt-retain", Value: "true"}}
		if m.MessageID != "m 1" || m.CorrelationID != "c" || m.UserID != "u" || m.ContentType != "t" || m.ContentEncoding != "e" ||
			m.ConnectionDeviceID != "edge" || m.ConnectionModuleID != "a" || m.To != "" || !m.Expiry.IsZero() ||
			m.Input != "in" || string(m.Payload) != "p" || !slices.Equal(m.Properties, want) {
			t.Errorf("the message is %+v", m)
		}
	}, `FROM /messages/* INTO BrokeredEndpoint("/modules/b/inputs/in")`)
}

// TestInputQueueIsBounded lets senders wait, and takes in all of a batch or
// nothing.
func TestInputQueueIsBounded(t *testing.T) {
	edge(t, core.Config{}, func(t *testing.T, h *core.Hub, attached func(string) *core.Attachment) {
		a := attached("a")
		batch := make([]core.Event, 7000)
		for i := range batch {
			batch[i].Bag = []byte("$.on=out")
		}
		ingest(t, a, batch...)
		batch[0].Bag = nil // this one would go upstream
		wantCode(t, a.Ingest(batch, func(error) { t.Error("done ran") }), core.CodeServerBusy)
		if n := len(readAll(t, h, core.FromStart())); n != 0 {
			t.Errorf("%d events went upstream", n)
		}
		if n := len(drain(attached("b"))); n != 7000 {
			t.Errorf("module b got %d messages, want 7000", n)
		}
		ingest(t, a, batch...)
	}, `FROM /messages/modules/a/outputs/out INTO BrokeredEndpoint("/modules/b/inputs/in")`)
}

func TestInputsExpire(t *testing.T) {
	edge(t, core.Config{InputTTL: time.Hour}, func(t *testing.T, _ *core.Hub, attached func(string) *core.Attachment) {
		ingest(t, attached("a"), core.Event{Payload: []byte("old")})
		advance(30 * time.Minute)
		ingest(t, attached("a"), core.Event{Payload: []byte("new")})
		advance(45 * time.Minute)
		if got := drain(attached("b")); !slices.Equal(got, []string{"in:new"}) {
			t.Errorf("module b got %q", got)
		}
	}, `FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/in")`)
}

// TestInputsSurvive is about messages that were acknowledged to their sender.
func TestInputsSurvive(t *testing.T) {
	route, err := core.ParseRoute("", `FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/in")`)
	if err != nil {
		t.Fatal(err)
	}
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		var auth core.Authentication
		for round := range 2 {
			storage, shut := open()
			h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Routes: []core.Route{route}}, storage)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				createDevice(t, h, core.Device{DeviceID: "edge"})
				a := createModule(t, h, core.Module{DeviceID: "edge", ModuleID: "a"}).Authentication
				auth = createModule(t, h, core.Module{DeviceID: "edge", ModuleID: "b"}).Authentication
				from := attach(t, h, login(t, h, "edge", "a", a), nil)
				ingest(t, from, core.Event{Payload: []byte("1")}, core.Event{Payload: []byte("2")})
				ingest(t, from, core.Event{Payload: []byte("3")})
				r := attach(t, h, login(t, h, "edge", "b", auth), nil).Receive(func() {})
				for range 2 {
					m, _ := r.Next()
					r.Settle(m.SequenceNumber, core.Complete)
				}
				r.Close()
			} else if got := drain(attach(t, h, login(t, h, "edge", "b", auth), nil)); !slices.Equal(got, []string{"in:3"}) {
				t.Errorf("after the restart module b got %q, want what it had not acknowledged", got)
			}
			closeHub(t, h)
			shut()
		}
	})
}

// TestInputsArriveWhileWaiting is the usual case: the module is there.
func TestInputsArriveWhileWaiting(t *testing.T) {
	edge(t, core.Config{}, func(t *testing.T, _ *core.Hub, attached func(string) *core.Attachment) {
		woken := make(chan struct{}, 100)
		r := attached("b").Receive(func() { woken <- struct{}{} })
		defer r.Close()
		ingest(t, attached("a"), core.Event{Payload: []byte("x")})
		<-woken
		if m, ok := r.Next(); !ok || string(m.Payload) != "x" {
			t.Errorf("got %q", m.Payload)
		}
		synctest.Wait()
	}, `FROM /messages/modules/a/* INTO BrokeredEndpoint("/modules/b/inputs/in")`)
}
