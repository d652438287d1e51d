package core

import (
	"context"
	"errors"
	"time"
)

// Storage is where a hub keeps what must survive. Implementations are safe for
// use by many goroutines. Whoever opened it closes it, after [Hub.Close].
type Storage interface {
	// EventLog opens the log of that name, creating what is missing.
	EventLog(ctx context.Context, cfg EventLogConfig) (EventLog, error)
	// Bucket opens a key-value collection, creating it when it is missing. Names
	// are lower-case letters and '-'.
	Bucket(ctx context.Context, name string) (Bucket, error)
	// Spool opens a collection of documents that come and go, creating it when it
	// is missing. Names are lower-case letters and '-'.
	Spool(ctx context.Context, name string) (Spool, error)
}

// Spool keeps documents until they are removed, and nothing of them afterwards:
// it is for what passes through, where a [Bucket] is for what stays. One hub at a
// time writes to it.
type Spool interface {
	// Put stores a document under a key, any non-empty string, in place of what
	// is there. It is durable when Put returns nil; after an error the outcome is
	// unknown.
	Put(ctx context.Context, key string, value []byte) error
	// Remove removes the document of a key; it is no error when there is none.
	Remove(ctx context.Context, key string) error
	// Each calls fn for every document there is, in no particular order, until fn
	// returns an error. fn must not call the Spool, and the value is to be read
	// only while the call lasts.
	Each(ctx context.Context, fn func(key string, value []byte) error) error
}

// EventLogConfig says how many partitions a log has and how long it keeps them.
type EventLogConfig struct {
	// Name tells the logs of a hub apart: lower-case letters, digits, '-', '_' and
	// '.'. The telemetry log has none.
	Name string
	// Partitions is at least 1.
	Partitions int
	// MaxAge is how long a record is kept; zero keeps it until MaxBytes says otherwise.
	MaxAge time.Duration
	// MaxBytes bounds each partition; the oldest records go first. Zero is no bound.
	MaxBytes int64
}

// EventLog keeps the events of every partition as records: batches of events
// whose content only this package reads.
type EventLog interface {
	// Append stores one record and returns its sequence, which is 1 or more and
	// grows by 1 per record. The record is durable when Append returns nil; after
	// an error the outcome is unknown until Bounds says. One caller per partition
	// at a time. The record is the caller's again when Append returns.
	Append(ctx context.Context, partition int, record []byte) (seq uint64, err error)
	// Read returns up to max records with Seq >= from, in order; none when there
	// are none yet. It may return fewer than max. The data must not be changed.
	Read(ctx context.Context, partition int, from uint64, max int) ([]Record, error)
	// Bounds returns the sequences of the oldest and the newest record kept. An
	// empty partition has first == last+1; last still counts what retention took.
	Bounds(ctx context.Context, partition int) (first, last uint64, err error)
	// Trim removes the records with Seq < before, but never the newest one: the
	// numbers that it holds go on.
	Trim(ctx context.Context, partition int, before uint64) error
	// Size is about how many bytes the storage takes for the partition.
	Size(ctx context.Context, partition int) (int64, error)
	// Watch has a value sent to wake after each append to the partition, without
	// blocking: give it a channel with room for one. One channel may serve many
	// partitions. After stop nothing more is sent.
	Watch(partition int, wake chan<- struct{}) (stop func())
}

// Record is one stored batch of events.
type Record struct {
	Seq  uint64
	Time time.Time // when the storage took it
	Data []byte
}

// Bucket is a key-value collection with compare-and-set. Keys are any non-empty
// strings. Revisions grow over the whole bucket: a later change has a larger one.
type Bucket interface {
	// Create stores a new key; [ErrKeyExists] when there is one.
	Create(ctx context.Context, key string, value []byte) (rev uint64, err error)
	// Update replaces the value whose revision is rev; [ErrRevision] otherwise,
	// also when the key is gone.
	Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)
	// Delete removes the value whose revision is rev and returns the revision of
	// the removal; [ErrRevision] otherwise.
	Delete(ctx context.Context, key string, rev uint64) (uint64, error)
	// Watch calls fn for every key there is, returns, and from then on calls fn
	// for each later change, whoever made it, one at a time and in the order of
	// revisions. ctx governs the first part only. After stop fn is not called.
	Watch(ctx context.Context, fn func(Change)) (stop func(), err error)
}

// Change is one state of one key.
type Change struct {
	Key      string
	Value    []byte // to be read only while the call lasts
	Revision uint64
	Deleted  bool
}

// What a [Bucket] answers when a precondition does not hold.
var (
	ErrKeyExists = errors.New("core: the key exists already")
	ErrRevision  = errors.New("core: the key has another revision")
)
