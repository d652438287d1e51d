package hub_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

// gateway is a server before another hub. What it is told goes into the channels.
type gateway struct {
	*hub.Server
	addr                 net.Addr
	connections, reports chan string
	find                 func(deviceID, moduleID string) bool
}

func newGateway(t *testing.T, o hub.Options) *gateway {
	t.Helper()
	g := &gateway{connections: make(chan string, 100), reports: make(chan string, 100)}
	o.Gateway = &hub.Gateway{
		UpstreamHostName: "up.example", DeviceID: "gw",
		Find:       func(d, m string) bool { return g.find != nil && g.find(d, m) },
		Connection: func(d, m string) { g.connections <- d + "/" + m },
		Reported:   func(d, m string) { g.reports <- d + "/" + m },
		Fresh:      func(_, _ string, ready func()) { ready() },
	}
	g.Server = start(t, &o)
	var err error
	if g.addr, err = g.Listen(hub.MQTT, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return g
}

const testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// dial connects a device or module that names the hub upstream.
func (g *gateway) dial(t *testing.T, id hub.Identity) *device {
	t.Helper()
	d, code := g.tryDial(t, id)
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	return d
}

func (g *gateway) tryDial(t *testing.T, id hub.Identity) (*device, byte) {
	t.Helper()
	text := "HostName=up.example;DeviceId=" + id.DeviceID + ";SharedAccessKey=" + id.PrimaryKey
	if id.ModuleID != "" {
		text += ";ModuleId=" + id.ModuleID
	}
	cs, err := iothub.ParseConnectionString(text)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", g.addr.String(), &tls.Config{RootCAs: g.CertPool()})
	if err != nil {
		t.Fatal(err)
	}
	return tryConnect(t, nc, cs)
}

func TestGatewayIdentities(t *testing.T) {
	g := newGateway(t, hub.Options{})
	leaf := hub.Identity{DeviceID: "leaf", PrimaryKey: testKey, SecondaryKey: testKey}
	mod := hub.Identity{DeviceID: "leaf", ModuleID: "m", PrimaryThumbprint: strings.Repeat("AB", 20)}
	if _, code := g.tryDial(t, leaf); code != 5 {
		t.Errorf("CONNACK %d for an unknown device", code)
	}
	// One that is unknown is looked up, once.
	g.find = func(d, m string) bool { return d == "leaf" && g.PutIdentity(t.Context(), leaf) == nil }
	d := g.dial(t, leaf)
	if got := <-g.connections; got != "leaf/" || !g.IsConnected("leaf", "") {
		t.Errorf("got %s", got)
	}
	if err := g.PutIdentity(t.Context(), mod); err != nil {
		t.Fatal(err)
	}
	if got := g.Identities(); !slices.Equal(got, []hub.Identity{leaf, mod}) || !g.HasIdentity("leaf", "m") || g.HasIdentity("leaf", "x") {
		t.Errorf("got %v", got)
	}
	if text := fmt.Sprintf("%v %+v %#v", leaf, leaf, leaf); strings.Contains(text, testKey) {
		t.Errorf("an identity prints as %s", text)
	}
	// What it is not let in with any more ends its connection.
	g.find = nil
	leaf.Disabled = true
	if err := g.PutIdentity(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	d.closed()
	if got := g.Identities(); !got[0].Disabled {
		t.Errorf("got %+v", got[0].Disabled)
	}
	for range 2 { // also when there is none
		if err := g.DeleteIdentity(t.Context(), "leaf", "m"); err != nil {
			t.Error(err)
		}
		if err := g.DeleteIdentity(t.Context(), "leaf", ""); err != nil {
			t.Error(err)
		}
	}
	wantCode(t, g.PutIdentity(t.Context(), mod), 404001)
}

func TestGatewayTwins(t *testing.T) {
	g := newGateway(t, hub.Options{})
	leaf := hub.Identity{DeviceID: "leaf", PrimaryKey: testKey, SecondaryKey: testKey}
	if err := g.PutIdentity(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	d := g.dial(t, leaf)
	d.subscribe("$iothub/twin/res/#")
	d.subscribe("$iothub/twin/PATCH/properties/desired/#")
	d.subscribe("other/topic/#") // IoT Edge lets it be
	mirror := func(m hub.MirroredTwin) error { return g.MirrorTwin(t.Context(), "leaf", "", m) }
	if err := mirror(hub.MirroredTwin{Desired: []byte(`{"a":1,"b":{"c":2,"d":3},"$version":7}`), DesiredVersion: 7}); err != nil {
		t.Fatal(err)
	}
	if got := d.received(); got != `$iothub/twin/PATCH/properties/desired/?$version=7 {"a":1,"b":{"c":2,"d":3},"$version":7}` {
		t.Errorf("got %s", got)
	}
	if err := mirror(hub.MirroredTwin{Desired: []byte(`{"b":{"c":2,"d":4}}`), DesiredVersion: 9}); err != nil {
		t.Fatal(err)
	}
	if got := d.received(); got != `$iothub/twin/PATCH/properties/desired/?$version=9 {"a":null,"b":{"d":4},"$version":9}` {
		t.Errorf("only the difference is told: got %s", got)
	}
	if err := mirror(hub.MirroredTwin{Desired: []byte(`{"b":{"d":4,"c":2}}`), DesiredVersion: 9, Reported: []byte(`{"r":1}`), ReportedVersion: 1}); err != nil {
		t.Fatal(err)
	}
	d.request("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"s":2}`)
	if got := d.received(); got != "$iothub/twin/res/204/?$rid=1&$version=3 " { // and no notice in between
		t.Errorf("got %s", got)
	}
	if got := <-g.reports; got != "leaf/" {
		t.Errorf("got %s", got)
	}
	wantCode(t, mirror(hub.MirroredTwin{Desired: []byte(`{}`), DesiredVersion: 10, Reported: []byte(`{}`), ReportedVersion: 2}), 412001)
	d.request("$iothub/twin/GET/?$rid=2", "")
	if got := d.received(); got != `$iothub/twin/res/200/?$rid=2 {"desired":{"b":{"c":2,"d":4},"$version":9},"reported":{"r":1,"s":2,"$version":3}}` {
		t.Errorf("got %s", got)
	}
	for _, text := range []string{"", "[]", `{"a":`} {
		if err := mirror(hub.MirroredTwin{Desired: []byte(text), DesiredVersion: 11}); iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%q: %v", text, err)
		}
	}
	wantCode(t, g.MirrorTwin(t.Context(), "nobody", "", hub.MirroredTwin{Desired: []byte(`{}`)}), 404001)
}

// Events are kept, whatever their age, until they are trimmed.
func TestGatewayEvents(t *testing.T) {
	g := newGateway(t, hub.Options{DataDir: t.TempDir(), Partitions: 1, Retention: 1 << 36})
	leaf := hub.Identity{DeviceID: "leaf", PrimaryKey: testKey, SecondaryKey: testKey}
	if err := g.PutIdentity(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	d := g.dial(t, leaf)
	body := strings.Repeat("x", 10_000)
	for i := range uint16(10) { // one by one, so that each is stored by itself
		d.publish(body, i+1)
		d.puback()
	}
	all := events(t, g.Server)
	if n := g.EventsKept(); len(all) != 10 || g.Partitions() != 1 || n < 100_000 || n > 120_000 {
		t.Fatalf("%d events take %d bytes", len(all), n)
	}
	if err := g.TrimEvents(t.Context(), 0, all[6].Offset); err != nil {
		t.Fatal(err)
	}
	if left := events(t, g.Server); len(left) != 4 || left[0].Offset != all[6].Offset {
		t.Errorf("%d are left", len(left))
	}
	if n := g.EventsKept(); n < 40_000 || n > 60_000 {
		t.Errorf("four events take %d bytes", n)
	}
	if err := g.TrimEvents(t.Context(), 0, all[9].Offset); err != nil || g.EventsKept() != 0 {
		t.Errorf("when all are let go of %d bytes count: %v", g.EventsKept(), err)
	}
	wantCode(t, g.TrimEvents(t.Context(), 0, "x"), 400004)
	wantCode(t, g.TrimEvents(t.Context(), 1, "0"), 503003)
}

func TestGatewayOptions(t *testing.T) {
	whole := hub.Gateway{
		UpstreamHostName: "up.example", Find: func(_, _ string) bool { return false },
		Connection: func(_, _ string) {}, Reported: func(_, _ string) {}, Fresh: func(_, _ string, _ func()) {},
	}
	for name, edit := range map[string]func(*hub.Gateway){
		"Find":       func(g *hub.Gateway) { g.Find = nil },
		"Connection": func(g *hub.Gateway) { g.Connection = nil },
		"Reported":   func(g *hub.Gateway) { g.Reported = nil },
		"Fresh":      func(g *hub.Gateway) { g.Fresh = nil },
		"StoreLimit": func(g *hub.Gateway) { g.StoreLimit = -1 },
		"host name":  func(g *hub.Gateway) { g.UpstreamHostName = "a/b" },
	} {
		g := whole
		edit(&g)
		if s, err := hub.New(&hub.Options{Gateway: &g}); err == nil {
			shutdown(t, s)
			t.Errorf("%s: no error", name)
		}
	}
	if err := hub.CheckRoutes([]hub.Route{{Text: "FROM /messages/* INTO $upstream"}}); err != nil {
		t.Error(err)
	}
	if err := hub.CheckRoutes([]hub.Route{{Text: "FROM nowhere"}}); err == nil {
		t.Error("no error")
	}
}
