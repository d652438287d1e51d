package managed

import (
	"sync"
	"sync/atomic"

	"github.com/iothub-go/iothub/internal/engine"
)

// dispatcher runs the user's callbacks on one goroutine, in order, off every
// lock.
type dispatcher struct {
	c *Client

	mu       sync.Mutex
	queue    []engine.Event
	finished bool          // nothing more will be added
	wake     chan struct{} // capacity 1

	goid atomic.Uint64 // of the goroutine that runs callbacks
}

func newDispatcher(c *Client) *dispatcher {
	return &dispatcher{c: c, wake: make(chan struct{}, 1)}
}

// add queues events and returns an empty slice to collect the next ones into.
func (d *dispatcher) add(events []engine.Event) []engine.Event {
	if len(events) == 0 {
		return events
	}
	d.mu.Lock()
	wake := len(d.queue) == 0
	if wake {
		d.queue, events = events, d.queue
	} else {
		d.queue = append(d.queue, events...)
		clear(events)
	}
	d.mu.Unlock()
	if wake {
		d.signal()
	}
	return events[:0]
}

// finish ends the dispatcher once the queue is empty.
func (d *dispatcher) finish() {
	d.mu.Lock()
	d.finished = true
	d.mu.Unlock()
	d.signal()
}

func (d *dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// current reports whether the caller is a callback of this dispatcher.
func (d *dispatcher) current() bool { return d.goid.Load() == goroutineID() }

func (d *dispatcher) run() {
	d.goid.Store(goroutineID())
	var batch []engine.Event
	for {
		d.mu.Lock()
		batch, d.queue = d.queue, batch[:0]
		finished := d.finished
		if len(batch) == 0 && cap(d.queue) > keep {
			d.queue = nil // memory for a burst is not kept
		}
		d.mu.Unlock()
		if len(batch) == 0 {
			if finished {
				return
			}
			if cap(batch) > keep {
				batch = nil
			}
			<-d.wake
			continue
		}
		d.release(batch)
		d.c.log.Events(batch, d.c.Stats)
		for i := range batch {
			d.call(&batch[i])
		}
		clear(batch)
	}
}

func (d *dispatcher) call(e *engine.Event) {
	switch e.Kind {
	case engine.EventConfirm:
		if e.Confirm != nil && !e.Direct {
			e.Confirm(e.Confirmation)
		}
	case engine.EventStatus:
		if f := d.c.opts.OnConnectionStatus; f != nil {
			f(*e.Status)
		}
	case engine.EventInbound:
		d.c.recv.Handle(e.In)
	case engine.EventCall:
		if !e.Direct {
			e.Call()
		}
	}
}

// release gives the room of confirmed messages back, before their callbacks
// run, so that those can send again into a full queue.
func (d *dispatcher) release(batch []engine.Event) {
	n, bytes := 0, 0
	for i := range batch {
		if e := &batch[i]; e.Kind == engine.EventConfirm && !e.Direct {
			n++
			bytes += int(e.Size)
		}
	}
	if n > 0 {
		d.c.release(n, bytes)
	}
}

func (c *Client) release(messages, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Release(messages, bytes)
	if c.space != nil {
		close(c.space)
		c.space = nil
	}
}
