package main

import (
	"encoding/binary"
	"sync"
)

// headSize is what every payload begins with: round and place of the run,
// device, and number of the message, so that it is recognised when it is read
// back.
const headSize = 16

// runID names a measurement: round, and index in --devices.
type runID struct{ round, devices int }

// putHead writes the head of the payload of message number seq.
func putHead(p []byte, run runID, device int, seq uint64) {
	binary.BigEndian.PutUint16(p, uint16(run.round))
	binary.BigEndian.PutUint16(p[2:], uint16(run.devices))
	binary.BigEndian.PutUint32(p[4:], uint32(device))
	binary.BigEndian.PutUint64(p[8:], seq)
}

// ledger knows which messages a server confirmed and which were found in its
// event stream.
type ledger struct {
	mu      sync.Mutex // guards the following
	lines   map[ledgerKey]*ledgerLine
	missing int // confirmed and not found
}

type ledgerKey struct {
	run    runID
	device int
}

// ledgerLine is one device in one run; it confirmed messages 0 to confirmed-1.
type ledgerLine struct {
	confirmed, found int
	seen             []uint64 // a bit a message
}

// confirm notes that the first n messages of a device were confirmed.
func (l *ledger) confirm(run runID, device, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[ledgerKey]*ledgerLine{}
	}
	l.lines[ledgerKey{run, device}] = &ledgerLine{confirmed: n, seen: make([]uint64, (n+63)/64)}
	l.missing += n
}

// note takes the payload of an event that was read back. One that is not from
// this run, was not confirmed or is there twice does not count.
func (l *ledger) note(p []byte) {
	if len(p) < headSize {
		return
	}
	key := ledgerKey{
		runID{int(binary.BigEndian.Uint16(p)), int(binary.BigEndian.Uint16(p[2:]))},
		int(binary.BigEndian.Uint32(p[4:])),
	}
	seq := binary.BigEndian.Uint64(p[8:])
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.lines[key]
	if line == nil || seq >= uint64(line.confirmed) {
		return
	}
	if bit := uint64(1) << (seq % 64); line.seen[seq/64]&bit == 0 {
		line.seen[seq/64] |= bit
		line.found++
		l.missing--
	}
}

// complete reports whether everything confirmed was found.
func (l *ledger) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing == 0
}

// sum adds up the runs with the number of devices at index d.
func (l *ledger) sum(d int, readable bool) (confirmed int, found *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if readable {
		found = new(int)
	}
	for key, line := range l.lines {
		if key.run.devices != d {
			continue
		}
		confirmed += line.confirmed
		if readable {
			*found += line.found
		}
	}
	return confirmed, found
}
