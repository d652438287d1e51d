package engine

import (
	"time"

	"github.com/iothub-go/iothub"
)

// Entry is one accepted message: its encoded packet, which is the only copy,
// and whom to tell. It is 40 bytes, because a full queue holds very many.
type Entry struct {
	chunk    *chunk
	off, n   uint32
	confirm  iothub.ConfirmFunc
	deadline time.Duration // since the session's epoch; 0 is none
	id       uint16        // packet id; 0 until first sent
	state    entryState
	direct   bool // see Event.Direct
}

type entryState uint8

const (
	entryWaiting entryState = iota
	entrySent               // handed to the writer at least once
	entryDone               // confirmed, but this link may still acknowledge its id
	entryGone               // confirmed and of no further meaning
)

// packet returns the encoded packet.
func (e *Entry) packet() []byte { return e.chunk.mem[e.off : e.off+e.n] }

// readdress gives the entry memory of its own: a write that is under way may still read
// the old one. It returns by how many bytes the packet has grown.
func (e *Entry) readdress(to, from Encoder) (grown int) {
	packet := to.Readdress(e.packet(), from)
	grown = len(packet) - int(e.n)
	e.chunk, e.off, e.n = &chunk{mem: packet}, 0, uint32(len(packet))
	return grown
}

// chunk is memory that packets are encoded into one behind the other, so that
// the writer can hand many of them to the network in one piece. A chunk is
// garbage as soon as the last of its packets is confirmed. The sender's side
// fills it while the session's side reads what is filled, so mem itself never
// changes.
type chunk struct{ mem []byte }

// Chunks grow from the first to the second size while messages come, so that
// an idle client holds little and a busy one writes big.
const (
	minChunk = 1 << 10
	maxChunk = 128 << 10
)

// Outbox accepts messages on the sender's side: it validates and encodes them
// and keeps the bounds. It does no locking of its own.
type Outbox struct {
	enc         Encoder
	epoch       time.Time
	maxMessages int
	maxBytes    int

	chunk  *chunk // nil or with room
	used   int    // bytes of it that are filled
	staged []Entry
	// messages and bytes count all that was accepted and not yet released,
	// wherever it is: staged, waiting or in flight.
	messages, bytes int
}

// NewOutbox returns an outbox that holds at most maxMessages messages and
// maxBytes encoded bytes. epoch must be the session's.
func NewOutbox(enc Encoder, epoch time.Time, maxMessages, maxBytes int) *Outbox {
	return &Outbox{enc: enc, epoch: epoch, maxMessages: maxMessages, maxBytes: maxBytes}
}

// Add copies m, encoded and thereby validated, and stages it. timeout is the
// client's message timeout, 0 for none. An error means that nothing was kept and confirm will not run.
// direct marks confirm as this library's own; see Event. now may be zero for a
// message that does not time out.
func (o *Outbox) Add(now time.Time, m *iothub.Message, confirm iothub.ConfirmFunc, timeout time.Duration, direct bool) error {
	if m == nil || len(m.Payload) > iothub.MaxMessageSize {
		return m.Validate() // before any of it is copied
	}
	if o.messages >= o.maxMessages || o.bytes >= o.maxBytes {
		return iothub.ErrQueueFull
	}
	// An upper guess spares the encoder a reallocation in all but exotic
	// messages; a packet that outgrows the chunk gets memory of its own.
	guess := len(m.Payload) + 512
	c, start := o.chunk, o.used
	if c == nil || len(c.mem)-start < guess {
		c, start = o.newChunk(guess)
	}
	// What is before start is not the encoder's to look at, not even to copy
	// it: the writer is setting packet ids in it.
	buf, err := o.enc.AppendMessage(c.mem[start:start], m)
	if err != nil {
		return err
	}
	n := len(buf)
	if o.bytes+n > o.maxBytes && o.messages > 0 {
		return iothub.ErrQueueFull
	}
	switch outgrown := &buf[0] != &c.mem[start]; {
	case outgrown && c == o.chunk && len(c.mem)-start < maxChunk/4:
		o.used = len(c.mem) // the next one like it would outgrow it, too
		fallthrough
	case outgrown:
		c, start = &chunk{mem: buf}, 0 // the encoder's reallocation is its own chunk
	case c == o.chunk:
		o.used += n
	}
	e := Entry{chunk: c, off: uint32(start), n: uint32(n), confirm: confirm, direct: direct, deadline: o.deadline(now, m, timeout)}
	o.staged = append(o.staged, e)
	o.messages++
	o.bytes += n
	return nil
}

// newChunk returns memory for need bytes and where to begin in it.
func (o *Outbox) newChunk(need int) (c *chunk, start int) {
	if need > maxChunk/4 {
		return &chunk{mem: make([]byte, need)}, 0 // big messages do not share
	}
	size := minChunk
	if o.chunk != nil {
		size = min(2*len(o.chunk.mem), maxChunk)
	}
	for size < 2*need {
		size *= 2
	}
	o.chunk, o.used = &chunk{mem: make([]byte, size)}, 0
	return o.chunk, 0
}

func (o *Outbox) deadline(now time.Time, m *iothub.Message, timeout time.Duration) time.Duration {
	var d time.Duration
	if timeout > 0 {
		d = now.Add(timeout).Sub(o.epoch)
	}
	if !m.ExpiryTime.IsZero() {
		// Expiry is wall-clock; what counts from here on is elapsed time.
		e := max(now.Sub(o.epoch)+time.Until(m.ExpiryTime), 1)
		if d == 0 || e < d {
			d = e
		}
	}
	return d
}

// Readdress makes every message that is staged, and every later one, one of the identity
// of enc. grown is by how many bytes those that were taken before have grown by the same.
func (o *Outbox) Readdress(enc Encoder, grown int) {
	for i := range o.staged {
		grown += o.staged[i].readdress(enc, o.enc)
	}
	o.enc = enc
	o.bytes += grown
}

// Take returns what was staged since the last call. spare, an emptied earlier
// result, is used to stage into.
func (o *Outbox) Take(spare []Entry) []Entry {
	staged := o.staged
	o.staged = spare[:0]
	return staged
}

// Trim lets go of memory for more than keep staged entries if there are none.
func (o *Outbox) Trim(keep int) {
	if len(o.staged) == 0 && cap(o.staged) > keep {
		o.staged = nil
	}
}

// Staged returns the number of messages that the next Take will return.
func (o *Outbox) Staged() int { return len(o.staged) }

// Release gives back the room of confirmed messages.
func (o *Outbox) Release(messages, bytes int) {
	o.messages -= messages
	o.bytes -= bytes
	if o.messages == 0 && o.chunk != nil && len(o.chunk.mem) > 4*minChunk {
		o.chunk = nil // an idle client holds little
	}
}

// Len returns the number and the encoded bytes of the messages that were
// accepted and not yet released.
func (o *Outbox) Len() (messages, bytes int) { return o.messages, o.bytes }
