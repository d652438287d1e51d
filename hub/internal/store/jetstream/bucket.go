package jetstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// bucket is a key-value bucket with one version per key. A removed key leaves a
// marker of some hundred bytes.
type bucket struct {
	store  *Store
	name   string
	prefix string // of the subjects that stand for keys
	kv     jetstream.KeyValue
}

// Bucket opens a key-value bucket.
func (s *Store) Bucket(ctx context.Context, name string) (core.Bucket, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	kv, err := s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: name, History: 1, Storage: jetstream.FileStorage, MaxBytes: -1, Replicas: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("jetstream: open bucket %s: %w", name, err)
	}
	return &bucket{store: s, name: name, prefix: "$KV." + name + ".", kv: kv}, nil
}

// Ids hold characters that subjects cannot carry.
func encodeKey(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func (b *bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := b.kv.Create(ctx, encodeKey(key), value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return 0, core.ErrKeyExists
	}
	return rev, b.failed("create a key", err)
}

func (b *bucket) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if rev == 0 {
		return 0, core.ErrRevision
	}
	return b.put(ctx, key, &nats.Msg{Data: value}, rev)
}

func (b *bucket) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if rev == 0 {
		return 0, core.ErrRevision
	}
	// The library's Delete does not say which revision the removal got.
	return b.put(ctx, key, &nats.Msg{Header: nats.Header{"KV-Operation": {"DEL"}}}, rev)
}

func (b *bucket) put(ctx context.Context, key string, m *nats.Msg, rev uint64) (uint64, error) {
	m.Subject = b.prefix + encodeKey(key)
	ack, err := b.store.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(rev))
	if err != nil {
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			return 0, core.ErrRevision
		}
		return 0, b.failed("change a key", err)
	}
	return ack.Sequence, nil
}

func (b *bucket) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("jetstream: %s of bucket %s: %w", op, b.name, err)
}

// Watch follows the bucket with a consumer of its own. The goroutine that serves
// it ends with stop or with the store.
func (b *bucket) Watch(ctx context.Context, fn func(core.Change)) (stop func(), err error) {
	// The consumer has to outlive ctx.
	life, cancel := context.WithCancel(context.Background())
	w, err := b.kv.WatchAll(life)
	if err != nil {
		cancel()
		return nil, b.failed("watch the keys", err)
	}
	for {
		select {
		case e, ok := <-w.Updates():
			if e != nil {
				deliver(e, fn)
				continue
			}
			if !ok {
				cancel()
				return nil, b.failed("watch the keys", nats.ErrConnectionClosed)
			}
		case <-ctx.Done():
			cancel()
			return nil, b.failed("watch the keys", ctx.Err())
		}
		break
	}
	var mu sync.Mutex
	stopped := false
	go func() {
		// Reading on after stop lets the library end: it blocks on a full channel.
		for e := range w.Updates() {
			mu.Lock()
			if e != nil && !stopped {
				deliver(e, fn)
			}
			mu.Unlock()
		}
	}()
	return func() {
		mu.Lock()
		stopped = true
		mu.Unlock()
		_ = w.Stop() // fails only when it has ended already
		cancel()
	}, nil
}

func deliver(e jetstream.KeyValueEntry, fn func(core.Change)) {
	key, err := base64.RawURLEncoding.DecodeString(e.Key())
	if err != nil {
		return // not a key of ours
	}
	fn(core.Change{
		Key: string(key), Value: e.Value(), Revision: e.Revision(),
		Deleted: e.Operation() != jetstream.KeyValuePut,
	})
}
