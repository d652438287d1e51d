package edgehub_test

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/device"
	"github.com/iothub-go/iothub/edge/internal/edgehub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/service"
)

// known connects a device once, so that it is known without the hub upstream.
func (w *world) known(id string) *device.Client {
	w.t.Helper()
	c := w.device(id)
	n := w.edge.Stats().Forwarded
	if err := c.SendEvent(bound(w.t), &iothub.Message{Payload: []byte("hello")}); err != nil {
		w.t.Fatal(err)
	}
	until(w.t, "it is passed on", func() bool { return w.edge.Stats().Forwarded > n })
	return c
}

// numbers are the bodies of events upstream of one device, without the greeting.
func (w *world) numbers(id string, n int) (list []string) {
	w.t.Helper()
	for e, err := range w.up.Events(bound(w.t), nil) {
		if err != nil {
			w.t.Fatalf("got %d of %d: %v", len(list), n, err)
		}
		if e.DeviceID == id && string(e.Body) != "hello" {
			list = append(list, e.Properties["n"])
		}
		if len(list) == n {
			break
		}
	}
	return list
}

const chunk = 64 << 10

func sendBig(t *testing.T, c *device.Client, n int, confirm iothub.ConfirmFunc) {
	t.Helper()
	m := &iothub.Message{Payload: bytes.Repeat([]byte("x"), chunk), Properties: map[string]string{"n": fmt.Sprint(n)}}
	if err := c.SendEventAsync(m, confirm); err != nil {
		t.Fatal(err)
	}
}

// At the limit nothing more is acknowledged, and nothing of it is lost.
func TestFullStoreRefuses(t *testing.T) {
	w := newWorld(t)
	const limit = 1 << 20
	w.start(func(o *edgehub.Options) { o.StoreLimit = limit })
	leaf := w.known("leaf")
	w.cable.set(true)
	var confirmed atomic.Int64
	const n = 40
	for i := range n {
		sendBig(t, leaf, i, func(c iothub.Confirmation) {
			if c.Result == iothub.ConfirmOK {
				confirmed.Add(1)
			}
		})
	}
	until(t, "the store is full", func() bool { return w.edge.Stats().Waiting > limit-2*chunk })
	if s, c := w.edge.Stats().Waiting, confirmed.Load(); s > limit+chunk || c*chunk > limit {
		t.Errorf("%d events are confirmed and %d bytes wait; the limit is %d", c, s, limit)
	}
	w.cable.set(false)
	got := w.numbers("leaf", n)
	for i, s := range got {
		if s != fmt.Sprint(i) {
			t.Fatalf("got %v", got)
		}
	}
	until(t, "all are confirmed", func() bool { return confirmed.Load() == n })
	if s := w.edge.Stats(); s.Dropped != 0 || s.Expired != 0 {
		t.Errorf("got %+v", s)
	}
}

// What was passed on does not count for the limit, also after a restart, although the
// storage keeps its newest record.
func TestStoreIsEmptied(t *testing.T) {
	w := newWorld(t)
	small := func(o *edgehub.Options) { o.StoreLimit = 1 << 20 }
	w.start(small)
	leaf := w.known("leaf")
	sent := 0
	for range 2 {
		for range 40 { // together more than the limit
			sendBig(t, leaf, sent, nil)
			sent++
		}
		until(t, "all are confirmed", func() bool { return leaf.Stats().Queued+leaf.Stats().InFlight == 0 })
		until(t, "the store is empty", func() bool { return w.edge.Stats().Waiting == 0 })
		w.restart(small)
		leaf = w.device("leaf")
		if n := w.edge.Stats().Waiting; n != 0 {
			t.Errorf("%d bytes wait after a restart", n)
		}
	}
	got := w.numbers("leaf", sent)
	for i, s := range got {
		if s != fmt.Sprint(i) {
			t.Fatalf("got %v", got)
		}
	}
}

// With the other policy everything is acknowledged, and the oldest go.
func TestFullStoreDropsOldest(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *edgehub.Options) { o.StoreLimit, o.WhenFull = 4<<20, edgehub.DropOldest })
	leaf := w.known("leaf")
	before := w.edge.Stats().Forwarded
	w.cable.set(true)
	const n = 300 // more than are on their way at once and than the store holds
	var confirmed atomic.Int64
	for i := range n {
		sendBig(t, leaf, i, func(c iothub.Confirmation) {
			if c.Result == iothub.ConfirmOK {
				confirmed.Add(1)
			}
		})
	}
	until(t, "all are confirmed", func() bool { return confirmed.Load() == n })
	w.cable.set(false)
	until(t, "all are accounted for", func() bool {
		s := w.edge.Stats()
		return s.Forwarded-before+s.Dropped == n
	})
	s := w.edge.Stats()
	if s.Dropped == 0 {
		t.Fatalf("none was dropped: %+v", s)
	}
	got := w.numbers("leaf", int(s.Forwarded-before))
	if got[len(got)-1] != fmt.Sprint(n-1) || !slices.IsSortedFunc(got, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) }) {
		t.Errorf("got %v", got)
	}
}

// What is older than the time to live is not passed on.
func TestTimeToLive(t *testing.T) {
	w := newWorld(t)
	w.start(func(o *edgehub.Options) { o.TTL = time.Hour })
	leaf := w.known("leaf")
	w.cable.set(true)
	send := func(n int) {
		t.Helper()
		if err := leaf.SendEvent(bound(t), &iothub.Message{Properties: map[string]string{"n": fmt.Sprint(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		send(i)
	}
	w.restart(func(o *edgehub.Options) {
		o.TTL = time.Hour
		o.Clock = func() time.Time { return time.Now().Add(61 * time.Minute) }
	})
	leaf = w.device("leaf")
	send(3)
	w.cable.set(false)
	if got := w.numbers("leaf", 1); got[0] != "3" {
		t.Errorf("got %v", got)
	}
	if s := w.edge.Stats(); s.Expired != 3 {
		t.Errorf("got %+v", s)
	}
}

// siblings are the ids of devices whose events wait in one partition.
func siblings(n int) (ids []string) {
	for i := 0; len(ids) < n; i++ {
		id := fmt.Sprint("sibling", i)
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(id)) // never fails
		if sum.Sum32()%4 == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// A device that the hub upstream does not let in holds nobody else up, and loses
// nothing.
func TestRefusedUpstream(t *testing.T) {
	w := newWorld(t)
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	ids := siblings(2)
	var devices []*service.Device
	for _, id := range ids {
		devices = append(devices, w.create(service.Device{DeviceID: id, Scope: gw.Scope}))
	}
	patience := func(o *edgehub.Options) { edgehub.SetPatience(o, 100*time.Millisecond, 100*time.Millisecond) }
	w.start(patience)
	bad, good := w.known(ids[0]), w.known(ids[1])
	w.cable.set(true)
	const n = 5000 // more than are on their way at once
	for i := range n {
		m := &iothub.Message{Properties: map[string]string{"n": fmt.Sprint(i)}}
		if err := bad.SendEventAsync(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "they wait here", func() bool { return bad.Stats().Confirmed == n+1 })
	if err := good.SendEvent(bound(t), &iothub.Message{Properties: map[string]string{"n": "0"}}); err != nil {
		t.Fatal(err)
	}
	devices[0].Status, devices[0].ETag = service.Disabled, service.AnyETag
	if _, err := w.service.UpdateDevice(t.Context(), devices[0]); err != nil {
		t.Fatal(err)
	}
	w.cable.set(false)
	if got := w.numbers(ids[1], 1); got[0] != "0" {
		t.Errorf("got %v", got)
	}
	w.restart(patience) // the one that waits is remembered
	devices[0].Status = service.Enabled
	if _, err := w.service.UpdateDevice(t.Context(), devices[0]); err != nil {
		t.Fatal(err)
	}
	next := 0
	for e, err := range w.up.Events(bound(t), nil) {
		if err != nil {
			t.Fatalf("%d of %d: %v", next, n, err)
		}
		if e.DeviceID == ids[0] && string(e.Body) != "hello" {
			if e.Properties["n"] == fmt.Sprint(next) {
				next++
			} else if len(e.Properties["n"]) > len(fmt.Sprint(next)) {
				t.Fatalf("got %s where %d was due", e.Properties["n"], next)
			}
		}
		if next == n {
			break
		}
	}
	// Afterwards it is like the others.
	back := w.device(ids[0])
	if err := back.SendEvent(bound(t), &iothub.Message{Properties: map[string]string{"n": fmt.Sprint(n)}}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is passed on", func() bool {
		for e, err := range w.up.Events(t.Context(), &hub.EventsOptions{NoWait: true}) {
			if err != nil {
				return false
			}
			if e.DeviceID == ids[0] && e.Properties["n"] == fmt.Sprint(n) {
				return true
			}
		}
		return false
	})
}

// What a device sent that is not in scope any more cannot be passed on, and holds
// nobody up.
func TestLeavingTheScope(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	leaf := w.known("leaf")
	w.cable.set(true)
	if err := leaf.SendEvent(bound(t), &iothub.Message{Properties: map[string]string{"n": "0"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.service.DeleteDevice(t.Context(), "leaf", service.AnyETag); err != nil {
		t.Fatal(err)
	}
	w.cable.set(false)
	until(t, "it is given up", func() bool { return w.edge.Stats().Undeliverable == 1 })
	until(t, "it is not let in any more", func() bool { return !w.edge.Connected(iothub.Identity{DeviceID: "leaf"}) })

	// The method tells of one that is new.
	gw, err := w.service.GetDevice(t.Context(), "gw")
	if err != nil {
		t.Fatal(err)
	}
	w.create(service.Device{DeviceID: "new", Scope: gw.Scope})
	status, _, err := w.up.InvokeMethod(bound(t), "gw", "$edgeHub", "RefreshDeviceScopeIdentityCache", []byte(`{"deviceIds":["new"]}`), nil)
	if err != nil || status != 200 {
		t.Fatalf("got %d, %v", status, err)
	}
	w.cable.set(true)
	if err := w.device("new").SendEvent(bound(t), &iothub.Message{}); err != nil {
		t.Error(err)
	}
}
