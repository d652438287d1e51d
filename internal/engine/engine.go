// Package engine holds the sans-I/O state machines behind every client: bytes
// and time go in, bytes and events come out. Nothing here starts a goroutine,
// reads a clock, takes a lock or calls user code, so the same code is driven
// by the poll-driven clients, the managed clients, fuzz targets and the
// simulated network.
//
// The pieces, in the order a message meets them:
//
//	Outbox   accepts messages: validates, encodes, bounds (owner: the sender side)
//	Session  the life cycle: when to dial, what to say, when to try again
//	MQTT     one protocol on one link at a time, and what is in flight on it
//
// An Outbox and a Session may be guarded by two different locks: they share
// only the entries that Take hands from one to the other, and the memory that
// those point to.
package engine

import (
	"time"

	"github.com/iothub-go/iothub"
)

// Encoder turns a message into the bytes that will stand on the wire. It is
// immutable and may be used concurrently.
type Encoder interface {
	// AppendMessage validates m, which is not nil, and appends its encoded
	// form to dst. On error dst's content beyond its length is undefined.
	AppendMessage(dst []byte, m *iothub.Message) ([]byte, error)
	// Readdress returns a message that from has encoded as one of this encoder,
	// whose identity may be another; message stays as it is.
	Readdress(message []byte, from Encoder) []byte
}

// EventKind says what an Event is about.
type EventKind uint8

// The events of a session.
const (
	EventConfirm EventKind = iota + 1 // run Confirm with Confirmation, then forget the message
	EventStatus                       // the connection changed: Status
	EventDial                         // open a link and report LinkUp or DialFailed
	EventHangUp                       // close the link; what it still yields does not count
	EventInbound                      // something arrived: In
	EventCall                         // run Call
)

// Event is what a session asks of its driver. The driver handles events in
// order; Dial and HangUp itself, the others by calling the user.
type Event struct {
	Kind EventKind
	// Direct says that Confirm or Call is not the user's but this library's,
	// never blocks, and may be run at once, whatever is locked.
	Direct       bool
	Size         uint32 // EventConfirm: encoded bytes to give back to the outbox
	Confirm      iothub.ConfirmFunc
	Confirmation iothub.Confirmation
	Status       *iothub.ConnectionEvent
	In           *Inbound
	Call         func()
}

// Auth is what a new link presents to the hub.
type Auth struct {
	Token     iothub.Token // zero for X.509
	Renewable bool         // a new token can be had before this one expires
}

// never is a deadline that does not come.
var never = time.Time{}

// earliest returns the earlier of two deadlines, of which never is the latest.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
