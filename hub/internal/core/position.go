package core

import (
	"fmt"
	"strconv"
	"time"
)

// offsetIndexBits is how many bits of an offset hold the place of an event in
// its record. The rest is the record's sequence, so offsets are numbers that
// grow along a partition. They are decimal because older Event Hubs clients
// read them as such.
const offsetIndexBits = 12

func formatOffset(seq uint64, index int) string {
	return strconv.FormatUint(seq<<offsetIndexBits|uint64(index), 10)
}

// Position is a place in a partition where reading begins. The zero value is the
// start.
type Position struct {
	kind      positionKind
	time      time.Time
	number    uint64 // an offset or a sequence number
	inclusive bool
}

type positionKind uint8

const (
	fromStart positionKind = iota
	fromNow
	fromTime
	fromOffset
	fromSequence
)

// FromStart is before the oldest event kept.
func FromStart() Position { return Position{} }

// FromNow is behind the newest event there is when the reader is made.
func FromNow() Position { return Position{kind: fromNow} }

// FromTime is before the first event enqueued at t or later. Only the
// milliseconds of t count.
func FromTime(t time.Time) Position { return Position{kind: fromTime, time: t} }

// FromOffset is behind the event of that [StoredEvent.Offset], or before it when
// inclusive. Offsets hold within one partition. "-1" is the start and "@latest"
// now, as for Event Hubs. The error is an *Error, 400004.
func FromOffset(offset string, inclusive bool) (Position, error) {
	switch offset {
	case "-1":
		return FromStart(), nil
	case "@latest":
		return FromNow(), nil
	}
	n, err := strconv.ParseUint(offset, 10, 63)
	if err != nil {
		return Position{}, NewError(CodeArgumentInvalid, "offset %q is not a number as events carry it", offset)
	}
	return Position{kind: fromOffset, number: n, inclusive: inclusive}, nil
}

// FromSequence is behind the event of that sequence number, or before it when
// inclusive. Below zero it is the start.
func FromSequence(number int64, inclusive bool) Position {
	if number < 0 {
		return FromStart()
	}
	return Position{kind: fromSequence, number: uint64(number), inclusive: inclusive}
}

// ParsePosition reads a position as people write it: "start", "now", a time as
// in RFC 3339, or the offset of the last event that was read. The error is an
// *Error, 400004.
func ParsePosition(text string) (Position, error) {
	switch text {
	case "", "now":
		return FromNow(), nil
	case "start":
		return FromStart(), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return FromTime(t), nil
	}
	p, err := FromOffset(text, false)
	if err != nil {
		return p, NewError(CodeArgumentInvalid, "position %q is none of start, now, an RFC 3339 time, an offset", text)
	}
	return p, nil
}

// String describes the position.
func (p Position) String() string {
	switch p.kind {
	case fromNow:
		return "now"
	case fromTime:
		return p.time.UTC().Format(time.RFC3339Nano)
	case fromOffset:
		return fmt.Sprintf("offset %d", p.number)
	case fromSequence:
		return fmt.Sprintf("sequence number %d", p.number)
	}
	return "start"
}
