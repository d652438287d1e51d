package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// twinGate is a storage whose writes of twins can be counted, held up and made to
// fail.
type twinGate struct {
	core.Storage
	writes atomic.Int64
	mu     sync.Mutex
	hold   chan struct{} // writes wait until it is closed
	fail   error
	lands  bool // a failing write is there all the same
}

func (g *twinGate) Spool(ctx context.Context, name string) (core.Spool, error) {
	s, err := g.Storage.Spool(ctx, name)
	if name == "twins" {
		return gatedSpool{s, g}, err
	}
	return s, err
}

func (g *twinGate) set(hold chan struct{}, fail error, lands bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold, g.fail, g.lands = hold, fail, lands
}

type gatedSpool struct {
	core.Spool
	g *twinGate
}

func (s gatedSpool) Put(ctx context.Context, key string, value []byte) error {
	s.g.writes.Add(1)
	s.g.mu.Lock()
	hold, fail, lands := s.g.hold, s.g.fail, s.g.lands
	s.g.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if fail != nil && !lands {
		return fail
	}
	if err := s.Spool.Put(ctx, key, value); err != nil {
		return err
	}
	return fail
}

// stored counts the records and their bytes.
func (g *twinGate) stored(t testing.TB) (records, bytes int) {
	t.Helper()
	s, err := g.Storage.Spool(t.Context(), "twins")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Each(t.Context(), func(_ string, value []byte) error {
		records++
		bytes += len(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, bytes
}

// What gathers during one write shares the next, and each caller gets its own
// version, in order.
func TestPatchesShareWrites(t *testing.T) {
	g := &twinGate{Storage: memory.New(nil)}
	h := newHub(t, core.Config{}, g)
	const devices, each = 50, 20
	list := make([]*core.Attachment, devices)
	for i := range list {
		list[i] = attachNew(t, h, fmt.Sprintf("d%d", i))
		defer list[i].Detach()
	}
	hold := make(chan struct{})
	g.set(hold, nil, false)
	var wg sync.WaitGroup
	wg.Add(devices * (each + 1))
	versions := make([][]uint64, devices)
	for i, a := range list {
		for n := range each {
			a.PatchReported(fmt.Appendf(nil, `{"n":%d,"k%d":1}`, n, n), func(version uint64, err error) {
				if err != nil {
					t.Error(err)
				}
				versions[i] = append(versions[i], version)
				wg.Done()
			})
		}
		// A request behind them sees what they have done.
		a.ReadTwin(func(twin []byte, err error) {
			if err != nil || !strings.Contains(string(twin), fmt.Sprintf(`"n":%d,"$version":%d}`, each-1, each+1)) {
				t.Errorf("%s, %v", twin, err)
			}
			wg.Done()
		})
		if twin := getTwin(t, h, fmt.Sprintf("d%d", i), ""); twin.Version != 2 {
			t.Errorf("a change is visible before it is durable: %+v", twin)
		}
	}
	close(hold)
	wg.Wait()
	for i, got := range versions {
		for n, v := range got {
			if v != uint64(n+2) {
				t.Fatalf("versions of device %d: %v", i, got)
			}
		}
	}
	if n := g.writes.Load(); n > 3 {
		t.Errorf("%d writes for %d patches", n, devices*each)
	}
}

// What is out of date is written over: the storage does not grow with changes.
func TestStoredTwinsStayBounded(t *testing.T) {
	g := &twinGate{Storage: memory.New(nil)}
	h, err := core.New(t.Context(), core.Config{}, g)
	if err != nil {
		t.Fatal(err)
	}
	const devices = 40
	text := strings.Repeat("x", 1000)
	list := make([]string, devices)
	for i := range list {
		list[i] = fmt.Sprintf("d%d", i)
		createDevice(t, h, core.Device{DeviceID: list[i]})
	}
	change := func(i, n int) {
		update(t, h, list[i], "", fmt.Sprintf(`{"tags":{"text":"%s","n":%d}}`, text, n))
	}
	for n := range 100 {
		// In pairs, alone, and all at once, so that records hold now few and now many.
		var wg sync.WaitGroup
		for i := range list {
			if n%3 == 0 || (i+n)%7 == 0 {
				wg.Go(func() { change(i, n) })
			}
		}
		wg.Wait()
	}
	for i := range list {
		change(i, 100)
	}
	records, bytes := g.stored(t)
	if most := 4 * devices * len(text); bytes > most {
		t.Errorf("%d bytes are stored in %d records for %d twins of about %d", bytes, records, devices, len(text))
	}
	closeHub(t, h)
	h = newHub(t, core.Config{}, g)
	for _, id := range list {
		if twin := getTwin(t, h, id, ""); !strings.Contains(string(twin.Tags), `"n":100`) {
			t.Errorf("%s: %s", id, twin.Tags)
		}
	}
	for _, id := range list {
		if err := h.DeleteDevice(t.Context(), id, core.AnyETag); err != nil {
			t.Fatal(err)
		}
	}
	createDevice(t, h, core.Device{DeviceID: "last"})
	for range 2*records + 2 {
		update(t, h, "last", "", `{"tags":{"n":1}}`)
	}
	if _, bytes := g.stored(t); bytes > len(text)*records {
		t.Errorf("%d bytes are left of deleted twins", bytes)
	}
}

// A change whose write fails is refused and does not come back, whether or not
// it has reached the storage.
func TestFailedWritesOfTwins(t *testing.T) {
	for _, lands := range []bool{false, true} {
		t.Run(fmt.Sprintf("lands %v", lands), func(t *testing.T) {
			g := &twinGate{Storage: memory.New(nil)}
			h, err := core.New(t.Context(), core.Config{}, g)
			if err != nil {
				t.Fatal(err)
			}
			a, b := attachNew(t, h, "a"), attachNew(t, h, "b")
			var notices []string
			a.OnDesired(func(_ uint64, patch []byte) { notices = append(notices, string(patch)) })
			mustReport(t, a, `{"good":1}`)
			mustReport(t, b, `{"good":1}`)
			g.set(nil, errors.New("disk full"), lands)
			_, err = report(a, `{"bad":1}`)
			wantCode(t, err, core.CodeServerError)
			_, err = report(b, `{"bad":1}`)
			wantCode(t, err, core.CodeServerError)
			_, err = h.UpdateTwin(t.Context(), "a", "", []byte(`{"properties":{"desired":{"bad":1}}}`), core.AnyETag)
			wantCode(t, err, core.CodeServerError)
			g.set(nil, nil, false)
			// One more write of another twin, and what was refused is gone for good.
			mustReport(t, b, `{"better":1}`)
			const wantA = `{"desired":{"$version":1},"reported":{"good":1,"$version":2}}`
			const wantB = `{"desired":{"$version":1},"reported":{"better":1,"good":1,"$version":3}}`
			if got := readTwin(t, a); got != wantA || len(notices) != 0 {
				t.Errorf("%s, told %v", got, notices)
			}
			a.Detach()
			b.Detach()
			closeHub(t, h)
			h = newHub(t, core.Config{HostName: "hub.example"}, g)
			for id, want := range map[string]string{"a": wantA, "b": wantB} {
				d, err := h.GetDevice(id)
				if err != nil {
					t.Fatal(err)
				}
				x := attach(t, h, login(t, h, id, "", d.Authentication), nil)
				if got := readTwin(t, x); got != want {
					t.Errorf("after the restart: %s", got)
				}
				x.Detach()
			}
		})
	}
}

// Notices come in order, one for each change, while others patch too.
func TestDesiredNoticesInOrder(t *testing.T) {
	h := memoryHub(t)
	a := attachNew(t, h, "d")
	defer a.Detach()
	var got []uint64 // written by one goroutine, read when all is done
	a.OnDesired(func(version uint64, patch []byte) {
		if !strings.HasSuffix(string(patch), fmt.Sprintf(`"$version":%d}`, version)) {
			t.Errorf("%d: %s", version, patch)
		}
		got = append(got, version)
	})
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				update(t, h, "d", "", fmt.Sprintf(`{"properties":{"desired":{"w%d":%d}}}`, w, n))
				mustReport(t, a, `{"x":1}`)
			}
		})
	}
	wg.Wait()
	if len(got) != writers*each {
		t.Fatalf("%d notices", len(got))
	}
	for i, v := range got {
		if v != uint64(i+2) {
			t.Fatalf("notice %d has version %d", i, v)
		}
	}
}

// Closing answers all that was taken and refuses the rest.
func TestCloseWithTwinsInFlight(t *testing.T) {
	g := &twinGate{Storage: memory.New(nil)}
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, g)
	if err != nil {
		t.Fatal(err)
	}
	a := attachNew(t, h, "d")
	hold := make(chan struct{})
	g.set(hold, nil, false)
	results := make(chan error, 10)
	for range cap(results) {
		a.PatchReported([]byte(`{"a":1}`), func(_ uint64, err error) { results <- err })
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closeHub(t, h)
	}()
	close(hold)
	<-closed
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	a.PatchReported([]byte(`{"a":1}`), func(_ uint64, err error) { wantCode(t, err, core.CodeServiceUnavailable) })
	_, err = h.UpdateTwin(t.Context(), "d", "", []byte(`{"tags":{}}`), core.AnyETag)
	wantCode(t, err, core.CodeServiceUnavailable)
	a.Detach()
}

// The queue is bounded: more is refused, and goes on when there is room.
func TestTwinQueueIsBounded(t *testing.T) {
	g := &twinGate{Storage: memory.New(nil)}
	h := newHub(t, core.Config{MaxWaiting: 1 << 20}, g)
	a := attachNew(t, h, "d")
	defer a.Detach()
	hold := make(chan struct{})
	g.set(hold, nil, false)
	patch := []byte(`{"a":"` + strings.Repeat("x", 4096) + `","b":"` + strings.Repeat("x", 4096) + `"}`)
	var accepted, refused atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Add(1)
		a.PatchReported(patch, func(_ uint64, err error) {
			defer wg.Done()
			if errors.Is(err, &core.Error{Code: core.CodeServerBusy}) {
				refused.Add(1)
				return
			}
			if err != nil {
				t.Error(err)
			}
			accepted.Add(1)
		})
	}
	close(hold)
	wg.Wait()
	if refused.Load() == 0 || accepted.Load() < 100 {
		t.Errorf("%d accepted, %d refused", accepted.Load(), refused.Load())
	}
	if v, err := report(a, `{}`); err != nil || v != uint64(accepted.Load()+2) {
		t.Errorf("version %d, %v", v, err)
	}
}
