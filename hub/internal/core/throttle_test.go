package core_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// clock is a clock that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 4, 22, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func throttledHub(t testing.TB, tier string, units int) (*core.Hub, *clock) {
	t.Helper()
	c := newClock()
	return newHub(t, core.Config{Tier: tier, Units: units, Clock: c.Now}, memory.New(nil)), c
}

// The table of IoT Hub's documentation, a minute's worth each.
func TestLimitsOfTiers(t *testing.T) {
	const kb, mb = 1 << 10, 1 << 20
	for _, tt := range []struct {
		tier  string
		units int
		quota int64
		// connects, sends, sends to devices, method bytes, twin reads, twin
		// updates, queries, registry operations
		want [8]int64
	}{
		{"F1", 1, 8_000, [8]int64{6000, 6000, 100, 160 * kb * 60, 6000, 3000, 20, 100}},
		{"B1", 1, 400_000, [8]int64{6000, 6000, 100, 160 * kb * 60, 6000, 3000, 20, 100}},
		{"S1", 0, 400_000, [8]int64{6000, 6000, 100, 160 * kb * 60, 6000, 3000, 20, 100}},
		{"S1", 2, 800_000, [8]int64{6000, 6000, 200, 320 * kb * 60, 6000, 3000, 40, 200}},
		{"s1", 9, 3_600_000, [8]int64{6480, 6480, 900, 1440 * kb * 60, 6000, 3000, 180, 900}},
		{"B2", 1, 6_000_000, [8]int64{7200, 7200, 100, 480 * kb * 60, 6000, 3000, 20, 100}},
		{"S2", 20, 120_000_000, [8]int64{144_000, 144_000, 2000, 9600 * kb * 60, 12_000, 6000, 400, 2000}},
		{"B3", 1, 300_000_000, [8]int64{360_000, 360_000, 5000, 24 * mb * 60, 30_000, 15_000, 1000, 5000}},
		{"S3", 10, 3_000_000_000, [8]int64{3_600_000, 3_600_000, 50_000, 240 * mb * 60, 300_000, 150_000, 10_000, 50_000}},
	} {
		h, _ := throttledHub(t, tt.tier, tt.units)
		u := h.Usage()
		var got [8]int64
		for i, op := range u.Operations {
			got[i] = op.PerMinute
		}
		if got != tt.want || u.Quota != tt.quota || u.Tier != strings.ToUpper(tt.tier) || u.Units != max(1, tt.units) || !h.Throttled() {
			t.Errorf("%d of %s: %+v\nwant %v, quota %d", tt.units, tt.tier, u, tt.want, tt.quota)
		}
	}
}

func TestTiersThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		tier  string
		units int
		want  string
	}{
		{"S4", 1, "none of F1, B1"},
		{"F1", 2, "1 to 1"},
		{"S1", 201, "1 to 200"},
		{"S3", 11, "1 to 10"},
		{"S1", -1, "1 to 200"},
		{"", 1, "without Config.Tier"},
	} {
		h, err := core.New(t.Context(), core.Config{Tier: tt.tier, Units: tt.units}, memory.New(nil))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d of %q: %v", tt.units, tt.tier, err)
		}
		if err == nil {
			closeHub(t, h)
		}
	}
}

// A minute's worth goes at once, ten seconds' worth waits, the rest is refused;
// all of that for each operation by itself.
func TestShaping(t *testing.T) {
	for _, tt := range []struct {
		tier          string
		op            core.Operation
		bytes         int
		burst, queued int
		step          time.Duration
		code          int
	}{
		{"S1", core.OpConnect, 0, 6000, 1000, 10 * time.Millisecond, core.CodeThrottling},
		{"S1", core.OpSend, 100, 6000, 1000, 10 * time.Millisecond, core.CodeThrottleBacklog},
		{"F1", core.OpSendToDevice, 100, 100, 16, 600 * time.Millisecond, core.CodeThrottling},
		{"S1", core.OpMethod, 5000, 1200, 200, 50 * time.Millisecond, core.CodeThrottling}, // 8 KB each
		{"S1", core.OpTwinRead, 0, 6000, 1000, 10 * time.Millisecond, core.CodeThrottling},
		{"B1", core.OpTwinUpdate, 0, 3000, 500, 20 * time.Millisecond, core.CodeThrottling},
		{"S1", core.OpQuery, 0, 20, 3, 3 * time.Second, core.CodeThrottling},
		{"S2", core.OpRegistry, 0, 100, 16, 600 * time.Millisecond, core.CodeThrottling},
		{"S3", core.OpRegistry, 0, 5000, 833, 12 * time.Millisecond, core.CodeThrottling},
	} {
		t.Run(tt.tier+" "+tt.op.String(), func(t *testing.T) {
			h, c := throttledHub(t, tt.tier, 1)
			for i := range tt.burst + tt.queued {
				wait, err := h.Reserve(tt.op, tt.bytes)
				if want := time.Duration(max(0, i+1-tt.burst)) * tt.step; wait != want || err != nil {
					t.Fatalf("operation %d waits %v, want %v, %v", i, wait, want, err)
				}
			}
			_, err := h.Reserve(tt.op, tt.bytes)
			wantCode(t, err, tt.code)
			var e *core.Error
			if !errors.As(err, &e) || e.Status != 429 || e.RetryAfter <= 0 || e.RetryAfter > tt.step {
				t.Errorf("%#v", err)
			}
			c.advance(e.RetryAfter)
			if wait, err := h.Reserve(tt.op, tt.bytes); wait != 10*time.Second || err != nil {
				t.Errorf("after the time to retry: %v, %v", wait, err)
			}
			c.advance(70 * time.Second)
			if wait, err := h.Reserve(tt.op, tt.bytes); wait != 0 || err != nil {
				t.Errorf("when it has calmed down: %v, %v", wait, err)
			}
			for _, u := range h.Usage().Operations {
				var want core.OperationUsage
				if u.Operation == tt.op {
					want = core.OperationUsage{Accepted: int64(tt.burst+tt.queued) + 2, Delayed: int64(tt.queued) + 1, Rejected: 1}
				}
				want.Operation, want.PerMinute = u.Operation, u.PerMinute
				if u != want {
					t.Errorf("%+v, want %+v", u, want)
				}
			}
		})
	}
}

// One operation that is larger than all there ever is can still happen.
func TestHugeMethod(t *testing.T) {
	h, _ := throttledHub(t, "S1", 1)
	if wait, err := h.Reserve(core.OpMethod, 1<<31-1); wait != 0 || err != nil {
		t.Errorf("%v, %v", wait, err)
	}
}

func TestQuotaMeters(t *testing.T) {
	for _, tt := range []struct {
		tier        string
		op          core.Operation
		bytes, want int
	}{
		{"S1", core.OpSend, 0, 1}, {"S1", core.OpSend, 4096, 1}, {"S1", core.OpSend, 4097, 2}, {"S1", core.OpSend, 256 << 10, 64},
		{"F1", core.OpSend, 512, 1}, {"F1", core.OpSend, 513, 2}, {"F1", core.OpSendToDevice, 4096, 8},
		{"B2", core.OpMethod, 6000, 2}, {"S3", core.OpTwinRead, 0, 1}, {"S3", core.OpTwinUpdate, 9000, 3}, {"S1", core.OpQuery, 10, 1},
		{"S1", core.OpConnect, 0, 0}, {"S1", core.OpRegistry, 10_000, 0},
	} {
		h, _ := throttledHub(t, tt.tier, 1)
		if _, err := h.Reserve(tt.op, tt.bytes); err != nil {
			t.Error(err)
		}
		if got := h.Usage().Messages; got != int64(tt.want) {
			t.Errorf("%s: %d bytes of %v count as %d messages, want %d", tt.tier, tt.bytes, tt.op, got, tt.want)
		}
	}
}

func TestQuotaOfTheDay(t *testing.T) {
	h, c := throttledHub(t, "F1", 1)
	midnight := time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)
	for i := range 4000 {
		if _, err := h.Reserve(core.OpSend, 513); err != nil { // two messages each
			t.Fatal(i, err)
		}
	}
	for _, op := range []core.Operation{core.OpSend, core.OpSendToDevice, core.OpMethod, core.OpTwinRead, core.OpTwinUpdate, core.OpQuery} {
		_, err := h.Reserve(op, 1)
		wantCode(t, err, core.CodeQuotaExceeded)
		var e *core.Error
		if errors.As(err, &e) && (e.Status != 403 || e.Name != "IotHubQuotaExceeded" || e.RetryAfter != 2*time.Hour) {
			t.Errorf("%+v", e)
		}
	}
	for _, op := range []core.Operation{core.OpConnect, core.OpRegistry} { // never charged
		if _, err := h.Reserve(op, 1); err != nil {
			t.Errorf("%v: %v", op, err)
		}
	}
	if u := h.Usage(); u.Messages != 8000 || u.Quota != 8000 || !u.Day.Equal(midnight.AddDate(0, 0, -1)) || u.Operations[core.OpSend].Rejected != 1 {
		t.Errorf("%+v", u)
	}
	c.advance(2*time.Hour - 1)
	_, err := h.Reserve(core.OpSend, 1)
	wantCode(t, err, core.CodeQuotaExceeded)
	c.advance(1)
	if u := h.Usage(); u.Messages != 0 || !u.Day.Equal(midnight) {
		t.Errorf("%+v", u)
	}
	if _, err := h.Reserve(core.OpSend, 1); err != nil {
		t.Error(err)
	}
	if u := h.Usage(); u.Messages != 1 || !u.Day.Equal(midnight) {
		t.Errorf("%+v", u)
	}
}

func TestEventsAreMeteredUnescaped(t *testing.T) {
	h, _ := throttledHub(t, "S1", 1)
	a := attachNew(t, h, "d")
	defer a.Detach()
	for _, tt := range []struct {
		events []core.Event
		want   int64
	}{
		{[]core.Event{{Payload: make([]byte, 4096)}}, 1},
		{[]core.Event{{Payload: make([]byte, 4097)}, {}}, 3},
		{[]core.Event{{Bag: []byte("a=" + strings.Repeat("%20", 2000))}}, 1},
	} {
		before := h.Usage().Messages
		if wait, err := a.Reserve(tt.events); wait != 0 || err != nil {
			t.Error(wait, err)
		}
		if got := h.Usage().Messages - before; got != tt.want {
			t.Errorf("%d messages, want %d", got, tt.want)
		}
	}
}

func TestNoTierNoLimits(t *testing.T) {
	h := memoryHub(t)
	a := attachNew(t, h, "d")
	defer a.Detach()
	for range 100_000 {
		if wait, err := h.Reserve(core.OpQuery, 1<<20); wait != 0 || err != nil {
			t.Fatal(wait, err)
		}
	}
	if wait, err := a.Reserve(make([]core.Event, 1_000_000)); wait != 0 || err != nil {
		t.Error(wait, err)
	}
	if u := h.Usage(); u.Tier != "" || u.Messages != 0 || u.Operations != nil || h.Throttled() {
		t.Errorf("%+v", u)
	}
}

func TestAdmitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{Tier: "S1"}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for i := range 23 {
			if err := h.Admit(t.Context(), core.OpQuery, 0); err != nil {
				t.Fatal(i, err)
			}
		}
		// They came one after the other, so none was refused.
		if got := time.Since(start); got != 9*time.Second {
			t.Errorf("23 queries took %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Admit(ctx, core.OpQuery, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { done <- h.Admit(t.Context(), core.OpQuery, 0) }()
		synctest.Wait()
		closeHub(t, h)
		wantCode(t, <-done, core.CodeServiceUnavailable)
	})
}

func TestOperationNames(t *testing.T) {
	if got := core.OpSend.String() + " " + core.Operation(99).String(); got != "DeviceToCloudSend Operation(99)" {
		t.Error(got)
	}
}
