package engine

// ring is a queue of entries in the order of acceptance, in one piece of
// memory that doubles and halves:
//
//	head … next … tail
//	 │      │
//	 │      └ not yet written on this link
//	 └ written on this link, waiting for the acknowledgement (or done)
//
// Positions are counted from 0 for ever; buf is indexed by position & mask.
type ring struct {
	buf              []Entry
	head, next, tail uint64
}

func (r *ring) at(pos uint64) *Entry { return &r.buf[pos&uint64(len(r.buf)-1)] }

func (r *ring) len() int { return int(r.tail - r.head) }

func (r *ring) push(es []Entry) {
	need := r.len() + len(es)
	if need > len(r.buf) {
		r.resize(need)
	}
	for i := range es {
		*r.at(r.tail) = es[i]
		r.tail++
	}
}

func (r *ring) resize(need int) {
	size := 16
	for size < need {
		size *= 2
	}
	buf := make([]Entry, size)
	for pos := r.head; pos != r.tail; pos++ {
		buf[pos&uint64(size-1)] = *r.at(pos)
	}
	r.buf = buf
}

// pop forgets the entry at the head.
func (r *ring) pop() {
	*r.at(r.head) = Entry{} // lets its chunk go
	r.head++
	if r.next < r.head {
		r.next = r.head
	}
}

// shrink gives memory back after a burst.
func (r *ring) shrink() {
	if len(r.buf) > 64 && r.len() == 0 {
		r.buf = nil
	}
}

// compact removes what is confirmed from position from on.
func (r *ring) compact(from uint64) {
	to := from
	for pos := from; pos != r.tail; pos++ {
		if e := r.at(pos); e.state < entryDone {
			if to != pos {
				*r.at(to) = *e
			}
			to++
		}
	}
	for pos := to; pos != r.tail; pos++ {
		*r.at(pos) = Entry{}
	}
	r.tail = to
}

// rewind makes all that is left unsent: what a lost link leaves behind. Ids
// stay, so order and uniqueness do too.
func (r *ring) rewind() {
	r.compact(r.head)
	r.next = r.head
}

// find returns the position of the entry with packet id id among those written
// on this link. Ids grow along the ring (around 65535, see nextID), so that
// the usual case, acknowledgement in order, is the first probe and any other
// a binary search.
func (r *ring) find(id uint16) (pos uint64, ok bool) {
	if r.head == r.next {
		return 0, false
	}
	first := r.at(r.head).id
	if first == id {
		return r.head, true
	}
	d := idDistance(first, id)
	lo, hi := r.head, r.next
	for lo < hi {
		mid := lo + (hi-lo)/2
		switch at := idDistance(first, r.at(mid).id); {
		case at == d:
			return mid, true
		case at < d:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// Packet ids run 1 … 65535 and around [MQTT-2.3.1-1].
const idCount = 65535

func nextID(id uint16) uint16 {
	if id == idCount {
		return 1
	}
	return id + 1
}

// idDistance returns how many ids b comes after a.
func idDistance(a, b uint16) int {
	d := int(b) - int(a)
	if d < 0 {
		d += idCount
	}
	return d
}
