package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func sendC2D(t testing.TB, h *core.Hub, deviceID string, m core.Message) {
	t.Helper()
	if err := h.SendC2D(t.Context(), deviceID, m); err != nil {
		t.Fatalf("send to %s: %v", deviceID, err)
	}
}

func text(s string) core.Message { return core.Message{MessageID: s, Payload: []byte(s)} }

// lock takes the oldest message; its payload has to be want, "" for none.
func lock(t testing.TB, h *core.Hub, deviceID, want string) core.Message {
	t.Helper()
	m, ok, err := h.LockC2D(deviceID)
	if err != nil || ok != (want != "") || string(m.Payload) != want {
		t.Fatalf("got %q, %v, %v, want %q", m.Payload, ok, err, want)
	}
	return m
}

func settle(t testing.TB, h *core.Hub, deviceID string, m core.Message, s core.Settlement) {
	t.Helper()
	if err := h.SettleC2D(deviceID, m.LockToken, s); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, h *core.Hub, deviceID string) int {
	t.Helper()
	d, err := h.GetDevice(deviceID)
	if err != nil {
		t.Fatal(err)
	}
	return d.CloudToDeviceMessageCount
}

// outcomes takes all feedback there is, as "message status".
func outcomes(t testing.TB, h *core.Hub) (list []string) {
	t.Helper()
	for b := h.TryFeedback(core.MaxFeedbackBatch); b != nil; b = h.TryFeedback(core.MaxFeedbackBatch) {
		for _, r := range b.Records {
			list = append(list, r.OriginalMessageID+" "+r.StatusCode)
		}
		if err := h.SettleFeedback(b.LockToken, core.Complete); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// virtual runs a test on a fresh hub in memory, in virtual time.
func virtual(t *testing.T, cfg core.Config, test func(t *testing.T, h *core.Hub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.HostName = "hub.example"
		h, err := core.New(t.Context(), cfg, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		createDevice(t, h, core.Device{DeviceID: "dev1"})
		test(t, h)
	})
}

func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestSendC2DRefuses(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name   string
		device string
		msg    core.Message
		code   int
	}{
		{"unknown device", "nobody", text("x"), core.CodeDeviceNotFound},
		{"disabled device", "off", text("x"), core.CodeDeviceNotFound},
		{"module", "dev1/mod1", text("x"), core.CodeDeviceNotFound},
		{"64 KiB", "dev1", core.Message{Payload: make([]byte, 64<<10)}, 0},
		{"more", "dev1", core.Message{Payload: make([]byte, 64<<10+1)}, core.CodeMessageTooLarge},
		{"more with properties", "dev1", core.Message{Payload: make([]byte, 64<<10-4),
			Properties: []core.Property{{Name: "key", Value: "va"}}}, core.CodeMessageTooLarge},
		{"unknown feedback", "dev1", core.Message{Ack: "perhaps"}, core.CodeArgumentInvalid},
		{"expiry too late", "dev1", core.Message{Expiry: now.Add(49 * time.Hour)}, core.CodeInvalidExpiry},
		{"expiry in time", "dev1", core.Message{Expiry: now.Add(47 * time.Hour)}, 0},
		{"long message id", "dev1", core.Message{MessageID: strings.Repeat("x", 129)}, core.CodeArgumentInvalid},
		{"NUL", "dev1", core.Message{UserID: "a\x00"}, core.CodeArgumentInvalid},
		{"property without a name", "dev1", core.Message{Properties: []core.Property{{}}}, core.CodeArgumentInvalid},
		{"system property", "dev1", core.Message{Properties: []core.Property{{Name: "$.to", Value: "x"}}}, core.CodeArgumentInvalid},
		{"no UTF-8", "dev1", core.Message{Properties: []core.Property{{Name: "a", Value: "\xff"}}}, core.CodeArgumentInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := memoryHub(t)
			createDevice(t, h, core.Device{DeviceID: "dev1"})
			createModule(t, h, core.Module{DeviceID: "dev1", ModuleID: "mod1"})
			createDevice(t, h, core.Device{DeviceID: "off", Status: core.StatusDisabled})
			err := h.SendC2D(t.Context(), tt.device, tt.msg)
			if tt.code == 0 && err != nil {
				t.Error(err)
			} else if tt.code != 0 {
				wantCode(t, err, tt.code)
			}
		})
	}
}

func TestC2DQueueIs50Deep(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		createDevice(t, h, core.Device{DeviceID: "dev2"})
		for i := range 50 {
			sendC2D(t, h, "dev1", text(fmt.Sprint(i)))
		}
		if n := count(t, h, "dev1"); n != 50 {
			t.Errorf("cloudToDeviceMessageCount is %d, want 50", n)
		}
		wantCode(t, h.SendC2D(t.Context(), "dev1", text("51")), 403004)
		m := lock(t, h, "dev1", "0") // a locked one still counts
		wantCode(t, h.SendC2D(t.Context(), "dev1", text("51")), 403004)
		sendC2D(t, h, "dev2", text("another queue"))
		settle(t, h, "dev1", m, core.Complete)
		sendC2D(t, h, "dev1", text("51"))
	})
}

func TestC2DMemoryIsBounded(t *testing.T) {
	virtual(t, core.Config{MaxQueued: 3000}, func(t *testing.T, h *core.Hub) {
		createDevice(t, h, core.Device{DeviceID: "dev2"})
		sendC2D(t, h, "dev1", core.Message{Payload: make([]byte, 2000)})
		wantCode(t, h.SendC2D(t.Context(), "dev2", core.Message{Payload: make([]byte, 2000)}), core.CodeServerBusy)
		settle(t, h, "dev1", lock(t, h, "dev1", strings.Repeat("\x00", 2000)), core.Complete)
		sendC2D(t, h, "dev2", core.Message{Payload: make([]byte, 2000)})
	})
}

func TestC2DLocks(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		sendC2D(t, h, "dev1", text("a"))
		sendC2D(t, h, "dev1", text("b"))
		a := lock(t, h, "dev1", "a")
		b := lock(t, h, "dev1", "b")
		if a.To != "/devices/dev1/messages/deviceBound" || a.EnqueuedTime.IsZero() || a.SequenceNumber >= b.SequenceNumber || a.LockToken == b.LockToken {
			t.Errorf("the messages are %+v and %+v", a, b)
		}
		lock(t, h, "dev1", "")
		settle(t, h, "dev1", b, core.Complete)
		wantCode(t, h.SettleC2D("dev1", b.LockToken, core.Complete), 412002)
		wantCode(t, h.SettleC2D("dev1", "", core.Complete), 412002)
		wantCode(t, h.SettleC2D("nobody", a.LockToken, core.Complete), 412002)
		advance(59 * time.Second)
		lock(t, h, "dev1", "")
		advance(time.Second)
		wantCode(t, h.SettleC2D("dev1", a.LockToken, core.Complete), 412002)
		again := lock(t, h, "dev1", "a")
		if again.DeliveryCount != 0 { // only what is given back explicitly counts (H.1)
			t.Errorf("the delivery count is %d after a lapsed lock, want 0", again.DeliveryCount)
		}
		settle(t, h, "dev1", again, core.Complete)
		if n := count(t, h, "dev1"); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

func TestC2DDeliveryCount(t *testing.T) {
	virtual(t, core.Config{MaxDeliveryCount: 3}, func(t *testing.T, h *core.Hub) {
		sendC2D(t, h, "dev1", core.Message{MessageID: "a", Payload: []byte("a"), Ack: core.AckNegative})
		for i := range 3 {
			m := lock(t, h, "dev1", "a")
			if m.DeliveryCount != i {
				t.Errorf("the delivery count is %d, want %d", m.DeliveryCount, i)
			}
			settle(t, h, "dev1", m, core.Abandon)
		}
		lock(t, h, "dev1", "")
		if got := outcomes(t, h); !slices.Equal(got, []string{"a DeliveryCountExceeded"}) {
			t.Errorf("feedback %q", got)
		}
	})
}

// TestC2DFeedback has every way a message can end, for every kind of feedback.
func TestC2DFeedback(t *testing.T) {
	ends := map[string]func(t *testing.T, h *core.Hub){
		"Success":  func(t *testing.T, h *core.Hub) { settle(t, h, "dev1", lock(t, h, "dev1", "m"), core.Complete) },
		"Rejected": func(t *testing.T, h *core.Hub) { settle(t, h, "dev1", lock(t, h, "dev1", "m"), core.Reject) },
		"Expired":  func(*testing.T, *core.Hub) { advance(48 * time.Hour) },
		"Purged": func(t *testing.T, h *core.Hub) {
			if n, err := h.PurgeC2D(t.Context(), "dev1"); n != 1 || err != nil {
				t.Errorf("purged %d, %v", n, err)
			}
		},
		"DeliveryCountExceeded": func(t *testing.T, h *core.Hub) {
			for range 10 {
				settle(t, h, "dev1", lock(t, h, "dev1", "m"), core.Abandon)
			}
		},
	}
	wanted := map[string]func(outcome string) bool{
		"":               func(string) bool { return false },
		core.AckNone:     func(string) bool { return false },
		core.AckPositive: func(o string) bool { return o == "Success" },
		core.AckNegative: func(o string) bool { return o != "Success" },
		core.AckFull:     func(string) bool { return true },
	}
	for outcome, end := range ends {
		for ack, want := range wanted {
			t.Run(outcome+"/"+ack, func(t *testing.T) {
				virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
					sendC2D(t, h, "dev1", core.Message{MessageID: "m", Payload: []byte("m"), Ack: ack})
					end(t, h)
					var list []string
					if want(outcome) {
						list = []string{"m " + outcome}
					}
					if got := outcomes(t, h); !slices.Equal(got, list) {
						t.Errorf("feedback %q, want %q", got, list)
					}
					if n := count(t, h, "dev1"); n != 0 {
						t.Errorf("%d messages are left", n)
					}
				})
			})
		}
	}
}

func TestC2DExpiry(t *testing.T) {
	virtual(t, core.Config{MessageTTL: time.Hour}, func(t *testing.T, h *core.Hub) {
		now := time.Now()
		for _, m := range []core.Message{
			{MessageID: "default"}, {MessageID: "sooner", Expiry: now.Add(time.Minute)}, {MessageID: "later", Expiry: now.Add(40 * time.Hour)},
			{MessageID: "past", Expiry: now.Add(-time.Minute)},
		} {
			m.Ack, m.Payload = core.AckFull, []byte(m.MessageID)
			sendC2D(t, h, "dev1", m)
		}
		for _, step := range []struct {
			wait time.Duration
			want []string
		}{
			{time.Second, []string{"past Expired"}},
			{time.Minute - 2*time.Second, nil},
			{2 * time.Second, []string{"sooner Expired"}},
			{time.Hour, []string{"default Expired"}},
			{30 * time.Hour, nil},
			{10 * time.Hour, []string{"later Expired"}},
		} {
			advance(step.wait)
			if got := outcomes(t, h); !slices.Equal(got, step.want) {
				t.Errorf("at %v: feedback %q, want %q", time.Since(now), got, step.want)
			}
		}
		if n := count(t, h, "dev1"); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// TestC2DExpiryWaitsForTheLock lets a device finish what it has begun.
func TestC2DExpiryWaitsForTheLock(t *testing.T) {
	virtual(t, core.Config{MessageTTL: time.Minute}, func(t *testing.T, h *core.Hub) {
		sendC2D(t, h, "dev1", core.Message{MessageID: "a", Payload: []byte("a"), Ack: core.AckFull})
		sendC2D(t, h, "dev1", core.Message{MessageID: "b", Payload: []byte("b"), Ack: core.AckFull})
		advance(30 * time.Second)
		a := lock(t, h, "dev1", "a")
		lock(t, h, "dev1", "b")
		advance(45 * time.Second)
		settle(t, h, "dev1", a, core.Complete)
		advance(15 * time.Second)
		if got := outcomes(t, h); !slices.Equal(got, []string{"a Success", "b Expired"}) {
			t.Errorf("feedback %q", got)
		}
	})
}

func TestPurgeC2D(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		if n, err := h.PurgeC2D(t.Context(), "dev1"); n != 0 || err != nil {
			t.Errorf("an empty queue: %d, %v", n, err)
		}
		for i := range 3 {
			sendC2D(t, h, "dev1", text(fmt.Sprint(i)))
		}
		m := lock(t, h, "dev1", "0")
		if n, err := h.PurgeC2D(t.Context(), "dev1"); n != 3 || err != nil {
			t.Errorf("purged %d, %v, want 3", n, err)
		}
		wantCode(t, h.SettleC2D("dev1", m.LockToken, core.Complete), 412002)
		lock(t, h, "dev1", "")
		_, err := h.PurgeC2D(t.Context(), "nobody")
		wantCode(t, err, core.CodeDeviceNotFound)
	})
}

// TestC2DSurvives is about what a restart must keep.
func TestC2DSurvives(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, shut := open()
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, storage)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"dev1", "dev2", "dev3"} {
			createDevice(t, h, core.Device{DeviceID: id})
		}
		full := core.Message{
			MessageID: "m", CorrelationID: "c", UserID: "u", ContentType: "t", ContentEncoding: "e", Ack: core.AckFull,
			Expiry: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond), Payload: []byte{0, 1, 2},
			Properties: []core.Property{{Name: "a", Value: "1"}, {Name: "b"}},
		}
		sendC2D(t, h, "dev1", full)
		for _, name := range []string{"x", "y", "z"} {
			sendC2D(t, h, "dev1", text(name))
		}
		sendC2D(t, h, "dev2", core.Message{MessageID: "done", Payload: []byte("done"), Ack: core.AckFull})
		sendC2D(t, h, "dev3", text("of a deleted device"))
		first, _, _ := h.LockC2D("dev1")
		settle(t, h, "dev1", first, core.Abandon)
		settle(t, h, "dev2", lock(t, h, "dev2", "done"), core.Complete)
		if err := h.DeleteDevice(t.Context(), "dev3", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		closeHub(t, h)
		shut()

		storage, shut = open()
		defer shut()
		if h, err = core.New(t.Context(), core.Config{HostName: "hub.example"}, storage); err != nil {
			t.Fatal(err)
		}
		defer closeHub(t, h)
		createDevice(t, h, core.Device{DeviceID: "dev3"})
		for id, want := range map[string]int{"dev1": 4, "dev2": 0, "dev3": 0} {
			if n := count(t, h, id); n != want {
				t.Errorf("%s has %d messages after the restart, want %d", id, n, want)
			}
		}
		m, _, _ := h.LockC2D("dev1")
		if m.DeliveryCount != 1 || m.MessageID != "m" || m.CorrelationID != "c" || m.UserID != "u" || m.ContentType != "t" || m.ContentEncoding != "e" ||
			m.Ack != "full" || !m.Expiry.Equal(full.Expiry) || !bytes.Equal(m.Payload, full.Payload) ||
			!slices.Equal(m.Properties, full.Properties) || m.SequenceNumber != first.SequenceNumber || !m.EnqueuedTime.Equal(first.EnqueuedTime) {
			t.Errorf("after the restart the message is %+v, before it was %+v", m, first)
		}
		for _, name := range []string{"x", "y", "z"} {
			lock(t, h, "dev1", name)
		}
		if got := outcomes(t, h); !slices.Equal(got, []string{"done Success"}) {
			t.Errorf("feedback after the restart: %q", got)
		}
		sendC2D(t, h, "dev1", text("new"))
		if m := lock(t, h, "dev1", "new"); m.SequenceNumber <= first.SequenceNumber {
			t.Errorf("the sequence number %d is not new", m.SequenceNumber)
		}
	})
}

// TestC2DOfAnEarlierDevice is about a queue that must not be inherited.
func TestC2DOfAnEarlierDevice(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		sendC2D(t, h, "dev1", text("for the first"))
		if err := h.DeleteDevice(t.Context(), "dev1", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		createDevice(t, h, core.Device{DeviceID: "dev1"})
		lock(t, h, "dev1", "")
		sendC2D(t, h, "dev1", text("for the second"))
		lock(t, h, "dev1", "for the second")
	})
}

func TestFeedbackLocks(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		if b := h.TryFeedback(64); b != nil {
			t.Errorf("feedback of nothing: %+v", b)
		}
		for i := range 3 {
			sendC2D(t, h, "dev1", core.Message{MessageID: fmt.Sprint(i), Payload: []byte("x"), Ack: core.AckPositive})
			settle(t, h, "dev1", lock(t, h, "dev1", "x"), core.Complete)
		}
		a, b := h.TryFeedback(1), h.TryFeedback(64)
		if a == nil || b == nil || len(a.Records) != 1 || len(b.Records) != 2 || a.Records[0].OriginalMessageID != "0" {
			t.Fatalf("batches %+v and %+v", a, b)
		}
		d, _ := h.GetDevice("dev1")
		if r := a.Records[0]; r.DeviceID != "dev1" || r.DeviceGenerationID != d.GenerationID || r.EnqueuedTime.IsZero() || r.Description != "Success" {
			t.Errorf("record %+v", r)
		}
		if err := h.SettleFeedback(b.LockToken, core.Abandon); err != nil {
			t.Error(err)
		}
		advance(time.Minute)
		wantCode(t, h.SettleFeedback(a.LockToken, core.Complete), 412002)
		if got := outcomes(t, h); !slices.Equal(got, []string{"0 Success", "1 Success", "2 Success"}) {
			t.Errorf("what came again: %q", got)
		}
	})
}

func TestFeedbackWaits(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		got := make(chan string, 3)
		go func() {
			for range 2 {
				b, err := h.Feedback(t.Context(), 64)
				if err != nil {
					got <- err.Error()
					return
				}
				got <- b.Records[0].OriginalMessageID // and lets the lock lapse
			}
		}()
		synctest.Wait()
		sendC2D(t, h, "dev1", core.Message{MessageID: "m", Payload: []byte("x"), Ack: core.AckPositive})
		settle(t, h, "dev1", lock(t, h, "dev1", "x"), core.Complete)
		if id := <-got; id != "m" {
			t.Errorf("got %q", id)
		}
		start := time.Now()
		if id := <-got; id != "m" || time.Since(start) != time.Minute {
			t.Errorf("got %q after %v", id, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Feedback(ctx, 64); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
	})
}

// failing is a storage whose spools can be told to fail.
type failing struct {
	core.Storage
	fail *atomic.Bool
}

type failingSpool struct {
	core.Spool
	fail *atomic.Bool
}

func (f failing) Spool(ctx context.Context, name string) (core.Spool, error) {
	s, err := f.Storage.Spool(ctx, name)
	return failingSpool{s, f.fail}, err
}

func (f failingSpool) Put(ctx context.Context, key string, value []byte) error {
	if f.fail.Load() {
		return errors.New("the disk is full")
	}
	return f.Spool.Put(ctx, key, value)
}

func TestC2DThatCannotBeStored(t *testing.T) {
	fail := new(atomic.Bool)
	h := newHub(t, core.Config{}, failing{memory.New(nil), fail})
	createDevice(t, h, core.Device{DeviceID: "dev1"})
	fail.Store(true)
	wantCode(t, h.SendC2D(t.Context(), "dev1", text("lost")), core.CodeServiceUnavailable)
	if n := count(t, h, "dev1"); n != 0 {
		t.Errorf("%d messages are in the queue", n)
	}
	fail.Store(false)
	sendC2D(t, h, "dev1", text("kept"))
	lock(t, h, "dev1", "kept")
}

func TestReceivers(t *testing.T) {
	virtual(t, core.Config{}, func(t *testing.T, h *core.Hub) {
		d := createDevice(t, h, core.Device{DeviceID: "dev2"})
		a := attach(t, h, login(t, h, "dev2", "", d.Authentication), nil)
		defer a.Detach()
		var woken atomic.Int32
		first := a.Receive(func() { woken.Add(1) })
		if _, ok := first.Next(); ok {
			t.Error("a message came from an empty queue")
		}
		sendC2D(t, h, "dev2", text("a"))
		synctest.Wait()
		if woken.Load() == 0 {
			t.Error("the receiver was not woken")
		}
		take := func(r *core.Receiver, want string) core.Message {
			t.Helper()
			m, ok := r.Next()
			if ok != (want != "") || string(m.Payload) != want {
				t.Errorf("got %q, want %q", m.Payload, want)
			}
			return m
		}
		m := take(first, "a")
		take(first, "")
		second := a.Receive(func() {})
		take(second, "")
		// A lock that has lapsed: the first gets it no second time, others may,
		// and until then it is the first's to complete.
		advance(time.Minute)
		take(first, "")
		first.Settle(m.SequenceNumber, core.Complete)
		if n := count(t, h, "dev2"); n != 0 {
			t.Errorf("a late acknowledgement left %d messages", n)
		}
		sendC2D(t, h, "dev2", text("b"))
		m = take(first, "b")
		advance(time.Minute)
		take(second, "b")
		first.Settle(m.SequenceNumber, core.Complete) // not its own any more
		if n := count(t, h, "dev2"); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
		// What is not settled comes back when its receiver is closed.
		second.Close()
		take(first, "b")
		first.Close()
		take(first, "")
		m = lock(t, h, "dev2", "b")
		if m.DeliveryCount != 0 {
			t.Errorf("the delivery count is %d, want 0", m.DeliveryCount)
		}
	})
}
