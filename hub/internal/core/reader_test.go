package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// filledHub has one partition with n records of two events each, a second apart:
// bodies 0, 1, 2 …
func filledHub(t *testing.T, storage core.Storage, n int) *core.Hub {
	now := epoch
	h := newHub(t, core.Config{Partitions: 1, Clock: func() time.Time { return now }}, storage)
	a := attachNew(t, h, "d")
	for i := range n {
		ingest(t, a, core.Event{Payload: fmt.Append(nil, 2*i)}, core.Event{Payload: fmt.Append(nil, 2*i+1)})
		now = now.Add(time.Second)
	}
	return h
}

func TestPositions(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		const records = 20
		h := filledHub(t, storage, records)
		defer closeHub(t, h)
		all := readAll(t, h, core.FromStart(), 0)
		if len(all) != 2*records {
			t.Fatalf("%d events", len(all))
		}
		last := int64(-1)
		for i, e := range all {
			n, err := strconv.ParseInt(e.Offset, 10, 64)
			if err != nil || n <= last {
				t.Errorf("offset %q after %d", e.Offset, last)
			}
			last = n
			for _, inclusive := range []bool{true, false} {
				want := all[i+1:]
				if inclusive {
					want = all[i:]
				}
				at, err := core.FromOffset(e.Offset, inclusive)
				if err != nil {
					t.Fatal(err)
				}
				for _, from := range []core.Position{at, core.FromSequence(e.SequenceNumber, inclusive)} {
					if got := readAll(t, h, from, 0); !sameBodies(got, want) {
						t.Errorf("from %v (inclusive %v): %d events, want %d", from, inclusive, len(got), len(want))
					}
				}
			}
		}
		for _, c := range []struct {
			from core.Position
			want []core.StoredEvent
		}{
			{core.FromTime(epoch.Add(-time.Hour)), all},
			{core.FromTime(epoch.Add(3 * time.Second)), all[6:]},
			{core.FromTime(epoch.Add(3*time.Second + time.Millisecond)), all[8:]},
			{core.FromTime(epoch.Add(time.Hour)), nil},
			{core.FromSequence(-1, false), all},
			{core.FromSequence(1000, false), nil},
			{core.FromNow(), nil},
		} {
			if got := readAll(t, h, c.from); !sameBodies(got, c.want) {
				t.Errorf("from %v: %d events, want %d", c.from, len(got), len(c.want))
			}
		}
		info, err := h.PartitionInfo(t.Context(), 0)
		end := all[len(all)-1]
		if err != nil || info.Empty || info.FirstSequenceNumber != 0 || info.LastSequenceNumber != 39 ||
			info.LastOffset != end.Offset || !info.LastEnqueuedTime.Equal(end.EnqueuedTime.Time) {
			t.Errorf("info %+v, %v", info, err)
		}
	})
}

func sameBodies(x, y []core.StoredEvent) bool {
	return slices.EqualFunc(x, y, func(a, b core.StoredEvent) bool { return string(a.Body) == string(b.Body) })
}

func TestParsePosition(t *testing.T) {
	for text, want := range map[string]string{
		"": "now", "now": "now", "@latest": "now", "start": "start", "-1": "start",
		"2024-01-02T03:04:05.5Z": "2024-01-02T03:04:05.5Z", "4711": "offset 4711",
	} {
		if p, err := core.ParsePosition(text); err != nil || p.String() != want {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"yesterday", "-2", "1.5", "99999999999999999999"} {
		_, err := core.ParsePosition(text)
		wantCode(t, err, core.CodeArgumentInvalid)
	}
}

func TestPartitionsThatDoNotExist(t *testing.T) {
	h := memoryHub(t)
	for _, p := range []int{-1, 4} {
		_, err := h.NewReader(t.Context(), core.FromStart(), p)
		wantCode(t, err, core.CodePartitionNotFound)
		_, err = h.PartitionInfo(t.Context(), p)
		wantCode(t, err, core.CodePartitionNotFound)
	}
	info, err := h.PartitionInfo(t.Context(), 0)
	if err != nil || !info.Empty || info.LastSequenceNumber != -1 || info.LastOffset != "-1" {
		t.Errorf("info of an empty partition: %+v, %v", info, err)
	}
}

// TestReaderTails: a reader that waits gets each event soon after it is stored,
// from whichever partition.
func TestReaderTails(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		storage, closeStore := open()
		defer closeStore()
		h := newHub(t, core.Config{}, storage)
		defer closeHub(t, h)
		var list []*core.Attachment
		for i := range 10 {
			list = append(list, attachNew(t, h, fmt.Sprint("device-", i)))
		}
		ingest(t, list[0], core.Event{Payload: []byte("before")})
		r, err := h.NewReader(t.Context(), core.FromNow())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := make(chan core.StoredEvent)
		failed := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				e, err := r.Next(ctx)
				if err != nil {
					failed <- err
					return
				}
				got <- e
			}
		}()
		for i, a := range list {
			ingest(t, a, core.Event{Payload: fmt.Append(nil, i)})
			if e := <-got; string(e.Body) != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", e.Body, i)
			}
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestReaderEndsWithTheHub(t *testing.T) {
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, memory.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.NewReader(t.Context(), core.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := r.Next(context.Background())
		failed <- err
	}()
	closeHub(t, h)
	wantCode(t, <-failed, core.CodeServiceUnavailable)
}

// TestReaderPassesOverDamage: one bad record must not hide the events behind it.
func TestReaderPassesOverDamage(t *testing.T) {
	storage := memory.New(nil)
	log := &faultyLog{}
	h := newHub(t, core.Config{Partitions: 1}, &faultyStorage{storage, log})
	a := attachNew(t, h, "d")
	ingest(t, a, core.Event{Payload: []byte("a")})
	log.before = func(record []byte) error { record[len(record)-1] ^= 1; return nil }
	ingest(t, a, core.Event{Payload: []byte("damaged")})
	log.before = nil
	ingest(t, a, core.Event{Payload: []byte("b")})
	list := readAll(t, h, core.FromStart())
	if len(list) != 2 || string(list[1].Body) != "b" || list[1].SequenceNumber != 2 {
		t.Errorf("%+v", list)
	}
}
