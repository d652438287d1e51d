package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/atomicfile"
)

// lastSave bounds saving a checkpoint when Run ends.
const lastSave = 10 * time.Second

// Checkpoint says how far a partition has been handled.
type Checkpoint struct {
	// EventHub, ConsumerGroup and Partition say of what.
	EventHub      string `json:"eventHub"`
	ConsumerGroup string `json:"consumerGroup"`
	Partition     string `json:"partition"`
	// SequenceNumber and Offset are those of the last event that was handled.
	SequenceNumber int64  `json:"sequenceNumber"`
	Offset         string `json:"offset"`
}

// CheckpointStore remembers how far partitions have been handled. Its methods are
// called by several goroutines at once, by one for each partition.
type CheckpointStore interface {
	// Load returns the checkpoint of what of names, ok false for none.
	Load(ctx context.Context, of Checkpoint) (c Checkpoint, ok bool, err error)
	// Save replaces the checkpoint of what c names. It is there for good when
	// Save returns.
	Save(ctx context.Context, c Checkpoint) error
}

// RunOptions are for [Events.Run]. The zero value, and nil, are the defaults.
type RunOptions struct {
	// Store remembers how far partitions have been handled; nil is memory that
	// ends with Run.
	Store CheckpointStore
	// From is where partitions without a checkpoint begin; the zero value is
	// their start.
	From Position
	// Every is after how many events of a partition a checkpoint is saved; 0 is
	// after each. It is saved in the end in any case. With more, up to that many
	// events come again after a crash.
	Every int
	// Partitions are those to handle; nil is all of them.
	Partitions []string
}

// Run has handle called with the events of all partitions: those of one partition
// one after the other, those of several at once. What handle has returned nil for is
// behind the next checkpoint, and does not come again; after a crash the events
// since the last checkpoint do. Run ends when ctx does, which is no error, or with
// the first error of handle, of the store, or of reading, when waiting does not cure
// it. It returns when nothing of it runs any more.
func (e *Events) Run(ctx context.Context, handle func(context.Context, *Event) error, o *RunOptions) error {
	var opts RunOptions
	if o != nil {
		opts = *o
	}
	if opts.Store == nil {
		opts.Store = &MemoryCheckpoints{}
	}
	partitions := opts.Partitions
	if partitions == nil {
		var err error
		if partitions, err = e.allPartitions(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, len(partitions))
	for _, p := range partitions {
		wg.Go(func() {
			if err := e.runPartition(ctx, p, handle, &opts); err != nil {
				failed <- fmt.Errorf("partition %s: %w", p, err)
				cancel()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed: // the first
		return err
	default:
		return nil
	}
}

// allPartitions waits for a hub that cannot be reached.
func (e *Events) allPartitions(ctx context.Context) ([]string, error) {
	for n := 1; ; n++ {
		p, err := e.Partitions(ctx)
		if err == nil || !iothub.Retryable(err) || iothub.KindOf(err) == iothub.KindTLS || e.opts.Retry.Strategy == iothub.RetryNone {
			return p, err
		}
		if e := pause(ctx, e.opts.Retry.Delay(n, 1)); e != nil {
			return nil, e
		}
	}
}

// runPartition handles one partition until ctx ends, which is no error.
func (e *Events) runPartition(ctx context.Context, partition string, handle func(context.Context, *Event) error, o *RunOptions) (err error) {
	e.mu.Lock()
	hub := e.hub
	e.mu.Unlock()
	if hub == "" {
		if _, err := e.open(ctx); err != nil {
			return err
		}
		e.mu.Lock()
		hub = e.hub
		e.mu.Unlock()
	}
	done := Checkpoint{EventHub: hub, ConsumerGroup: e.events.ConsumerGroup, Partition: partition}
	from := o.From
	c, ok, err := o.Store.Load(ctx, done)
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	if ok {
		from = AfterSequence(c.SequenceNumber)
	}
	unsaved := 0
	save := func(ctx context.Context) error {
		if unsaved == 0 {
			return nil
		}
		if err := o.Store.Save(ctx, done); err != nil {
			return fmt.Errorf("save checkpoint: %w", err)
		}
		unsaved = 0
		return nil
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
		defer cancel()
		if e := save(last); err == nil {
			err = e
		}
	}()
	for ev, err := range e.Read(ctx, partition, from) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := handle(ctx, ev); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil // interrupted: it comes again
			}
			return err
		}
		done.SequenceNumber, done.Offset = ev.SequenceNumber, ev.Offset
		if unsaved++; unsaved >= max(o.Every, 1) {
			if err := save(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// MemoryCheckpoints is a store that forgets with the process. The zero value is
// empty. It is safe for use by many goroutines.
type MemoryCheckpoints struct {
	mu sync.Mutex
	m  map[Checkpoint]Checkpoint
}

// key is what a checkpoint is of.
func (c Checkpoint) key() Checkpoint {
	return Checkpoint{EventHub: c.EventHub, ConsumerGroup: c.ConsumerGroup, Partition: c.Partition}
}

// Load implements [CheckpointStore].
func (s *MemoryCheckpoints) Load(_ context.Context, of Checkpoint) (Checkpoint, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.m[of.key()]
	return c, ok, nil
}

// Save implements [CheckpointStore].
func (s *MemoryCheckpoints) Save(_ context.Context, c Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[Checkpoint]Checkpoint{}
	}
	s.m[c.key()] = c
	return nil
}

// FileCheckpoints is a store with a file for each partition in the folder that it
// names, which is made when missing. A file is replaced as a whole. Two processes
// must not share a folder for the same consumer group.
type FileCheckpoints string

func (dir FileCheckpoints) file(c Checkpoint) string {
	return filepath.Join(string(dir), url.QueryEscape(c.EventHub)+"_"+url.QueryEscape(c.ConsumerGroup)+"_"+url.QueryEscape(c.Partition)+".json")
}

// Load implements [CheckpointStore].
func (dir FileCheckpoints) Load(_ context.Context, of Checkpoint) (c Checkpoint, ok bool, err error) {
	b, err := os.ReadFile(dir.file(of))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, false, fmt.Errorf("%s: %w", dir.file(of), err)
	}
	return c, c.key() == of.key(), nil
}

// Save implements [CheckpointStore].
func (dir FileCheckpoints) Save(_ context.Context, c Checkpoint) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(dir), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(dir.file(c), b)
}
