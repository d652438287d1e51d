package core

import (
	"hash/fnv"
	"sync/atomic"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// MaxEventBytes is the largest event: payload, property names and the values of
// properties, unescaped.
const MaxEventBytes = 256 << 10

// Event is a message from a device, as it came.
type Event struct {
	// Bag is the property bag of its topic, still escaped; it may be empty.
	Bag []byte
	// Payload is the body.
	Payload []byte
	// Source is what kind of event it is.
	Source EventSource
	// Retain marks a message sent with the retain flag, Will the last will of a
	// connection. Readers see both as application properties.
	Retain, Will bool
}

// PartitionOf says which of n partitions holds the events of a device and its
// modules.
func PartitionOf(deviceID string, n int) int {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(deviceID)) // never fails (hash.Hash)
	return int(sum.Sum32() % uint32(n))
}

// Ingest takes events in. Their bytes are copied before it returns, and it does
// not wait for the storage: done runs once, later, with nil when all of the
// events are durable and with an *Error when that is not certain. The done
// functions of one attachment run in the order of its calls, unless routes lead
// to several places, on a goroutine that commits, so done must not block and must
// not call Close. It may run before Ingest returns when no route wants anything.
//
// When Ingest returns an error, nothing was taken in and done does not run:
// 413001 for an event above [MaxEventBytes], 503005 when more than
// [Config.MaxWaiting] bytes wait for the storage, 503001 when the hub closes,
// 401003 when the identity was deleted, disabled or given other keys, 429001 and
// 403002 while a fault says so (see [Attachment.InjectFault]). A
// connection that a newer one has replaced, or that is detached, may still send
// what it had read, and its will.
//
// A connection should hold back once about 1 MiB of its events wait for done.
func (a *Attachment) Ingest(events []Event, done func(error)) error {
	if err := a.revoked.Load(); err != nil {
		return err
	}
	if f := a.hub.faults; f != nil {
		if err := f.check(a.key, a.hub.now(), FaultThrottle, FaultQuota); err != nil {
			return err
		}
	}
	size := 0
	for i := range events {
		n := len(events[i].Bag) + len(events[i].Payload)
		if n > MaxEventBytes {
			if err := checkSize(&events[i]); err != nil {
				return err
			}
		}
		size += n + maxEventOverhead
	}
	if len(events) == 0 {
		return NewError(CodeArgumentInvalid, "no events were given")
	}
	now := a.hub.now().UnixMilli()
	var err error
	if routes := a.routes.Load(); routes != nil {
		err = a.ingestRouted(*routes, events, now, done)
	} else {
		err = a.upstream(events, size, now, done)
	}
	if err != nil {
		return err
	}
	a.activity.Store(now)
	return nil
}

// upstream takes in what goes to the hub: where its routes lead, or by the
// shortest way to the built-in event hub when there are none.
func (a *Attachment) upstream(events []Event, size int, now int64, done func(error)) error {
	if r := a.hub.router.Load(); r != nil {
		return r.ingest(a.hub, &a.origin, events, now, done)
	}
	return a.partition.enqueue(&a.sender, events, size, now, done)
}

func checkSize(e *Event) *Error {
	// What the decoder skips still has to be stored.
	if size := eventSize(e); size > MaxEventBytes || len(e.Bag) > MaxEventBytes {
		return NewError(CodeMessageTooLarge, "the message has %d bytes, the limit is %d", size, MaxEventBytes)
	}
	return nil
}

// eventSize counts an event as IoT Hub does, without the escapes of its bag.
func eventSize(e *Event) int {
	size := len(e.Payload)
	r := topic.NewBagReader(e.Bag)
	var scratch []byte
	for {
		key, value, _, ok := r.Next()
		if !ok {
			break
		}
		for _, text := range [][]byte{key, value} {
			var err error
			if scratch, err = topic.AppendUnescaped(scratch[:0], text); err != nil {
				size += len(text)
			}
			size += len(scratch)
		}
	}
	return size
}

// joined makes one done of several: it waits for all parts and passes the first
// error on. Only calls too large for one record need it.
func joined(parts int, done func(error)) func(error) {
	var left atomic.Int64
	var failed atomic.Pointer[error]
	left.Store(int64(parts))
	return func(err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
		if left.Add(-1) != 0 {
			return
		}
		if first := failed.Load(); first != nil {
			done(*first)
			return
		}
		done(nil)
	}
}
