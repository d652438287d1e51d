package core

import (
	"context"
	"errors"
	"sort"
)

// ErrNoEvent is what [EventReader.TryNext] says when there is nothing to read now.
var ErrNoEvent = errors.New("core: no event now")

// readAhead is how many records a reader takes from a partition at once.
const readAhead = 8

// PartitionInfo describes what a partition holds.
type PartitionInfo struct {
	Partition int
	// FirstSequenceNumber is that of the oldest event kept, LastSequenceNumber
	// that of the newest ever enqueued; -1 when there was none yet.
	FirstSequenceNumber, LastSequenceNumber int64
	// LastOffset and LastEnqueuedTime belong to the newest event; "-1" and zero
	// when none is kept.
	LastOffset       string
	LastEnqueuedTime Time
	// Empty says that no event is kept.
	Empty bool
}

// PartitionInfo is [EventHub.PartitionInfo] of the built-in event hub.
func (h *Hub) PartitionInfo(ctx context.Context, partition int) (PartitionInfo, error) {
	return h.builtin.PartitionInfo(ctx, partition)
}

// PartitionInfo tells what a partition holds now; 503003 when there is no such
// partition.
func (h *EventHub) PartitionInfo(ctx context.Context, partition int) (PartitionInfo, error) {
	info := PartitionInfo{Partition: partition, FirstSequenceNumber: -1, LastSequenceNumber: -1, LastOffset: "-1", Empty: true}
	if err := h.checkPartition(partition); err != nil {
		return info, err
	}
	first, last, err := h.events.Bounds(ctx, partition)
	if err != nil {
		return info, storageError("partition info", err)
	}
	newest, seq, err := h.recordAt(ctx, partition, last)
	if err != nil || newest == nil {
		return info, err
	}
	oldest, _, err := h.recordAt(ctx, partition, first)
	if err != nil {
		return info, err
	}
	if oldest == nil { // taken by retention in between
		oldest = newest
	}
	info.Empty = false
	info.FirstSequenceNumber = int64(oldest.first)
	info.LastSequenceNumber = int64(newest.first) + int64(newest.count) - 1
	info.LastOffset = formatOffset(seq, newest.count-1)
	info.LastEnqueuedTime = Time{timeOfMillis(newest.last)}
	return info, nil
}

func (h *EventHub) checkPartition(partition int) error {
	if partition < 0 || partition >= len(h.partitions) {
		return NewError(CodePartitionNotFound, "there is no partition %d; there are 0 to %d", partition, len(h.partitions)-1)
	}
	return nil
}

// recordAt decodes the first record from seq on; nil when there is none.
func (h *EventHub) recordAt(ctx context.Context, partition int, seq uint64) (*record, uint64, error) {
	records, err := h.events.Read(ctx, partition, seq, 1)
	if err != nil {
		return nil, 0, storageError("read events", err)
	}
	if len(records) == 0 {
		return nil, 0, nil
	}
	r, err := decodeRecord(records[0].Data)
	if err != nil {
		return nil, 0, storageError("read events", err)
	}
	return r, records[0].Seq, nil
}

// EventReader reads events of one or more partitions and, at their end, waits
// for more. Within a partition they come in order. It is for one goroutine.
type EventReader struct {
	hub     *EventHub
	cursors []*cursor
	turn    int
	wake    chan struct{}
	stops   []func()
}

// cursor is the place of a reader in one partition.
type cursor struct {
	partition int
	from      uint64   // sequence of the next record to fetch
	fetched   []Record // not decoded yet
	current   *record
	seq       uint64 // of current
	skip      func(e *rawEvent, seq uint64, index int, number uint64) bool
}

// drained says that the next event has to be fetched.
func (c *cursor) drained() bool {
	return len(c.fetched) == 0 && (c.current == nil || c.current.index >= c.current.count)
}

// NewReader is [EventHub.NewReader] of the built-in event hub.
func (h *Hub) NewReader(ctx context.Context, from Position, partitions ...int) (*EventReader, error) {
	return h.builtin.NewReader(ctx, from, partitions...)
}

// NewReader makes a reader that begins at the position in each of the
// partitions, or in all when none is named. It has to be closed. Errors are
// *Error; 503003 when there is no such partition.
func (h *EventHub) NewReader(ctx context.Context, from Position, partitions ...int) (*EventReader, error) {
	if len(partitions) == 0 {
		for i := range h.partitions {
			partitions = append(partitions, i)
		}
	}
	r := &EventReader{hub: h, wake: make(chan struct{}, 1)}
	for _, p := range partitions {
		if err := h.checkPartition(p); err != nil {
			r.Close()
			return nil, err
		}
		r.stops = append(r.stops, h.events.Watch(p, r.wake))
		c := &cursor{partition: p}
		if err := h.seek(ctx, c, from); err != nil {
			r.Close()
			return nil, err
		}
		r.cursors = append(r.cursors, c)
	}
	return r, nil
}

// seek finds the record where reading begins and what to skip in it.
func (h *EventHub) seek(ctx context.Context, c *cursor, pos Position) error {
	if pos.kind == fromOffset {
		c.from = pos.number >> offsetIndexBits
		c.skip = func(_ *rawEvent, seq uint64, index int, _ uint64) bool {
			at := seq<<offsetIndexBits | uint64(index)
			return at < pos.number || (at == pos.number && !pos.inclusive)
		}
		return nil
	}
	first, last, err := h.events.Bounds(ctx, c.partition)
	if err != nil {
		return storageError("read events", err)
	}
	c.from = first
	switch pos.kind {
	case fromNow:
		c.from = last + 1
	case fromTime:
		ms := pos.time.UnixMilli()
		c.skip = func(e *rawEvent, _ uint64, _ int, _ uint64) bool { return e.time < ms }
		c.from, err = h.search(ctx, c.partition, first, last, func(r *record) bool { return r.last >= ms })
	case fromSequence:
		c.skip = func(_ *rawEvent, _ uint64, _ int, number uint64) bool {
			return number < pos.number || (number == pos.number && !pos.inclusive)
		}
		c.from, err = h.search(ctx, c.partition, first, last, func(r *record) bool {
			return r.first+uint64(r.count) > pos.number
		})
	}
	return err
}

// search finds by halving the first record that reached says yes to.
func (h *EventHub) search(ctx context.Context, partition int, first, last uint64, reached func(*record) bool) (uint64, error) {
	if first > last {
		return first, nil
	}
	var failed error
	n := sort.Search(int(last-first+1), func(i int) bool {
		if failed != nil {
			return true
		}
		r, _, err := h.recordAt(ctx, partition, first+uint64(i))
		failed = err
		return r == nil || reached(r)
	})
	return first + uint64(n), failed
}

// Next returns the next event, waiting for one when there is none. It ends with
// the error of ctx, with an *Error when the storage fails or the hub closes
// (503001). After an error of ctx the reader can go on.
func (r *EventReader) Next(ctx context.Context) (StoredEvent, error) {
	for {
		e, err := r.TryNext(ctx)
		if !errors.Is(err, ErrNoEvent) {
			return e, err
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return StoredEvent{}, ctx.Err()
		case <-r.hub.hub.closing:
			return StoredEvent{}, errClosed()
		}
	}
}

// TryNext returns the next event, or [ErrNoEvent] when there is none now. What
// the storage has is read under ctx, but not waited for.
func (r *EventReader) TryNext(ctx context.Context) (StoredEvent, error) {
	for range r.cursors {
		c := r.cursors[r.turn]
		e, err := r.hub.advance(ctx, c)
		// Stay with a partition for what was read ahead, no longer: a busy one
		// must not keep the others waiting.
		if err != nil || c.drained() {
			r.turn = (r.turn + 1) % len(r.cursors)
		}
		if !errors.Is(err, ErrNoEvent) {
			return e, err
		}
	}
	return StoredEvent{}, ErrNoEvent
}

// advance returns the next event of one partition, or ErrNoEvent.
func (h *EventHub) advance(ctx context.Context, c *cursor) (StoredEvent, error) {
	for {
		for c.current != nil && c.current.index < c.current.count {
			index := c.current.index
			number := c.current.first + uint64(index)
			raw, err := c.current.next()
			if err != nil {
				c.current = nil
				return StoredEvent{}, storageError("read events", err)
			}
			if c.skip != nil {
				if c.skip(&raw, c.seq, index, number) {
					continue
				}
				c.skip = nil
			}
			e := decodeEvent(&raw)
			e.Partition, e.SequenceNumber, e.Offset = c.partition, int64(number), formatOffset(c.seq, index)
			return e, nil
		}
		if err := h.advanceRecord(ctx, c); err != nil {
			return StoredEvent{}, err
		}
	}
}

// advanceRecord makes the next record current. A damaged one is logged and
// passed over: the events behind it are still good.
func (h *EventHub) advanceRecord(ctx context.Context, c *cursor) error {
	c.current = nil
	if len(c.fetched) == 0 {
		var err error
		if c.fetched, err = h.events.Read(ctx, c.partition, c.from, readAhead); err != nil {
			return storageError("read events", err)
		}
		if len(c.fetched) == 0 {
			return ErrNoEvent
		}
	}
	next := c.fetched[0]
	c.fetched[0] = Record{} // lets its memory go
	c.fetched = c.fetched[1:]
	c.from = next.Seq + 1
	r, err := decodeRecord(next.Data)
	if err != nil {
		h.hub.log.Error("a record of events is left out", "partition", c.partition, "record", next.Seq, "error", err)
		return nil
	}
	c.current, c.seq = r, next.Seq
	return nil
}

// Close ends the reader. Next must not be under way.
func (r *EventReader) Close() {
	for _, stop := range r.stops {
		stop()
	}
	r.stops = nil
}
