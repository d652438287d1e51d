package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxReadBytes bounds one read; a read always gives at least one record.
const maxReadBytes = 8 << 20

type eventLog struct {
	store      *Store
	partitions []*partition
}

type partition struct {
	name    string // of the stream
	subject string
	stream  jetstream.Stream

	mu      sync.Mutex
	last    uint64 // sequence of the newest record, as far as known
	watches map[*watch]struct{}
}

type watch struct{ wake chan<- struct{} }

// streamName is the name of the stream for a partition. Names of streams have no
// dots.
func streamName(log string, partition int) string {
	n := strconv.Itoa(partition)
	if log == "" {
		return "EVENTS-" + n
	}
	return "EVENTS=" + strings.ReplaceAll(log, ".", "+") + "=" + n
}

// EventLog opens one stream per partition with the retention of cfg.
func (s *Store) EventLog(ctx context.Context, cfg core.EventLogConfig) (core.EventLog, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	l := &eventLog{store: s}
	for i := range cfg.Partitions {
		p := &partition{name: streamName(cfg.Name, i), watches: make(map[*watch]struct{})}
		p.subject = "events." + strings.TrimPrefix(strings.TrimPrefix(p.name, "EVENTS"), "-")
		maxBytes := cfg.MaxBytes
		if maxBytes == 0 {
			maxBytes = -1
		}
		sc := jetstream.StreamConfig{
			Name:              p.name,
			Subjects:          []string{p.subject},
			Retention:         jetstream.LimitsPolicy,
			Discard:           jetstream.DiscardOld,
			Storage:           jetstream.FileStorage,
			Replicas:          1,
			MaxAge:            cfg.MaxAge,
			MaxBytes:          maxBytes,
			MaxMsgs:           -1,
			MaxMsgsPerSubject: -1,
			AllowDirect:       true,
			// No record carries an id, so nothing is remembered; the window has
			// to be no longer than MaxAge.
			Duplicates: time.Second,
		}
		var err error
		if p.stream, err = s.openStream(ctx, sc); err != nil {
			return nil, fmt.Errorf("jetstream: open stream %s: %w", p.name, err)
		}
		p.last = p.stream.CachedInfo().State.LastSeq
		l.partitions = append(l.partitions, p)
	}
	return l, nil
}

// openStream makes the stream or, when it is there with another retention,
// changes it: one call in the usual cases.
func (s *Store) openStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	stream, err := s.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		stream, err = s.js.UpdateStream(ctx, cfg)
	}
	return stream, err
}

func (l *eventLog) partition(i int) (*partition, error) {
	if i < 0 || i >= len(l.partitions) {
		return nil, fmt.Errorf("jetstream: there is no partition %d", i)
	}
	return l.partitions[i], nil
}

// Append expects the stream to end where it is known to: were a record of
// unknown outcome to arrive late, this one would fail instead of repeating its
// numbers.
func (l *eventLog) Append(ctx context.Context, partition int, record []byte) (uint64, error) {
	p, err := l.partition(partition)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	ack, err := l.store.js.PublishMsg(ctx, &nats.Msg{Subject: p.subject, Data: record},
		jetstream.WithExpectLastSequence(last), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, fmt.Errorf("jetstream: append to %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = ack.Sequence
	for w := range p.watches {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return ack.Sequence, nil
}

func (l *eventLog) Trim(ctx context.Context, partition int, before uint64) error {
	p, err := l.partition(partition)
	if err != nil {
		return err
	}
	p.mu.Lock()
	before = min(before, p.last)
	p.mu.Unlock()
	if before <= 1 {
		return nil
	}
	if err := p.stream.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return fmt.Errorf("jetstream: trim %s: %w", p.name, err)
	}
	return nil
}

func (l *eventLog) Size(ctx context.Context, partition int) (int64, error) {
	p, err := l.partition(partition)
	if err != nil {
		return 0, err
	}
	info, err := p.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("jetstream: look at %s: %w", p.name, err)
	}
	return int64(info.State.Bytes), nil
}

func (l *eventLog) Bounds(ctx context.Context, partition int) (first, last uint64, err error) {
	p, err := l.partition(partition)
	if err != nil {
		return 0, 0, err
	}
	info, err := p.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("jetstream: look at %s: %w", p.name, err)
	}
	first, last = info.State.FirstSeq, info.State.LastSeq
	if info.State.Msgs == 0 {
		first = last + 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = max(p.last, last)
	return first, last, nil
}

// directGet is a request to a stream for several messages at once.
type directGet struct {
	Seq      uint64 `json:"seq"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

// Read asks the stream itself rather than a consumer: no state remains in the
// server when a reader goes away.
func (l *eventLog) Read(ctx context.Context, partition int, from uint64, max int) ([]core.Record, error) {
	p, err := l.partition(partition)
	if err != nil {
		return nil, err
	}
	if from == 0 {
		from = 1
	}
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if from > last {
		return nil, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var records []core.Record
	err = l.store.directGet(ctx, p.name, directGet{Seq: from, Batch: max, MaxBytes: maxReadBytes}, func(seq uint64, m *nats.Msg) error {
		at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
		if err != nil {
			return fmt.Errorf("an answer without a time: %w", err)
		}
		records = append(records, core.Record{Seq: seq, Time: at, Data: m.Data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("jetstream: read from %s: %w", p.name, err)
	}
	return records, nil
}

// directGet calls fn for each message that the request asks for.
func (s *Store) directGet(ctx context.Context, stream string, req directGet, fn func(seq uint64, m *nats.Msg) error) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	nc := s.reading
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // only fails on a closed connection
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of what there is
			return nil
		default:
			return fmt.Errorf("the server answers %s %s", status, m.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return fmt.Errorf("an answer without a sequence: %w", err)
		}
		if err := fn(seq, m); err != nil {
			return err
		}
	}
}

// Watch tells of the appends of this process, which has the only server on the
// data.
func (l *eventLog) Watch(partition int, wake chan<- struct{}) (stop func()) {
	p := l.partitions[partition]
	w := &watch{wake}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[w] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, w)
	}
}
