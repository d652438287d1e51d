package mqttfront

import (
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/internal/wire/mqtt"
)

const (
	// outboxSize is what a connection can have to write, twice, without a
	// buffer from the heap: enough for one message at a time.
	outboxSize = 64
	// maxOutbox is what may wait to be written before the client is no longer
	// read.
	maxOutbox = 64 << 10
	// busyRetry is the first pause before a message is offered again to a hub
	// that has too much in hand, busyLimit when that is given up.
	busyRetry = 5 * time.Millisecond
	busyLimit = 30 * time.Second
)

// batch is the messages of one read on their way to the storage.
type batch struct {
	c      *conn
	acks   []byte      // encoded PUBACK packets, in the order of the publishes
	bytes  int         // what the messages occupy
	answer *twinAnswer // of a request about the twin, which then is all there is
	next   *batch
	done   bool
	err    error
	finish func(error) // b.complete, bound once
}

// complete is called by the hub when the batch is durable or has failed.
func (b *batch) complete(err error) {
	c := b.c
	c.mu.Lock()
	b.done, b.err = true, err
	failed := c.out.settledLocked()
	c.mu.Unlock()
	if failed != nil {
		c.Kill(notStored(failed))
	}
}

// outbox is everything that goes from the hub to one client: acknowledgements
// in the order of the publishes, and answers.
type outbox struct {
	c *conn

	// The reader's: the batch being filled and its events, which alias the
	// read buffer and so live no longer than one round of the loop.
	filling *batch
	events  *[]core.Event

	// Guarded by conn.mu.
	head, tail *batch // in flight, oldest first
	unacked    int    // bytes of messages in flight
	failed     bool   // a batch failed: nothing later is acknowledged
	pending    []byte // to be written next
	spare      []byte // the writer's other buffer
	writing    bool   // there is a writer
	corked     bool   // nothing is written for now
	write      func() // outbox.run, bound once
	first      [outboxSize]byte
	second     [outboxSize]byte
}

func (o *outbox) init(c *conn) {
	o.c = c
	o.write = o.run
	o.pending, o.spare = o.first[:0], o.second[:0]
}

// add puts a message into the batch being filled.
func (o *outbox) add(bag []byte, p *mqtt.PublishPacket, size int) {
	b := o.filling
	if b == nil {
		b = o.start()
	}
	*o.events = append(*o.events, core.Event{Bag: bag, Payload: p.Payload, Retain: p.Retain})
	if p.QoS > 0 {
		b.acks = mqtt.AppendAck(b.acks, mqtt.TypePuback, p.PacketID)
	}
	b.bytes += size
}

func (o *outbox) start() *batch {
	b := o.newBatch()
	o.filling = b
	var ok bool
	if o.events, ok = o.c.front.scratch.Get().(*[]core.Event); !ok {
		o.events = new([]core.Event)
	}
	return b
}

func (o *outbox) newBatch() *batch {
	b, ok := o.c.front.batches.Get().(*batch)
	if !ok {
		b = new(batch)
		b.finish = b.complete
	}
	b.c = o.c
	return b
}

// enqueue puts a batch at the end of the line of acknowledgements.
func (o *outbox) enqueue(b *batch) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if o.tail == nil {
		o.head = b
	} else {
		o.tail.next = b
	}
	o.tail = b
	o.unacked += b.bytes
}

// submit hands the batch being filled, if any, to the hub. After an error, when
// the hub did not take it, nothing more must be read.
func (o *outbox) submit() error {
	b := o.filling
	if b == nil {
		return nil
	}
	o.filling = nil
	c := o.c
	o.enqueue(b)
	err := o.ingest(*o.events, b.finish)
	if err != nil {
		b.complete(err) // it was not accepted, so nobody else will
		err = notStored(err)
	}
	clear(*o.events) // drops the references to the read buffer
	*o.events = (*o.events)[:0]
	c.front.scratch.Put(o.events)
	o.events = nil
	return err
}

func notStored(err error) error { return fmt.Errorf("a message could not be stored: %w", err) }

// ingest offers events until the hub takes them. MQTT has no word for "slow
// down", so a hub with too much in hand lets the client wait (B.11).
func (o *outbox) ingest(events []core.Event, done func(error)) error {
	c := o.c
	if c.front.throttled {
		if err := c.admittedEvents(events); err != nil {
			return err
		}
	}
	err := c.att.Ingest(events, done)
	if err == nil || !errors.Is(err, &core.Error{Code: core.CodeServerBusy}) {
		return err
	}
	pause := busyRetry
	for waited := time.Duration(0); waited < busyLimit; waited += pause {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.gone:
			timer.Stop()
			return err
		}
		if err = c.att.Ingest(events, done); err == nil || !errors.Is(err, &core.Error{Code: core.CodeServerBusy}) {
			return err
		}
		pause = min(2*pause, time.Second)
	}
	return err
}

// settledLocked takes finished batches off the head of the line, in order, and
// puts their acknowledgements into the outbox. It returns the first failure.
func (o *outbox) settledLocked() (failed error) {
	for b := o.head; b != nil && b.done; b = o.head {
		if o.head = b.next; o.head == nil {
			o.tail = nil
		}
		o.unacked -= b.bytes
		if b.err != nil && !o.failed {
			o.failed, failed = true, b.err
		}
		if !o.failed {
			o.appendLocked(b.acks)
			if b.answer != nil {
				o.c.answerLocked(b.answer)
			}
		}
		finish, acks := b.finish, b.acks[:0]
		*b = batch{finish: finish, acks: acks}
		o.c.front.batches.Put(b)
	}
	o.c.room.Signal()
	return failed
}

// send queues one answer.
func (o *outbox) send(packet []byte) {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.appendLocked(packet)
}

// appendLocked queues bytes and sees to it that somebody writes them.
func (o *outbox) appendLocked(p []byte) {
	if len(p) == 0 || o.c.dead {
		return
	}
	o.pending = append(o.pending, p...)
	o.startLocked()
}

// cork holds back what is queued from now on, until uncork: an answer and what
// becomes true with it are one for the client. Only the reader does so, and not
// for long.
func (o *outbox) cork() {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.corked = true
}

func (o *outbox) uncork() {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	o.corked = false
	o.startLocked()
}

// startLocked sees to it that there is a writer.
func (o *outbox) startLocked() {
	if !o.writing && !o.corked {
		o.writing = true
		o.c.front.conns.Hold()
		go o.write()
	}
}

// run writes until there is nothing left to write.
func (o *outbox) run() {
	c := o.c
	defer c.front.conns.Release()
	for {
		c.mu.Lock()
		for c.deliverableLocked() {
			c.mu.Unlock()
			c.fill()
			c.mu.Lock()
		}
		if len(o.pending) == 0 || c.dead || o.corked {
			o.writing = false
			if o.head == nil && !o.corked { // idle: nothing is worth keeping
				o.pending, o.spare = o.first[:0], o.second[:0]
			}
			c.room.Signal()
			c.mu.Unlock()
			return
		}
		out := o.pending
		o.pending, o.spare = o.spare, nil
		c.room.Signal()
		c.mu.Unlock()

		err := c.nc.SetWriteDeadline(time.Now().Add(c.front.cfg.WriteTimeout))
		if err == nil {
			_, err = c.nc.Write(out)
		}
		if err != nil {
			c.Kill(fmt.Errorf("write: %w", err))
		}
		c.mu.Lock()
		o.spare = out[:0]
		c.mu.Unlock()
	}
}

// wait blocks the reader while too much of this connection is in flight.
func (o *outbox) wait() error {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for (o.unacked > c.front.cfg.MaxUnacked || len(o.pending) > maxOutbox) && !c.dead && !c.draining.Load() {
		c.room.Wait()
	}
	if c.dead {
		return c.reason
	}
	return nil
}

// flush blocks the reader until everything accepted is acknowledged and written.
func (o *outbox) flush() {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for (o.head != nil || o.writing) && !c.dead {
		c.room.Wait()
	}
}
