package core

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// partition gathers events in memory and commits them as records.
//
// Events go into the open batch. The committer takes the oldest batch there is
// as soon as it has nothing else to do: what gathers during one commit is the
// next record. Batching follows from load; an event that comes alone is
// committed alone and at once.
type partition struct {
	hub    *Hub
	events EventLog
	index  int

	mu      sync.Mutex   // guards what follows; held for copying only
	open    *batch       // takes events; nil when there are none
	full    []*batch     // closed because of their size, oldest first
	free    []*batch     // for reuse
	waiting int          // bytes enqueued and not yet answered
	kept    atomic.Int64 // about the bytes that are stored and those of waiting; changed under mu
	nextID  uint64
	idle    bool // the committer waits for wake
	closed  bool

	wake chan struct{} // room for one

	// Owned by the committer (and by New before it runs).
	nextSeq   uint64 // sequence number of the next event
	uncertain bool   // an append failed, so nextSeq has to be read back
}

const (
	maxFree = 3
	// maxKeptBuffer is the largest buffer kept for reuse.
	maxKeptBuffer = 2 * targetRecordBytes
)

func newPartition(h *Hub, events EventLog, index int) *partition {
	return &partition{hub: h, events: events, index: index, wake: make(chan struct{}, 1)}
}

// enqueue copies the events of one call into the open batch. Unless they are too
// many for one record they share one, so that done answers for all of them.
func (p *partition) enqueue(s *sender, events []Event, size int, now int64, done func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.admitLocked(size); err != nil {
		return err
	}
	p.putLocked(s, events, size, now, done)
	return nil
}

// admitLocked says whether there is room for events of that size. p.mu is held.
func (p *partition) admitLocked(size int) error {
	if p.closed {
		return errClosed()
	}
	if p.waiting+size > p.hub.cfg.MaxWaiting {
		return NewError(CodeServerBusy, "%d bytes of events wait for the storage already", p.waiting)
	}
	if limit := p.hub.storeLimit(); limit > 0 {
		// An empty store takes whatever comes, or that would never get in.
		if kept := p.hub.builtin.Kept(); kept > 0 && kept+int64(size) > limit {
			return NewError(CodeServerBusy, "%d bytes of events wait to be passed on already, the limit is %d", kept, limit)
		}
	}
	return nil
}

// putLocked puts events that were admitted into batches. p.mu is held.
func (p *partition) putLocked(s *sender, events []Event, size int, now int64, done func(error)) {
	if size > targetRecordBytes || len(events) > maxRecordEvents {
		p.putPartsLocked(s, events, now, done)
		return
	}
	p.addLocked(s, events, size, now, done)
}

// putPartsLocked splits a call that is too large for one record.
func (p *partition) putPartsLocked(s *sender, events []Event, now int64, done func(error)) {
	var parts [][]Event
	var sizes []int
	start, size := 0, 0
	for i := range events {
		n := len(events[i].Bag) + len(events[i].Payload) + maxEventOverhead
		if i > start && (size+n > targetRecordBytes || i-start >= maxRecordEvents) {
			parts, sizes = append(parts, events[start:i]), append(sizes, size)
			start, size = i, 0
		}
		size += n
	}
	parts, sizes = append(parts, events[start:]), append(sizes, size)
	all := joined(len(parts), done)
	for i, part := range parts {
		p.addLocked(s, part, sizes[i], now, all)
	}
}

// addLocked puts events that fit one record into the open batch, or into a new
// one. p.mu is held.
func (p *partition) addLocked(s *sender, events []Event, size int, now int64, done func(error)) {
	b := p.open
	if b != nil && (b.size()+size > targetRecordBytes || int(b.count)+len(events) > maxRecordEvents) {
		p.full = append(p.full, b)
		b = nil
	}
	if b == nil {
		b = p.takeLocked()
		p.open = b
	}
	conn := b.connection(s)
	for i := range events {
		b.add(conn, &events[i], now)
	}
	b.dones = append(b.dones, done)
	b.weight += size
	p.waiting += size
	p.kept.Add(int64(size))
	if p.idle {
		p.idle = false
		p.wake <- struct{}{} // room: the committer emptied it before it went idle
	}
}

func (p *partition) takeLocked() *batch {
	var b *batch
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	} else {
		b = new(batch)
	}
	p.nextID++
	b.reset(p.nextID)
	return b
}

// run is the committer. It ends when the partition is shut and all is answered.
func (p *partition) run() {
	for {
		b := p.next()
		if b == nil {
			return
		}
		err := p.commit(b)
		for _, done := range b.dones {
			done(err)
		}
		p.recycle(b)
	}
}

// next takes the oldest batch, waiting for one.
func (p *partition) next() *batch {
	for {
		p.mu.Lock()
		var b *batch
		switch {
		case len(p.full) > 0:
			b = p.full[0]
			p.full[0] = nil
			p.full = p.full[1:]
		case p.open != nil:
			b, p.open = p.open, nil
		case p.closed:
			p.mu.Unlock()
			return nil
		default:
			p.idle = true
		}
		p.mu.Unlock()
		if b != nil {
			return b
		}
		<-p.wake
	}
}

// commit appends one batch as a record. The append itself cannot be cancelled:
// it was accepted, and Close waits for it.
func (p *partition) commit(b *batch) error {
	ctx := context.Background()
	if p.uncertain {
		if err := p.recover(ctx); err != nil {
			return p.failed(err)
		}
		p.uncertain = false
	}
	record := b.seal(p.nextSeq)
	if _, err := p.events.Append(ctx, p.index, record); err != nil {
		// The record may be there all the same: what comes next must not get
		// numbers that it has.
		p.uncertain = true
		return p.failed(err)
	}
	p.nextSeq += uint64(b.count)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.Add(int64(len(record))) // recycle takes the estimate back
	return nil
}

func (p *partition) failed(err error) error {
	p.hub.log.Error("telemetry was not stored", "partition", p.index, "error", err)
	e := NewError(CodeServiceUnavailable, "the events could not be stored")
	e.cause = err
	return e
}

// recover reads from the log which sequence number comes next.
func (p *partition) recover(ctx context.Context) error {
	_, last, err := p.events.Bounds(ctx, p.index)
	if err != nil || last == 0 {
		p.nextSeq = 0
		return err
	}
	records, err := p.events.Read(ctx, p.index, last, 1)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		// Retention has taken even the newest record. Numbers must not begin
		// again, and a record never holds more events than this.
		p.nextSeq = max(p.nextSeq, last*maxRecordEvents)
		return nil
	}
	r, err := decodeRecord(records[0].Data)
	if err != nil {
		return fmt.Errorf("record %d: %w", records[0].Seq, err)
	}
	p.nextSeq = r.first + uint64(r.count)
	return nil
}

func (p *partition) recycle(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting -= b.weight
	p.kept.Add(-int64(b.weight))
	if len(p.free) < maxFree && cap(b.buf) <= maxKeptBuffer {
		p.free = append(p.free, b)
	}
}

// shut refuses further events and lets the committer end.
func (p *partition) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.idle {
		p.idle = false
		p.wake <- struct{}{}
	}
}
