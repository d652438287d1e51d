package jetstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// eachBatch is how many documents one request reads.
const eachBatch = 1000

// spool is a stream with a subject for each key and one message per subject, so
// that a document takes the place of the one before it. A key-value bucket would
// leave a marker for every key that was ever removed.
type spool struct {
	store  *Store
	name   string // of the stream
	prefix string // of the subjects
	stream jetstream.Stream
}

// Spool opens the stream of that name.
func (s *Store) Spool(ctx context.Context, name string) (core.Spool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p := &spool{store: s, name: "SPOOL-" + name, prefix: "spool." + name + "."}
	var err error
	p.stream, err = s.openStream(ctx, jetstream.StreamConfig{
		Name:              p.name,
		Subjects:          []string{p.prefix + "*"},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		Storage:           jetstream.FileStorage,
		Replicas:          1,
		MaxBytes:          -1,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: 1,
		AllowDirect:       true,
	})
	if err != nil {
		return nil, fmt.Errorf("jetstream: open stream %s: %w", p.name, err)
	}
	return p, nil
}

func (p *spool) Put(ctx context.Context, key string, value []byte) error {
	if key == "" {
		return errors.New("jetstream: the key of a document is empty")
	}
	_, err := p.store.js.PublishMsg(ctx, &nats.Msg{Subject: p.prefix + encodeKey(key), Data: value})
	return p.failed("store a document", err)
}

func (p *spool) Remove(ctx context.Context, key string) error {
	return p.failed("remove a document", p.stream.Purge(ctx, jetstream.WithPurgeSubject(p.prefix+encodeKey(key))))
}

func (p *spool) Each(ctx context.Context, fn func(key string, value []byte) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	next := uint64(1)
	for {
		from := next
		err := p.store.directGet(ctx, p.name, directGet{Seq: from, Batch: eachBatch, MaxBytes: maxReadBytes}, func(seq uint64, m *nats.Msg) error {
			next = seq + 1
			text := strings.TrimPrefix(m.Header.Get(jetstream.SubjectHeader), p.prefix)
			key, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil {
				return nil // not a key of ours
			}
			return fn(string(key), m.Data)
		})
		if err != nil {
			return p.failed("read", err)
		}
		if next == from {
			return nil
		}
	}
}

func (p *spool) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("jetstream: %s of %s: %w", op, p.name, err)
}
