package mqttfront

import (
	"sync"

	"github.com/iothub-go/iothub/hub/internal/core"
)

const (
	// smallBuffer is what an idle connection keeps for reading.
	smallBuffer = 1 << 10
	// largeBuffer is what a busy one borrows.
	largeBuffer = 64 << 10
	// recordSize is what one read can yield at most: a TLS record.
	recordSize = 16 << 10

	// maxPacket is the largest packet: IoT Hub's limit on a message as it
	// meters it (B.11) and room for the topic, whose escapes are not metered.
	maxPacket = core.MaxEventBytes + 64<<10
	// maxConnect bounds what is read before the client has proved who it is:
	// the fields of CONNECT are at most 64 KiB each, and none needs that.
	maxConnect = 64 << 10
)

// buffers lends read buffers of two sizes to busy connections.
type buffers struct {
	large  sync.Pool // *[largeBuffer]byte
	packet sync.Pool // *[maxPacket]byte
}

// get returns a buffer of at least n bytes; n is at most maxPacket.
func (b *buffers) get(n int) []byte {
	if n <= largeBuffer {
		if p, ok := b.large.Get().(*[largeBuffer]byte); ok {
			return p[:]
		}
		return make([]byte, largeBuffer)
	}
	if p, ok := b.packet.Get().(*[maxPacket]byte); ok {
		return p[:]
	}
	return make([]byte, maxPacket)
}

// put takes back what get returned and drops anything else.
func (b *buffers) put(buf []byte) {
	switch len(buf) {
	case largeBuffer:
		b.large.Put((*[largeBuffer]byte)(buf))
	case maxPacket:
		b.packet.Put((*[maxPacket]byte)(buf))
	}
}

// inbuf holds what has arrived and is not consumed. The reader of a connection
// owns it.
type inbuf struct {
	pool  *buffers
	buf   []byte
	r, w  int // buf[r:w] is unread
	small []byte
}

func (b *inbuf) init(pool *buffers) {
	b.pool = pool
	b.small = make([]byte, smallBuffer)
	b.buf = b.small
}

func (b *inbuf) unread() []byte { return b.buf[b.r:b.w] }

// lent reports whether the buffer is a borrowed one.
func (b *inbuf) lent() bool { return len(b.buf) > smallBuffer }

// space makes room for a read and returns it. need is the length of the packet
// at the front when it is known, otherwise 0.
func (b *inbuf) space(need int) []byte {
	if b.r == b.w {
		b.r, b.w = 0, 0
	}
	switch {
	case need > len(b.buf), b.w-b.r == len(b.buf):
		b.move(b.pool.get(max(need, len(b.buf)+1)))
	case !b.lent() && b.r > 0:
		// The last read filled more than one packet: there is more where
		// this came from.
		b.move(b.pool.get(largeBuffer))
	case len(b.buf)-b.w < recordSize && b.r > 0:
		copy(b.buf, b.buf[b.r:b.w])
		b.r, b.w = 0, b.w-b.r
	}
	return b.buf[b.w:]
}

// move continues in the buffer to.
func (b *inbuf) move(to []byte) {
	n := copy(to, b.buf[b.r:b.w])
	b.pool.put(b.buf)
	b.buf, b.r, b.w = to, 0, n
}

// shrink gives a borrowed buffer back if what it holds fits the small one.
func (b *inbuf) shrink() {
	if b.lent() && b.w-b.r < len(b.small) {
		b.move(b.small)
	}
}

// release gives a borrowed buffer back for good.
func (b *inbuf) release() {
	b.pool.put(b.buf)
	b.buf, b.r, b.w = nil, 0, 0
}
