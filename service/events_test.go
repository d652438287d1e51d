package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/service"
)

// endEvents closes a reader.
func endEvents(t *testing.T, e *service.Events) {
	t.Helper()
	if err := e.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// Events are found by the redirect and read from where the reader wants to begin.
func TestReadEvents(t *testing.T) {
	h := newFakeHub(t)
	h.events = 3
	c := h.client(service.ClientOptions{})
	defer h.end(c)
	r := c.Events(nil)
	defer endEvents(t, r)
	if p, err := r.Partitions(t.Context()); err != nil || !slices.Equal(p, []string{"0", "1"}) {
		t.Fatalf("%q %v", p, err)
	}
	when := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, from := range []service.Position{service.FromStart(), service.FromNow(), service.FromTime(when), service.AfterOffset("100"), service.AfterSequence(1)} {
		for e, err := range r.Read(t.Context(), "1", from) {
			if err != nil {
				t.Fatal(err)
			}
			if e.DeviceID != "dev1" || e.Source != "Telemetry" || e.Partition != "1" || e.Properties["level"] != "high" || e.MessageID != "m1" ||
				string(e.Body) != fmt.Sprint("1:", e.SequenceNumber) || e.Offset != fmt.Sprint(e.SequenceNumber*100) {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	want := []string{"amqp.annotation.x-opt-offset > '-1'", "amqp.annotation.x-opt-offset > '@latest'",
		fmt.Sprintf("amqp.annotation.x-opt-enqueued-time >= '%d'", when.UnixMilli()),
		"amqp.annotation.x-opt-offset > '100'", "amqp.annotation.x-opt-sequence-number > '1'"}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.positions, want) {
		t.Errorf("positions %q, want %q", h.positions, want)
	}
}

// log notes what was handled, by partition.
type handled struct {
	mu  sync.Mutex
	seq map[string][]int64
}

func (l *handled) add(e *service.Event) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seq == nil {
		l.seq = map[string][]int64{}
	}
	l.seq[e.Partition] = append(l.seq[e.Partition], e.SequenceNumber)
	n := 0
	for _, s := range l.seq {
		n += len(s)
	}
	return n
}

// A connection that is lost changes nothing of what is read: each event once, in
// order.
func TestRunEventsOverALostConnection(t *testing.T) {
	h := newFakeHub(t)
	h.events = 10
	c := h.client(service.ClientOptions{})
	defer h.end(c)
	r := c.Events(&service.EventsOptions{Prefetch: 2})
	defer endEvents(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var log handled
	err := r.Run(ctx, func(_ context.Context, e *service.Event) error {
		switch log.add(e) {
		case 7:
			h.cut()
		case 20:
			cancel()
		}
		return nil
	}, nil)
	if err != nil {
		t.Error(err)
	}
	for _, p := range []string{"0", "1"} {
		if want := []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(log.seq[p], want) {
			t.Errorf("partition %s: %v", p, log.seq[p])
		}
	}
}

// What was handled does not come again, what was not does.
func TestCheckpoints(t *testing.T) {
	h := newFakeHub(t)
	h.events = 10
	c := h.client(service.ClientOptions{})
	defer h.end(c)
	r := c.Events(nil)
	defer endEvents(t, r)
	store := &countingStore{}
	broken := errors.New("broken")
	o := &service.RunOptions{Store: store, Partitions: []string{"0"}, Every: 3}
	var first, second handled
	err := r.Run(t.Context(), func(_ context.Context, e *service.Event) error {
		if e.SequenceNumber == 5 {
			return broken
		}
		first.add(e)
		return nil
	}, o)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "partition 0") || len(first.seq["0"]) != 5 {
		t.Errorf("%v after %v", err, first.seq)
	}
	// After the third, and in the end.
	if !slices.Equal(store.saved, []int64{2, 4}) {
		t.Errorf("saved %v", store.saved)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = r.Run(ctx, func(_ context.Context, e *service.Event) error {
		if second.add(e); e.SequenceNumber == 9 {
			cancel()
		}
		return nil
	}, o)
	if err != nil || !slices.Equal(second.seq["0"], []int64{5, 6, 7, 8, 9}) {
		t.Errorf("%v after %v", err, second.seq)
	}
	// A timeout of the handler's own is an error like any other.
	err = r.Run(t.Context(), func(context.Context, *service.Event) error { return context.DeadlineExceeded }, nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	store.fail = broken
	err = r.Run(t.Context(), func(context.Context, *service.Event) error { return nil }, &service.RunOptions{Store: store, Partitions: []string{"1"}})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

// countingStore notes what is saved.
type countingStore struct {
	service.MemoryCheckpoints
	saved []int64
	fail  error
}

func (s *countingStore) Save(ctx context.Context, c service.Checkpoint) error {
	if s.fail != nil {
		return s.fail
	}
	s.saved = append(s.saved, c.SequenceNumber)
	return s.MemoryCheckpoints.Save(ctx, c)
}

// Whoever reads events is let go by the end of its context and of the reader.
func TestEventsEnd(t *testing.T) {
	h := newFakeHub(t)
	c := h.client(service.ClientOptions{})
	defer h.end(c)
	r := c.Events(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	n := 0
	for _, err := range r.Read(ctx, "0", service.FromStart()) {
		if n++; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(t.Context(), func(context.Context, *service.Event) error { return nil }, nil)
	}()
	endEvents(t, r)
	if err := <-ended; !errors.Is(err, iothub.ErrClosed) {
		t.Error(err)
	}
}

// Tokens of Entra ID are refused before anything is asked.
func TestEventsNeedAConnectionString(t *testing.T) {
	c, err := service.NewClient("hub.example", service.TokenSourceFunc(func(context.Context, string) (iothub.Token, error) {
		t.Error("a token was asked for")
		return iothub.Token{}, nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	_, err = c.Events(nil).Partitions(t.Context())
	wantKind(t, err, iothub.KindInvalidArgument, 0)
}
