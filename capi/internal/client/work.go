package client

import (
	"runtime"
	"time"

	"github.com/iothub-go/iothub"
)

// DoWork does what there is to do and runs the program's functions that are
// due. Inside one of them, and after Destroy, it does nothing.
func (c *Client) DoWork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work()
}

// rounds is how often one DoWork goes around: what the program's functions sent
// leaves with the second.
const rounds = 2

// work is DoWork. The caller holds mu, which is free while functions of the
// program run. It returns when to call it again.
func (c *Client) work() (next time.Time) {
	for range rounds {
		if c.closed || c.dispatching {
			return
		}
		next, _ = c.ll.DoWork() // its errors are the two cases above
		if len(c.records) == 0 {
			return next
		}
		c.dispatch()
	}
	return next
}

// dispatch runs functions of the program until none is due. The caller holds
// mu, which is free meanwhile. A Destroy that one of them called happens here.
func (c *Client) dispatch() {
	c.dispatching = true
	for len(c.records) > 0 {
		batch := c.records
		c.records, c.spare = c.spare, nil
		c.mu.Unlock()
		c.host.Dispatch(c, batch)
		c.mu.Lock()
		clear(batch)
		if cap(batch) <= 4096 {
			c.spare = batch[:0]
		}
	}
	c.dispatching = false
	if c.closed {
		c.tearDown()
	}
}

// tearDown ends the client: all that was accepted is answered, what only tells
// of the hub is not told any more. The caller holds mu.
func (c *Client) tearDown() {
	if c.torn {
		return
	}
	c.torn = true
	c.status = Callback{}
	c.ll.Destroy() // nil: nobody else is inside
	kept := c.records[:0]
	for _, r := range c.records {
		switch r.Kind {
		case RecordConfirm, RecordReported, RecordInvoked:
			kept = append(kept, r)
		case RecordTwin, RecordProperties:
			if r.Asked() {
				kept = append(kept, r)
			}
		}
	}
	c.records = kept
	c.dispatch()
}

// Closed reports whether Destroy was called.
func (c *Client) Closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Destroy ends the client: what waits and what is in flight is confirmed with
// BECAUSE_DESTROY before it returns. Called from inside a function that the
// client runs, it takes effect when that function has returned.
func (c *Client) Destroy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if w := c.worker; w != nil {
		select {
		case w.kick <- struct{}{}:
		default:
		}
		if w.thread.Load() == c.host.Thread() {
			return // the thread ends when this call of the program has
		}
		c.mu.Unlock()
		<-w.done
		c.mu.Lock()
		return
	}
	if !c.dispatching {
		c.tearDown()
	}
}

// start starts the thread of a client of the convenience layer. The caller
// holds mu.
func (c *Client) start() {
	if !c.threaded || c.worker != nil {
		return
	}
	c.worker = &worker{kick: make(chan struct{}, 1), done: make(chan struct{})}
	go c.run(c.worker)
}

// run is the thread: it works whenever there is something to do and sleeps
// otherwise.
func (c *Client) run(w *worker) {
	// The program may keep things of its own by thread, and Destroy asks
	// whether it was called here.
	runtime.LockOSThread()
	defer close(w.done)
	w.thread.Store(c.host.Thread())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.mu.Lock()
		next := c.work()
		if c.closed {
			c.tearDown()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-c.ll.Wakeup():
		case <-w.kick:
		}
	}
}

// block does the client's work until done is closed; functions of the program
// are not called: they wait for the next DoWork.
func (c *Client) block(done <-chan struct{}) error {
	for {
		c.mu.Lock()
		if c.torn {
			c.mu.Unlock()
			return iothub.ErrClosed
		}
		next, err := c.ll.DoWork()
		c.mu.Unlock()
		select {
		case <-done:
			return nil
		default:
		}
		if err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(time.Until(next)):
		case <-c.ll.Wakeup():
		}
	}
}
