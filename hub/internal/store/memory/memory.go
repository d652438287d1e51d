// Package memory keeps a hub's data in memory: for tests, also in virtual time,
// since it starts no goroutine and reads no clock but the one it is given. What
// it holds outlives a hub, so a test can stop one and start the next on it.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// Store is an in-memory [core.Storage], safe for use by many goroutines. Calls
// never wait.
type Store struct {
	now func() time.Time

	mu      sync.Mutex
	logs    map[string]*eventLog
	buckets map[string]*bucket
	spools  map[string]*spool
}

var _ core.Storage = (*Store)(nil)

// New returns an empty store. clock is what retention and record times go by;
// nil is time.Now.
func New(clock func() time.Time) *Store {
	if clock == nil {
		clock = time.Now
	}
	return &Store{now: clock, logs: make(map[string]*eventLog), buckets: make(map[string]*bucket), spools: make(map[string]*spool)}
}

// EventLog returns the log of that name, with the retention of cfg from now on.
func (s *Store) EventLog(_ context.Context, cfg core.EventLogConfig) (core.EventLog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[cfg.Name]
	if l == nil {
		l = &eventLog{now: s.now}
		s.logs[cfg.Name] = l
	}
	l.configure(cfg)
	return l, nil
}

// Bucket returns the bucket of that name.
func (s *Store) Bucket(_ context.Context, name string) (core.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		b = &bucket{entries: make(map[string]entry)}
		s.buckets[name] = b
	}
	return b, nil
}

type eventLog struct {
	now func() time.Time

	mu         sync.Mutex
	cfg        core.EventLogConfig
	partitions []partition
}

type partition struct {
	records []core.Record
	last    uint64
	bytes   int64
	watches map[*watch]struct{}
}

type watch struct{ wake chan<- struct{} }

func (l *eventLog) configure(cfg core.EventLogConfig) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg = cfg
	for len(l.partitions) < cfg.Partitions {
		l.partitions = append(l.partitions, partition{watches: make(map[*watch]struct{})})
	}
}

// partitionLocked applies retention before anybody looks. l.mu is held.
func (l *eventLog) partitionLocked(i int) (*partition, error) {
	if i < 0 || i >= len(l.partitions) {
		return nil, fmt.Errorf("memory: there is no partition %d", i)
	}
	p := &l.partitions[i]
	oldest := l.now().Add(-l.cfg.MaxAge)
	n := 0
	for n < len(p.records) &&
		(l.cfg.MaxAge > 0 && p.records[n].Time.Before(oldest) || l.cfg.MaxBytes > 0 && p.bytes > l.cfg.MaxBytes) {
		p.bytes -= int64(len(p.records[n].Data))
		n++
	}
	p.records = slices.Delete(p.records, 0, n)
	return p, nil
}

func (l *eventLog) Append(_ context.Context, partition int, record []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.partitionLocked(partition)
	if err != nil {
		return 0, err
	}
	p.last++
	p.records = append(p.records, core.Record{Seq: p.last, Time: l.now(), Data: bytes.Clone(record)})
	p.bytes += int64(len(record))
	for w := range p.watches {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return p.last, nil
}

func (l *eventLog) Read(_ context.Context, partition int, from uint64, max int) ([]core.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.partitionLocked(partition)
	if err != nil || len(p.records) == 0 {
		return nil, err
	}
	first := p.records[0].Seq
	start := 0
	if from > first {
		start = int(min(from-first, uint64(len(p.records))))
	}
	return slices.Clone(p.records[start:min(start+max, len(p.records))]), nil
}

func (l *eventLog) Trim(_ context.Context, partition int, before uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.partitionLocked(partition)
	if err != nil {
		return err
	}
	n := 0
	for n < len(p.records)-1 && p.records[n].Seq < before {
		p.bytes -= int64(len(p.records[n].Data))
		n++
	}
	p.records = slices.Delete(p.records, 0, n)
	return nil
}

func (l *eventLog) Size(_ context.Context, partition int) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.partitionLocked(partition)
	if err != nil {
		return 0, err
	}
	return p.bytes, nil
}

func (l *eventLog) Bounds(_ context.Context, partition int) (first, last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.partitionLocked(partition)
	if err != nil {
		return 0, 0, err
	}
	return p.last + 1 - uint64(len(p.records)), p.last, nil
}

func (l *eventLog) Watch(partition int, wake chan<- struct{}) (stop func()) {
	w := &watch{wake}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions[partition].watches[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.partitions[partition].watches, w)
	}
}

type entry struct {
	value []byte
	rev   uint64
}

// bucket tells its watchers in the goroutine that makes a change, one change at
// a time: telling is held between the two, so that they see revisions in order.
type bucket struct {
	telling sync.Mutex // taken before mu; held while watchers run
	mu      sync.Mutex
	entries map[string]entry
	rev     uint64
	watches []*bucketWatch
}

type bucketWatch struct{ fn func(core.Change) }

// change makes one change when the key's revision is rev (0: absent), and tells.
func (b *bucket) change(key string, value []byte, rev uint64, mismatch error, deleted bool) (uint64, error) {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	if key == "" || b.entries[key].rev != rev {
		b.mu.Unlock()
		return 0, mismatch
	}
	b.rev++
	c := core.Change{Key: key, Value: bytes.Clone(value), Revision: b.rev, Deleted: deleted}
	if deleted {
		delete(b.entries, key)
	} else {
		b.entries[key] = entry{c.Value, c.Revision}
	}
	watches := slices.Clone(b.watches)
	b.mu.Unlock()
	for _, w := range watches {
		w.fn(c)
	}
	return c.Revision, nil
}

func (b *bucket) Create(_ context.Context, key string, value []byte) (uint64, error) {
	return b.change(key, value, 0, core.ErrKeyExists, false)
}

func (b *bucket) Update(_ context.Context, key string, value []byte, rev uint64) (uint64, error) {
	if rev == 0 {
		return 0, core.ErrRevision
	}
	return b.change(key, value, rev, core.ErrRevision, false)
}

func (b *bucket) Delete(_ context.Context, key string, rev uint64) (uint64, error) {
	if rev == 0 {
		return 0, core.ErrRevision
	}
	return b.change(key, nil, rev, core.ErrRevision, true)
}

func (b *bucket) Watch(_ context.Context, fn func(core.Change)) (stop func(), err error) {
	b.telling.Lock()
	defer b.telling.Unlock()
	w := &bucketWatch{fn}
	b.mu.Lock()
	b.watches = append(b.watches, w)
	changes := make([]core.Change, 0, len(b.entries))
	for key, e := range b.entries {
		changes = append(changes, core.Change{Key: key, Value: e.value, Revision: e.rev})
	}
	b.mu.Unlock()
	slices.SortFunc(changes, func(x, y core.Change) int { return int(int64(x.Revision) - int64(y.Revision)) })
	for _, c := range changes {
		fn(c)
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watches = slices.DeleteFunc(b.watches, func(x *bucketWatch) bool { return x == w })
	}, nil
}
