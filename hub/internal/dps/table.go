package dps

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// table is a bucket of JSON documents with a watched copy in memory, by key.
// Documents are never changed in place.
type table[T any] struct {
	bucket core.Bucket
	stop   func()
	// open prepares a document that was read; one that it refuses is left out.
	open func(*T) error

	mu      sync.RWMutex
	rows    map[string]row[T]
	removed map[string]uint64 // removals that the watch has not reported yet
	watched uint64            // newest revision that the watch has reported
	// sorted are the keys in order, never changed in place; nil: to be made.
	sorted []string
}

type row[T any] struct {
	key string
	doc *T
	rev uint64
}

func (t *table[T]) start(ctx context.Context, storage core.Storage, name string, open func(*T) error, damaged func(key string, err error)) error {
	t.open, t.rows, t.removed = open, make(map[string]row[T]), make(map[string]uint64)
	var err error
	if t.bucket, err = storage.Bucket(ctx, name); err != nil {
		return err
	}
	t.stop, err = t.bucket.Watch(ctx, func(c core.Change) {
		var doc *T
		if !c.Deleted {
			doc = new(T)
			err := json.Unmarshal(c.Value, doc)
			if err == nil {
				err = open(doc)
			}
			if err != nil {
				damaged(c.Key, err)
				return
			}
		}
		t.reported(c.Key, doc, c.Revision)
	})
	return err
}

func (t *table[T]) close() {
	if t.stop != nil {
		t.stop()
	}
}

// reported takes what the watch says.
func (t *table[T]) reported(key string, doc *T, rev uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watched = max(t.watched, rev)
	stale := t.removed[key] >= rev
	if t.removed[key] <= rev {
		delete(t.removed, key)
	}
	if !stale {
		t.putLocked(key, doc, rev)
	}
}

// putLocked takes a state (nil: removed) unless there is a newer one.
func (t *table[T]) putLocked(key string, doc *T, rev uint64) {
	if known, ok := t.rows[key]; ok && known.rev >= rev || t.removed[key] > rev {
		return
	}
	if doc != nil {
		if _, ok := t.rows[key]; !ok {
			t.sorted = nil
		}
		t.rows[key] = row[T]{key, doc, rev}
		return
	}
	t.sorted = nil
	delete(t.rows, key)
	if rev > t.watched {
		t.removed[key] = rev
	}
}

// get returns the document of a key; its doc is nil when there is none.
func (t *table[T]) get(key string) row[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rows[key]
}

func (t *table[T]) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// keys returns the keys in order, behind one of them unless that is empty.
func (t *table[T]) keys(after string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sorted == nil {
		t.sorted = slices.Sorted(maps.Keys(t.rows))
	}
	if after == "" {
		return t.sorted
	}
	i, found := slices.BinarySearch(t.sorted, after)
	if found {
		i++
	}
	return t.sorted[i:]
}

// all gives what there is in the order of keys, behind one of them unless that is
// empty. What comes or goes meanwhile may be among it.
func (t *table[T]) all(after string) iter.Seq[row[T]] {
	return func(yield func(row[T]) bool) {
		for _, key := range t.keys(after) {
			if r := t.get(key); r.doc != nil && !yield(r) {
				return
			}
		}
	}
}

// put stores a document in place of old, which may be none. The error is
// core.ErrKeyExists or core.ErrRevision when that is not what is there.
func (t *table[T]) put(ctx context.Context, key string, doc *T, old row[T]) (row[T], error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return row[T]{}, err
	}
	var rev uint64
	if old.doc == nil {
		rev, err = t.bucket.Create(ctx, key, data)
	} else {
		rev, err = t.bucket.Update(ctx, key, data, old.rev)
	}
	if err != nil {
		return row[T]{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.putLocked(key, doc, rev)
	return row[T]{key, doc, rev}, nil
}

// remove deletes a document.
func (t *table[T]) remove(ctx context.Context, r row[T]) error {
	rev, err := t.bucket.Delete(ctx, r.key, r.rev)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.putLocked(r.key, nil, rev)
	return nil
}
