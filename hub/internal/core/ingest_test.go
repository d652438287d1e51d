package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func TestEventsComeBackAsTheyWere(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		h := newHub(t, core.Config{Partitions: 1, Clock: func() time.Time { return epoch }}, storage)
		defer closeHub(t, h)
		d := createDevice(t, h, core.Device{DeviceID: "d"})
		m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
		p := login(t, h, "d", "m", m.Authentication)
		a, err := h.Attach(p, "dtmi:com:example:Thermostat;1", nil)
		if err != nil {
			t.Fatal(err)
		}
		ingest(t, a, core.Event{
			Bag: []byte("%24.mid=m-1&$.cid=c&$.ct=application%2Fjson&%24.ce=utf-8&%24.uid=u&%24.on=out&%24.ctime=2024-01-02T03%3A04%3A05Z" +
				"&%24.schema=s&%24.sub=comp&%24.ifid=i&%24.diagid=di&%24.diagctx=a%3Db&%24.to=x&%24.exp=y&%24.new=n" +
				"&level=high&level=low&null&empty=&a%2Fb=c%20d+e&bad%zz=%4&%c3%bc=%c3%a4"),
			Payload: []byte("body"), Retain: true,
		}, core.Event{Will: true})
		b := attach(t, h, login(t, h, "d", "", d.Authentication), nil)
		ingest(t, b, core.Event{Payload: []byte("from the device")})

		list := readAll(t, h, core.FromStart())
		if len(list) != 3 {
			t.Fatalf("%d events", len(list))
		}
		e := list[0]
		wantSystem := map[string]string{
			"message-id": "m-1", "correlation-id": "c", "content-type": "application/json", "content-encoding": "utf-8",
			"user-id": "u", "iothub-outputname": "out", "iothub-creation-time-utc": "2024-01-02T03:04:05Z",
			"iothub-message-schema": "s", "dt-subject": "comp", "iothub-interface-id": "i", "Diagnostic-Id": "di",
			"Correlation-Context": "a=b", "$.new": "n",
		}
		wantProperties := map[string]string{
			"level": "low", "null": "", "empty": "", "a/b": "c d+e", "bad%zz": "%4", "ü": "ä", "mqtt-retain": "true",
		}
		if fmt.Sprint(e.System) != fmt.Sprint(wantSystem) {
			t.Errorf("system properties %v\nwant %v", e.System, wantSystem)
		}
		if fmt.Sprint(e.Properties) != fmt.Sprint(wantProperties) {
			t.Errorf("properties %v\nwant %v", e.Properties, wantProperties)
		}
		if string(e.Body) != "body" || e.DeviceID != "d" || e.ModuleID != "m" || e.GenerationID != m.GenerationID ||
			e.AuthMethod != p.AuthMethod || e.ModelID != "dtmi:com:example:Thermostat;1" || !e.EnqueuedTime.Equal(epoch) {
			t.Errorf("event %+v", e)
		}
		if got := fmt.Sprint(list[1].Properties); got != "map[iothub-MessageType:Will]" || len(list[1].Body) != 0 {
			t.Errorf("will %+v", list[1])
		}
		if e := list[2]; e.ModuleID != "" || e.GenerationID != d.GenerationID || string(e.Body) != "from the device" {
			t.Errorf("event of the device %+v", e)
		}
		for i, e := range list {
			if e.SequenceNumber != int64(i) {
				t.Errorf("event %d has sequence number %d", i, e.SequenceNumber)
			}
		}
	})
}

// TestOrderAndNumbers: many connections at once, every event exactly once, in
// order per connection, numbered without a gap per partition.
func TestOrderAndNumbers(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		h := newHub(t, core.Config{}, storage)
		defer closeHub(t, h)
		const devices, calls, perCall = 8, 60, 17
		var wg sync.WaitGroup
		for i := range devices {
			a := attachNew(t, h, fmt.Sprint("device-", i))
			wg.Go(func() { ingestMany(t, a, calls, perCall) })
		}
		wg.Wait()
		next := make(map[int]int64)
		seen := make(map[string]int)
		for _, e := range readAll(t, h, core.FromStart()) {
			if e.SequenceNumber != next[e.Partition] {
				t.Fatalf("partition %d: sequence number %d, want %d", e.Partition, e.SequenceNumber, next[e.Partition])
			}
			next[e.Partition]++
			if want := fmt.Sprint(seen[e.DeviceID]); string(e.Body) != want {
				t.Fatalf("%s: body %s, want %s", e.DeviceID, e.Body, want)
			}
			seen[e.DeviceID]++
			if core.PartitionOf(e.DeviceID, h.Partitions()) != e.Partition {
				t.Fatalf("%s is in partition %d", e.DeviceID, e.Partition)
			}
		}
		for i := range devices {
			if n := seen[fmt.Sprint("device-", i)]; n != calls*perCall {
				t.Errorf("device %d: %d events, want %d", i, n, calls*perCall)
			}
		}
	})
}

// ingestMany reuses its memory as soon as Ingest returns, as callers may.
func ingestMany(t *testing.T, a *core.Attachment, calls, perCall int) {
	var mu sync.Mutex
	var order []int
	done := make(chan struct{}, calls)
	events := make([]core.Event, perCall)
	n := 0
	for call := range calls {
		for i := range events {
			events[i].Payload = fmt.Append(events[i].Payload[:0], n)
			n++
		}
		err := a.Ingest(events, func(err error) {
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, call)
			mu.Unlock()
			done <- struct{}{}
		})
		if err != nil {
			t.Error(err)
			return
		}
	}
	for range calls {
		<-done
	}
	mu.Lock()
	defer mu.Unlock()
	for i, call := range order {
		if i != call {
			t.Errorf("call %d was answered in place %d", call, i)
		}
	}
}

func TestCallsLargerThanARecord(t *testing.T) {
	h := newHub(t, core.Config{Partitions: 1}, memory.New(nil))
	a := attachNew(t, h, "d")
	big := make([]core.Event, 9) // more than 1 MiB
	for i := range big {
		big[i].Payload = bytes.Repeat([]byte{byte(i)}, core.MaxEventBytes)
	}
	ingest(t, a, big...)
	ingest(t, a, make([]core.Event, 10_000)...) // more than 4096
	list := readAll(t, h, core.FromStart())
	if len(list) != 10_009 || list[8].Body[0] != 8 {
		t.Errorf("%d events", len(list))
	}
	seen := make(map[string]bool)
	for i, e := range list {
		if e.SequenceNumber != int64(i) || seen[e.Offset] {
			t.Fatalf("event %d has sequence number %d, offset %s", i, e.SequenceNumber, e.Offset)
		}
		seen[e.Offset] = true
	}
}

func TestTooLargeEvents(t *testing.T) {
	h := memoryHub(t)
	a := attachNew(t, h, "d")
	never := func(error) { t.Error("done runs after an error") }
	wantCode(t, a.Ingest([]core.Event{{}, {Payload: make([]byte, core.MaxEventBytes+1)}}, never), core.CodeMessageTooLarge)
	wantCode(t, a.Ingest([]core.Event{{Bag: []byte("k=v"), Payload: make([]byte, core.MaxEventBytes-1)}}, never), core.CodeMessageTooLarge)
	wantCode(t, a.Ingest(nil, never), core.CodeArgumentInvalid)
	// Escapes and separators do not count.
	ingest(t, a, core.Event{Bag: []byte("%24%24=%41"), Payload: make([]byte, core.MaxEventBytes-3)})
	if n := len(readAll(t, h, core.FromStart())); n != 1 {
		t.Errorf("%d events", n)
	}
}

// faultyLog fails or holds appends as told.
type faultyLog struct {
	core.EventLog
	before func(record []byte) error // nil: go on
	after  func() error
}

func (l *faultyLog) Append(ctx context.Context, partition int, record []byte) (uint64, error) {
	if l.before != nil {
		if err := l.before(record); err != nil {
			return 0, err
		}
	}
	seq, err := l.EventLog.Append(ctx, partition, record)
	if err == nil && l.after != nil {
		err = l.after()
	}
	return seq, err
}

type faultyStorage struct {
	core.Storage
	log *faultyLog
}

func (s *faultyStorage) EventLog(ctx context.Context, cfg core.EventLogConfig) (core.EventLog, error) {
	var err error
	s.log.EventLog, err = s.Storage.EventLog(ctx, cfg)
	return s.log, err
}

// outcome is what became of one call of Ingest.
func outcome(t *testing.T, a *core.Attachment, body string) error {
	t.Helper()
	done := make(chan error, 1)
	if err := a.Ingest([]core.Event{{Payload: []byte(body)}}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	return <-done
}

// TestFailedAppends: an append that fails may have stored its record all the
// same. Both ways the numbers go on without a gap or a repetition.
func TestFailedAppends(t *testing.T) {
	broken := errors.New("disk full")
	log := &faultyLog{}
	h := newHub(t, core.Config{Partitions: 1}, &faultyStorage{memory.New(nil), log})
	a := attachNew(t, h, "d")
	var fail error
	log.before = func([]byte) error { return fail }
	for _, step := range []struct {
		body string
		fail error
	}{{"a", nil}, {"lost", broken}, {"b", nil}} {
		fail = step.fail
		err := outcome(t, a, step.body)
		if !errors.Is(err, step.fail) {
			t.Errorf("%s: %v", step.body, err)
		}
		if step.fail != nil {
			wantCode(t, err, core.CodeServiceUnavailable)
		}
	}
	fail = nil
	log.after = func() error { return fail }
	log.before = nil
	fail = broken
	if err := outcome(t, a, "kept though it failed"); !errors.Is(err, broken) {
		t.Error(err)
	}
	fail = nil
	if err := outcome(t, a, "c"); err != nil {
		t.Error(err)
	}
	var got []string
	for i, e := range readAll(t, h, core.FromStart()) {
		got = append(got, string(e.Body))
		if e.SequenceNumber != int64(i) {
			t.Errorf("event %d has sequence number %d", i, e.SequenceNumber)
		}
	}
	if fmt.Sprint(got) != "[a b kept though it failed c]" {
		t.Errorf("stored: %v", got)
	}
}

// TestGroupCommit: what gathers during one append becomes the next record, and
// what waits is bounded.
func TestGroupCommit(t *testing.T) {
	log := &faultyLog{}
	entered, release := make(chan int), make(chan struct{})
	log.before = func(record []byte) error {
		entered <- len(record)
		<-release
		return nil
	}
	storage := &faultyStorage{memory.New(nil), log}
	h := newHub(t, core.Config{Partitions: 1, MaxWaiting: 20_000}, storage)
	a := attachNew(t, h, "d")
	var done sync.WaitGroup
	send := func() error {
		done.Add(1)
		err := a.Ingest([]core.Event{{Payload: make([]byte, 1000)}}, func(error) { done.Done() })
		if err != nil {
			done.Done()
		}
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if n := <-entered; n > 1500 {
		t.Errorf("the first record has %d bytes", n)
	}
	sent := 0
	for send() == nil {
		sent++
	}
	wantCode(t, send(), core.CodeServerBusy)
	if sent < 15 {
		t.Errorf("%d events wait at most", sent)
	}
	release <- struct{}{}
	if n := <-entered; n < sent*1000 {
		t.Errorf("the second record has %d bytes for %d events", n, sent)
	}
	release <- struct{}{}
	done.Wait()
	log.before = nil
	if err := outcome(t, a, "room again"); err != nil {
		t.Error(err)
	}
}

// TestCloseCommitsWhatWasAccepted: an event that Ingest took is stored before
// Close returns, however slow the storage is.
func TestCloseCommitsWhatWasAccepted(t *testing.T) {
	storage := memory.New(nil)
	log := &faultyLog{}
	entered, release := make(chan struct{}, 1), make(chan struct{})
	log.before = func([]byte) error {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-release
		return nil
	}
	h := newHub(t, core.Config{}, &faultyStorage{storage, log})
	a := attachNew(t, h, "d")
	done := make(chan error, 2)
	for range 2 {
		if err := a.Ingest([]core.Event{{}}, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
	}
	<-entered
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Close(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Close without time: %v", err)
	}
	wantCode(t, a.Ingest([]core.Event{{}}, func(error) { t.Error("done runs") }), core.CodeServiceUnavailable)
	close(release)
	closeHub(t, h)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	again := newHub(t, core.Config{}, storage)
	if n := len(readAll(t, again, core.FromStart())); n != 2 {
		t.Errorf("%d events stored, want 2", n)
	}
}

func TestModelIDIsBounded(t *testing.T) {
	h := memoryHub(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	_, err := h.Attach(login(t, h, "d", "", d.Authentication), strings.Repeat("x", 3000), nil)
	wantCode(t, err, core.CodeArgumentInvalid)
}

// TestVirtualTime: on the memory store a whole hub runs in a bubble, where a day
// of retention passes at once.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := core.New(t.Context(), core.Config{HostName: "hub.example", Partitions: 1, Retention: 24 * time.Hour}, memory.New(nil))
		if err != nil {
			t.Fatal(err)
		}
		a := attachNew(t, h, "d")
		ingest(t, a, core.Event{Payload: []byte("old")})
		began := time.Now()
		<-time.After(23 * time.Hour) // virtual
		ingest(t, a, core.Event{Payload: []byte("new")})
		if n := len(readAll(t, h, core.FromStart())); n != 2 {
			t.Errorf("%d events, want 2", n)
		}
		if list := readAll(t, h, core.FromTime(began.Add(time.Hour))); len(list) != 1 || string(list[0].Body) != "new" {
			t.Errorf("from a time: %+v", list)
		}
		<-time.After(2 * time.Hour)
		if list := readAll(t, h, core.FromStart()); len(list) != 1 || list[0].SequenceNumber != 1 {
			t.Errorf("after retention: %+v", list)
		}
		closeHub(t, h)
	})
}
