package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// ringModel is the ring as a slice and a map, which are too simple to be
// wrong. Entries are known by a serial number, kept in Entry.n.
type ringModel struct {
	t      *testing.T
	r      ring
	want   []modelEntry // from head on
	next   int          // index in want
	byID   map[uint16]uint32
	lastID uint16
	serial uint32
}

type modelEntry struct {
	serial uint32
	id     uint16
	state  entryState
}

func (m *ringModel) push(n int) {
	es := make([]Entry, n)
	for i := range es {
		m.serial++
		es[i].n = m.serial
		m.want = append(m.want, modelEntry{serial: m.serial})
	}
	m.r.push(es)
}

// send writes up to n entries on the present link.
func (m *ringModel) send(n int) {
	for ; n > 0 && m.next < len(m.want); n-- {
		w, e := &m.want[m.next], m.r.at(m.r.next)
		if w.id == 0 {
			id := nextID(m.lastID)
			if _, used := m.byID[id]; used {
				return
			}
			m.lastID, w.id, e.id = id, id, id
		}
		w.state, e.state = entrySent, entrySent
		m.byID[w.id] = w.serial
		m.r.next++
		m.next++
	}
}

func (m *ringModel) ack(id uint16) {
	pos, ok := m.r.find(id)
	serial, want := m.byID[id]
	if ok != want {
		m.t.Fatalf("find(%d) is %v, want %v", id, ok, want)
	}
	if !ok {
		return
	}
	e := m.r.at(pos)
	if e.n != serial {
		m.t.Fatalf("find(%d) is message %d, want %d", id, e.n, serial)
	}
	e.state = entryGone
	for i := range m.want {
		if m.want[i].serial == serial {
			m.want[i].state = entryGone
		}
	}
	for len(m.want) > 0 && m.want[0].state == entryGone {
		delete(m.byID, m.want[0].id) // an id is free when its slot is
		m.want = m.want[1:]
		m.next--
		m.r.pop()
	}
	m.r.shrink()
}

// expire confirms a random entry.
func (m *ringModel) expire(i int) {
	if m.want[i].state >= entryDone {
		return
	}
	state := entryGone
	if i < m.next {
		state = entryDone
	}
	m.want[i].state = state
	m.r.at(m.r.head + uint64(i)).state = state
	m.remove(m.next)
	m.r.compact(m.r.next)
}

func (m *ringModel) remove(from int) {
	kept := m.want[:from:from]
	for _, w := range m.want[from:] {
		if w.state < entryDone {
			kept = append(kept, w)
		}
	}
	m.want = kept
}

func (m *ringModel) rewind() {
	m.r.rewind()
	m.remove(0)
	m.next = 0
	m.byID = map[uint16]uint32{}
}

func (m *ringModel) check() {
	m.t.Helper()
	if m.r.len() != len(m.want) || int(m.r.next-m.r.head) != m.next {
		m.t.Fatalf("ring of %d, next at %d; want %d, %d", m.r.len(), m.r.next-m.r.head, len(m.want), m.next)
	}
	for i, w := range m.want {
		if e := m.r.at(m.r.head + uint64(i)); e.n != w.serial || e.id != w.id || e.state != w.state {
			m.t.Fatalf("entry %d is message %d, id %d, state %d; want %+v", i, e.n, e.id, e.state, w)
		}
	}
}

func TestRing(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			d := rand.New(rand.NewPCG(seed, 0))
			m := &ringModel{t: t, byID: map[uint16]uint32{}, lastID: uint16(65535 - d.IntN(100))}
			for op := range 3000 {
				switch d.IntN(12) {
				case 0, 1:
					m.push(d.IntN(20))
				case 2, 3, 4:
					m.send(d.IntN(20))
				case 5, 6, 7, 8: // out of order, near the head
					if m.next > 0 {
						m.ack(m.want[d.IntN(min(m.next, 8))].id)
					}
				case 9:
					m.ack(uint16(d.IntN(65536)))
				case 10:
					if len(m.want) > 0 {
						m.expire(d.IntN(len(m.want)))
					}
				case 11:
					if d.IntN(20) == 0 {
						m.rewind()
					}
				}
				if op%20 == 0 {
					m.check()
				}
			}
			m.check()
		})
	}
}

// All 65535 ids can be in flight, each is found, and no more than those.
func TestRingFull(t *testing.T) {
	m := &ringModel{t: t, byID: map[uint16]uint32{}, lastID: 40_000}
	m.push(70_000)
	m.send(70_000)
	if m.next != idCount {
		t.Fatalf("%d in flight, want %d", m.next, idCount)
	}
	for id := 1; id <= idCount; id++ {
		if pos, ok := m.r.find(uint16(id)); !ok || m.r.at(pos).id != uint16(id) {
			t.Fatalf("id %d was not found", id)
		}
	}
}

// What a burst took is given back.
func TestRingShrinks(t *testing.T) {
	m := &ringModel{t: t, byID: map[uint16]uint32{}}
	m.push(10_000)
	m.send(10_000)
	for id := uint16(1); id <= 10_000; id++ {
		m.ack(id)
	}
	m.check()
	if len(m.r.buf) != 0 {
		t.Errorf("an empty ring keeps room for %d entries", len(m.r.buf))
	}
}
