// Package store_test holds every storage to the contract that package core states.
package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/jetstream"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

func onStores(t *testing.T, test func(t *testing.T, s core.Storage)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New(nil)) })
	t.Run("jetstream", func(t *testing.T) { test(t, openDir(t, t.TempDir())) })
}

func openDir(t testing.TB, dir string) *jetstream.Store {
	t.Helper()
	s, err := jetstream.Open(jetstream.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func openLog(t testing.TB, s core.Storage, cfg core.EventLogConfig) core.EventLog {
	t.Helper()
	l, err := s.EventLog(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func bounds(t testing.TB, l core.EventLog, partition int) [2]uint64 {
	t.Helper()
	first, last, err := l.Bounds(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint64{first, last}
}

func appendRecord(t testing.TB, l core.EventLog, partition int, data []byte) {
	t.Helper()
	if _, err := l.Append(t.Context(), partition, data); err != nil {
		t.Fatal(err)
	}
}

func TestEventLog(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		l := openLog(t, s, core.EventLogConfig{Partitions: 2, MaxAge: time.Hour})
		if got := bounds(t, l, 0); got != [2]uint64{1, 0} {
			t.Errorf("bounds of an empty partition: %v, want [1 0]", got)
		}
		if list, err := l.Read(t.Context(), 0, 0, 10); err != nil || len(list) != 0 {
			t.Errorf("read of an empty partition: %v, %v", list, err)
		}
		wake := make(chan struct{}, 1)
		stop := l.Watch(0, wake)
		buf := make([]byte, 4)
		for i := range 5 {
			copy(buf, fmt.Sprintf("r%d..", i)) // the record is ours again after Append
			seq, err := l.Append(t.Context(), 0, buf)
			if err != nil || seq != uint64(i+1) {
				t.Fatalf("append: %d, %v", seq, err)
			}
		}
		<-wake
		stop()
		appendRecord(t, l, 1, []byte("other"))
		if got := bounds(t, l, 0); got != [2]uint64{1, 5} {
			t.Errorf("bounds: %v, want [1 5]", got)
		}
		list, err := l.Read(t.Context(), 0, 3, 2)
		if err != nil || len(list) != 2 || list[0].Seq != 3 || string(list[1].Data) != "r3.." || list[0].Time.IsZero() {
			t.Errorf("read: %+v, %v", list, err)
		}
		if list, err := l.Read(t.Context(), 0, 6, 2); err != nil || len(list) != 0 {
			t.Errorf("read behind the end: %v, %v", list, err)
		}
		if _, err := l.Append(t.Context(), 7, nil); err == nil {
			t.Error("append to a partition that does not exist succeeded")
		}
	})
}

func TestLargeRecords(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		l := openLog(t, s, core.EventLogConfig{Partitions: 1})
		for i := range 12 {
			appendRecord(t, l, 0, bytes.Repeat([]byte{byte(i)}, 2<<20))
		}
		next := uint64(1)
		for next <= 12 {
			list, err := l.Read(t.Context(), 0, next, 8)
			if err != nil || len(list) == 0 {
				t.Fatalf("read from %d: %d records, %v", next, len(list), err)
			}
			for _, r := range list {
				if r.Seq != next || len(r.Data) != 2<<20 || r.Data[0] != byte(next-1) {
					t.Fatalf("record %d has sequence %d and %d bytes", next, r.Seq, len(r.Data))
				}
				next++
			}
		}
	})
}

func TestRetentionByBytes(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		l := openLog(t, s, core.EventLogConfig{Partitions: 1, MaxBytes: 10_000})
		for range 20 {
			appendRecord(t, l, 0, make([]byte, 1000))
		}
		got := bounds(t, l, 0)
		if got[0] < 8 || got[1] != 20 {
			t.Errorf("bounds: %v, want about [11 20]", got)
		}
		list, err := l.Read(t.Context(), 0, 1, 1)
		if err != nil || len(list) != 1 || list[0].Seq != got[0] {
			t.Errorf("read before the oldest record: %+v, %v", list, err)
		}
	})
}

func TestRetentionByAgeInMemory(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := memory.New(func() time.Time { return now })
	l := openLog(t, s, core.EventLogConfig{Partitions: 1, MaxAge: time.Hour})
	appendRecord(t, l, 0, []byte("a"))
	now = now.Add(40 * time.Minute)
	appendRecord(t, l, 0, []byte("b"))
	now = now.Add(40 * time.Minute)
	if got := bounds(t, l, 0); got != [2]uint64{2, 2} {
		t.Errorf("bounds: %v, want [2 2]", got)
	}
	now = now.Add(40 * time.Minute)
	if got := bounds(t, l, 0); got != [2]uint64{3, 2} {
		t.Errorf("bounds: %v, want [3 2]", got)
	}
}

func openBucket(t testing.TB, s core.Storage, name string) core.Bucket {
	t.Helper()
	b, err := s.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucketComparesAndSets(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		ctx := t.Context()
		b := openBucket(t, s, "things")
		const key = "a/b.c d>*#%ü" // none of which a subject can carry
		r1, err := b.Create(ctx, key, []byte("one"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Create(ctx, key, []byte("again")); !errors.Is(err, core.ErrKeyExists) {
			t.Errorf("create twice: %v", err)
		}
		r2, err := b.Update(ctx, key, []byte("two"), r1)
		if err != nil || r2 <= r1 {
			t.Fatalf("update: %d, %v", r2, err)
		}
		for _, rev := range []uint64{0, r1, r2 + 1} {
			if _, err := b.Update(ctx, key, nil, rev); !errors.Is(err, core.ErrRevision) {
				t.Errorf("update of revision %d: %v", rev, err)
			}
			if _, err := b.Delete(ctx, key, rev); !errors.Is(err, core.ErrRevision) {
				t.Errorf("delete of revision %d: %v", rev, err)
			}
		}
		r3, err := b.Delete(ctx, key, r2)
		if err != nil || r3 <= r2 {
			t.Fatalf("delete: %d, %v", r3, err)
		}
		if _, err := b.Update(ctx, key, nil, r2); !errors.Is(err, core.ErrRevision) {
			t.Errorf("update of what is gone: %v", err)
		}
		if r4, err := b.Create(ctx, key, []byte("new")); err != nil || r4 <= r3 {
			t.Errorf("create after delete: %d, %v", r4, err)
		}
	})
}

// recorder collects changes and tells when one has come.
type recorder struct {
	mu    sync.Mutex
	list  []string
	rev   uint64
	order bool
	came  chan string
}

func newRecorder() *recorder { return &recorder{order: true, came: make(chan string, 100)} }

func (r *recorder) take(c core.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := c.Key + "=" + string(c.Value)
	if c.Deleted {
		text = c.Key + " deleted"
	}
	r.list = append(r.list, text)
	r.order = r.order && c.Revision > r.rev
	r.rev = c.Revision
	r.came <- text
}

func TestBucketWatch(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		ctx := t.Context()
		b := openBucket(t, s, "watched")
		var revs []uint64
		for i := range 3 {
			rev, err := b.Create(ctx, fmt.Sprint("k", i), []byte("v"))
			if err != nil {
				t.Fatal(err)
			}
			revs = append(revs, rev)
		}
		r := newRecorder()
		opening, cancel := context.WithCancel(ctx)
		stop, err := b.Watch(opening, r.take)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // governs the opening only
		if len(r.came) != 3 {
			t.Fatalf("Watch returned with %d of 3 keys told", len(r.came))
		}
		for range 3 {
			<-r.came
		}
		other := openBucket(t, s, "watched") // changes by others come too
		rev, err := other.Update(ctx, "k1", []byte("w"), revs[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := <-r.came; got != "k1=w" {
			t.Errorf("told %q, want k1=w", got)
		}
		if _, err := other.Delete(ctx, "k1", rev); err != nil {
			t.Fatal(err)
		}
		if got := <-r.came; got != "k1 deleted" {
			t.Errorf("told %q, want k1 deleted", got)
		}
		stop()
		if _, err := b.Create(ctx, "late", nil); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.order || len(r.list) != 5 {
			t.Errorf("in order: %v, told: %v", r.order, r.list)
		}
	})
}

func TestJetStreamKeepsData(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	appendRecord(t, openLog(t, s, core.EventLogConfig{Partitions: 2, MaxAge: time.Hour}), 1, []byte("kept"))
	if _, err := openBucket(t, s, "b").Create(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := jetstream.Open(jetstream.Config{Dir: dir}); err == nil {
		t.Error("a second server opened the same folder")
	}
	s.Close()
	s = openDir(t, dir)
	l := openLog(t, s, core.EventLogConfig{Partitions: 2, MaxAge: 2 * time.Hour}) // another retention
	if list, err := l.Read(t.Context(), 1, 1, 1); err != nil || len(list) != 1 || string(list[0].Data) != "kept" {
		t.Errorf("read: %+v, %v", list, err)
	}
	appendRecord(t, l, 1, []byte("more"))
	if got := bounds(t, l, 1); got != [2]uint64{1, 2} {
		t.Errorf("bounds: %v, want [1 2]", got)
	}
	r := newRecorder()
	stop, err := openBucket(t, s, "b").Watch(t.Context(), r.take)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if got := <-r.came; got != "k=v" {
		t.Errorf("told %q, want k=v", got)
	}
}

// TestJetStreamRefusesASecondWriter: two writers of one partition would give the
// same sequence numbers to different events.
func TestJetStreamRefusesASecondWriter(t *testing.T) {
	s := openDir(t, t.TempDir())
	cfg := core.EventLogConfig{Partitions: 1}
	one, two := openLog(t, s, cfg), openLog(t, s, cfg)
	appendRecord(t, one, 0, []byte("a"))
	if _, err := two.Append(t.Context(), 0, []byte("b")); err == nil {
		t.Fatal("a writer that had not seen the newest record appended")
	}
	if got := bounds(t, two, 0); got != [2]uint64{1, 1} {
		t.Errorf("bounds: %v, want [1 1]", got)
	}
	appendRecord(t, two, 0, []byte("b"))
}

// TestTrim: what is trimmed is gone and takes no room, and the newest record stays,
// so that sequences go on.
func TestTrim(t *testing.T) {
	onStores(t, func(t *testing.T, s core.Storage) {
		l := openLog(t, s, core.EventLogConfig{Partitions: 2})
		size := func() int64 {
			t.Helper()
			n, err := l.Size(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := size(); n != 0 {
			t.Errorf("an empty partition takes %d bytes", n)
		}
		record := bytes.Repeat([]byte("x"), 10_000)
		for range 10 {
			appendRecord(t, l, 0, record)
		}
		if n := size(); n < 100_000 || n > 110_000 {
			t.Errorf("ten records of 10000 bytes take %d", n)
		}
		for _, step := range []struct{ before, first uint64 }{{0, 1}, {1, 1}, {5, 5}, {3, 5}, {11, 10}, {1 << 40, 10}} {
			if err := l.Trim(t.Context(), 0, step.before); err != nil {
				t.Fatal(err)
			}
			if got := bounds(t, l, 0); got != [2]uint64{step.first, 10} {
				t.Errorf("trimmed before %d: %v", step.before, got)
			}
		}
		if n := size(); n < 10_000 || n > 11_000 {
			t.Errorf("the one record left takes %d bytes", n)
		}
		if seq, err := l.Append(t.Context(), 0, record); err != nil || seq != 11 {
			t.Errorf("append: %d, %v", seq, err)
		}
		if err := l.Trim(t.Context(), 2, 1); err == nil {
			t.Error("there is no such partition")
		}
		if _, err := l.Size(t.Context(), 2); err == nil {
			t.Error("there is no such partition")
		}
	})
}
