package dps

import (
	"context"
	"testing"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// lateBucket reports changes when it is told to.
type lateBucket struct {
	core.Bucket
	held []core.Change
	fn   func(core.Change)
}

func (b *lateBucket) Watch(ctx context.Context, fn func(core.Change)) (func(), error) {
	b.fn = fn
	return b.Bucket.Watch(ctx, func(c core.Change) {
		c.Value = append([]byte(nil), c.Value...)
		b.held = append(b.held, c)
	})
}

type lateStorage struct {
	core.Storage
	bucket *lateBucket
}

func (s lateStorage) Bucket(context.Context, string) (core.Bucket, error) { return s.bucket, nil }

// What the watch reports late does not bring back what was replaced or removed.
func TestTableIgnoresLateReports(t *testing.T) {
	ctx := t.Context()
	store := memory.New(nil)
	inner, err := store.Bucket(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	b := &lateBucket{Bucket: inner}
	type doc struct{ N int }
	var tab table[doc]
	if err := tab.start(ctx, lateStorage{store, b}, "x", func(*doc) error { return nil }, func(string, error) {}); err != nil {
		t.Fatal(err)
	}
	defer tab.close()
	r, err := tab.put(ctx, "k", &doc{1}, row[doc]{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = tab.put(ctx, "k", &doc{2}, r); err != nil {
		t.Fatal(err)
	}
	report := func() {
		c := b.held[0]
		b.held = b.held[1:]
		b.fn(c)
	}
	if report(); tab.get("k").doc.N != 2 {
		t.Error("an older state is back")
	}
	if err := tab.remove(ctx, r); err != nil {
		t.Fatal(err)
	}
	if report(); tab.get("k").doc != nil {
		t.Error("a removed document is back")
	}
	if report(); tab.get("k").doc != nil || len(tab.removed) != 0 {
		t.Errorf("after all reports: %v, %d removals remembered", tab.get("k").doc, len(tab.removed))
	}
	if _, err := tab.put(ctx, "k", &doc{3}, row[doc]{}); err != nil || tab.get("k").doc.N != 3 || tab.len() != 1 {
		t.Errorf("made again: %v", err)
	}
}
