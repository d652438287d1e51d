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
		if c.over() || c.dispatching {
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
	if c.over() {
		c.tearDown()
	}
}

// over reports whether the client may end. The caller holds mu.
func (c *Client) over() bool { return c.closed && c.uploads == 0 }

// run calls one function of the program at once, on this thread, from wherever the
// client is. The caller holds mu, which is free meanwhile.
func (c *Client) run(r Record) {
	inside := c.dispatching
	c.dispatching = true
	c.mu.Unlock()
	c.host.Dispatch(c, []Record{r})
	c.mu.Lock()
	if c.dispatching = inside; !inside && c.over() {
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
	close(c.gone)
	c.status = Callback{}
	c.ll.Destroy() // nil: nobody else is inside
	kept := c.records[:0]
	for _, r := range c.records {
		switch r.Kind {
		case RecordConfirm, RecordReported, RecordInvoked, RecordUploaded, RecordBlocksEnd:
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
// BECAUSE_DESTROY before it returns. A client with a thread finishes the uploads
// that it has accepted first. Called from inside a function that the client runs,
// it takes effect when that function has returned.
func (c *Client) Destroy() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if w := c.worker; w != nil {
		w.wake()
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
	go c.loop(c.worker)
}

// loop is the thread: it works whenever there is something to do and sleeps
// otherwise.
func (c *Client) loop(w *worker) {
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
		if c.over() {
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
		case r := <-c.wanted:
			c.mu.Lock()
			c.run(r)
			c.mu.Unlock()
		}
	}
}

// await starts a call and does the client's work until the call is done; functions
// of the program are not called: they wait for the next DoWork.
func (c *Client) await(start func(done func(error)) error) error {
	done := make(chan struct{})
	var answer error
	err := c.call(true, func() error {
		return start(func(err error) {
			answer = err
			close(done)
		})
	})
	if err != nil {
		return err
	}
	if err := c.block(done); err != nil {
		return err
	}
	return answer
}

// block does the client's work until done is closed. A client without a thread
// provides the blocks that uploads want.
func (c *Client) block(done <-chan struct{}) error {
	wanted := c.wanted
	if c.threaded {
		wanted = nil
	}
	for {
		c.mu.Lock()
		next, err := time.Time{}, iothub.ErrClosed
		if !c.torn {
			next, err = c.ll.DoWork()
		}
		if c.worker != nil {
			c.worker.wake() // for the functions that are due now, and the new time
		}
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
		case r := <-wanted:
			c.mu.Lock()
			c.run(r)
			c.mu.Unlock()
		case <-time.After(time.Until(next)):
		case <-c.ll.Wakeup():
		}
	}
}
