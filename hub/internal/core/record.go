package core

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// A record is a batch of events of one partition, in this form (integers of
// fixed size little end first, "text" is a uvarint length and bytes):
//
//	 0  magic "IHR1"; the digit is the version
//	 4  uint32  CRC-32C of everything from byte 8 on
//	 8  uint64  sequence number of the first event
//	16  int64   base time, Unix milliseconds
//	24  int64   latest enqueued time, Unix milliseconds
//	32  uint32  number of events, 1 to 4096
//	36  uint32  where the table of connections begins
//	40  events: flags byte (retain, will, source) · uvarint connection · varint ms since the base time ·
//	            text property bag, still escaped · text payload
//	    table:  per connection five texts: device, module, auth method, generation, model
//
// The table comes last because it is not known before the last event.
const (
	recordMagic  = "IHR1"
	recordHeader = 40

	// maxRecordEvents keeps the index of an event in its record within the bits
	// that an offset leaves for it.
	maxRecordEvents = 1 << offsetIndexBits
	// targetRecordBytes is where a record is closed; one call's events may go over.
	targetRecordBytes = 1 << 20
	// maxEventOverhead bounds what an event costs beside its bag and payload.
	maxEventOverhead = 1 + 5 + 10 + 5 + 5

	flagRetain  = 1 << 0
	flagWill    = 1 << 1
	sourceShift = 2 // three bits: the EventSource
	sourceMask  = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is what the decoder says of a record that this package did not write.
var errDamaged = errors.New("core: a stored record is damaged")

// appendConnection appends the table entry of a connection.
func appendConnection(dst []byte, p *Principal, modelID string) []byte {
	for _, text := range []string{p.DeviceID, p.ModuleID, p.AuthMethod, p.GenerationID, modelID} {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return dst
}

// batch is a record being filled. The lock of its partition guards it until it
// is closed; then it belongs to the committer.
type batch struct {
	id     uint64 // never 0, never reused: tells an Attachment whether its index holds
	buf    []byte // header (filled in by seal) and events
	table  []byte
	conns  uint32
	count  uint32
	base   int64
	last   int64
	dones  []func(error)
	weight int // as counted in partition.waiting
}

func (b *batch) reset(id uint64) {
	clear(b.dones)
	*b = batch{id: id, buf: append(b.buf[:0], make([]byte, recordHeader)...), table: b.table[:0], dones: b.dones[:0]}
}

// size is how long the record would be now.
func (b *batch) size() int { return len(b.buf) + len(b.table) }

// sender is who sends events to one partition. Its lock guards what the sender
// remembers of the open batch.
type sender struct {
	entry []byte // in the table of a record
	id    uint64 // of the batch that has the entry; 0: none
	index uint32 // there
}

// connection gives the index of a sender's entry, adding it when needed.
func (b *batch) connection(s *sender) uint32 {
	if s.id != b.id {
		s.id, s.index = b.id, b.conns
		b.table = append(b.table, s.entry...)
		b.conns++
	}
	return s.index
}

// add encodes one event.
func (b *batch) add(conn uint32, e *Event, now int64) {
	if b.count == 0 {
		b.base, b.last = now, now
	}
	b.last = max(b.last, now)
	b.count++
	flags := byte(e.Source) << sourceShift
	if e.Retain {
		flags |= flagRetain
	}
	if e.Will {
		flags |= flagWill
	}
	dst := append(b.buf, flags)
	dst = binary.AppendUvarint(dst, uint64(conn))
	dst = binary.AppendVarint(dst, now-b.base)
	dst = binary.AppendUvarint(dst, uint64(len(e.Bag)))
	dst = append(dst, e.Bag...)
	dst = binary.AppendUvarint(dst, uint64(len(e.Payload)))
	b.buf = append(dst, e.Payload...)
}

// seal completes the record, whose first event gets the sequence number first.
func (b *batch) seal(first uint64) []byte {
	tableAt := len(b.buf)
	b.buf = append(b.buf, b.table...)
	h := b.buf
	copy(h, recordMagic)
	binary.LittleEndian.PutUint64(h[8:], first)
	binary.LittleEndian.PutUint64(h[16:], uint64(b.base))
	binary.LittleEndian.PutUint64(h[24:], uint64(b.last))
	binary.LittleEndian.PutUint32(h[32:], b.count)
	binary.LittleEndian.PutUint32(h[36:], uint32(tableAt))
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(h[8:], castagnoli))
	return h
}

// record is a decoded one. What it gives aliases the data.
type record struct {
	first  uint64
	base   int64
	last   int64
	count  int
	conns  []connection
	events []byte
	index  int // of the next event
}

type connection struct{ device, module, authMethod, generation, model string }

// rawEvent is one event of a record. Bag and payload alias the record.
type rawEvent struct {
	conn         *connection
	flags        byte
	time         int64
	bag, payload []byte
}

// decodeRecord checks a record and reads all but its events. Memory is taken in
// proportion to the data only, whatever its numbers claim.
func decodeRecord(data []byte) (*record, error) {
	if len(data) < recordHeader || string(data[:4]) != recordMagic ||
		crc32.Checksum(data[8:], castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, errDamaged
	}
	r := &record{
		first: binary.LittleEndian.Uint64(data[8:]),
		base:  int64(binary.LittleEndian.Uint64(data[16:])),
		last:  int64(binary.LittleEndian.Uint64(data[24:])),
	}
	count := uint64(binary.LittleEndian.Uint32(data[32:]))
	tableAt := uint64(binary.LittleEndian.Uint32(data[36:]))
	if count == 0 || count > maxRecordEvents || tableAt < recordHeader || tableAt > uint64(len(data)) ||
		r.first > 1<<62 {
		return nil, errDamaged
	}
	r.count = int(count)
	r.events = data[recordHeader:tableAt]
	table := data[tableAt:]
	for len(table) > 0 {
		var c connection
		for _, field := range []*string{&c.device, &c.module, &c.authMethod, &c.generation, &c.model} {
			var text []byte
			var ok bool
			if text, table, ok = cutText(table); !ok {
				return nil, errDamaged
			}
			*field = string(text)
		}
		if len(r.conns) >= maxRecordEvents {
			return nil, errDamaged
		}
		r.conns = append(r.conns, c)
	}
	return r, nil
}

// next reads one event; io is over when index has reached count.
func (r *record) next() (rawEvent, error) {
	var e rawEvent
	src := r.events
	if r.index >= r.count || len(src) == 0 {
		return e, errDamaged
	}
	e.flags, src = src[0], src[1:]
	conn, n := binary.Uvarint(src)
	if n <= 0 || conn >= uint64(len(r.conns)) {
		return e, errDamaged
	}
	e.conn, src = &r.conns[conn], src[n:]
	delta, n := binary.Varint(src)
	if n <= 0 {
		return e, errDamaged
	}
	e.time, src = r.base+delta, src[n:]
	var ok bool
	if e.bag, src, ok = cutText(src); !ok {
		return e, errDamaged
	}
	if e.payload, src, ok = cutText(src); !ok {
		return e, errDamaged
	}
	r.events = src
	r.index++
	return e, nil
}

// cutText reads a length and as many bytes.
func cutText(src []byte) (text, rest []byte, ok bool) {
	n, size := binary.Uvarint(src)
	if size <= 0 || n > uint64(len(src)-size) {
		return nil, nil, false
	}
	end := size + int(n)
	return src[size:end:end], src[end:], true
}

func timeOfMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
