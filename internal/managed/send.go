package managed

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/iothub-go/iothub"
)

// waiter turns the confirmation of one message into something to wait for.
type waiter struct {
	ch      chan iothub.Confirmation // capacity 1
	confirm iothub.ConfirmFunc       // made once, so that reuse allocates nothing
}

// waiters is a pool of them. Every client has its own, because a channel made
// in one bubble of testing/synctest must not be used in another.
type waiters struct{ pool sync.Pool }

func (ws *waiters) get() *waiter {
	if w, ok := ws.pool.Get().(*waiter); ok {
		return w
	}
	w := &waiter{ch: make(chan iothub.Confirmation, 1)}
	w.confirm = func(c iothub.Confirmation) { w.ch <- c }
	return w
}

func (ws *waiters) put(w *waiter) { ws.pool.Put(w) }

// SendEvent sends m and waits for its confirmation; see the public clients.
func (c *Client) SendEvent(ctx context.Context, m *iothub.Message) error {
	w := c.waiters.get()
	if err := c.sendWait(ctx, m, w.confirm); err != nil {
		c.waiters.put(w)
		return err
	}
	return c.await(ctx, w)
}

// await returns the outcome. If ctx ends first the waiter is left to its late
// confirmation and not used again.
func (c *Client) await(ctx context.Context, w *waiter) error {
	var r iothub.Confirmation
	select {
	case r = <-w.ch:
	case <-ctx.Done():
		select {
		case r = <-w.ch: // a confirmation that has come counts
		default:
			return timedOut(ctx)
		}
	}
	c.waiters.put(w)
	return outcome(r)
}

func timedOut(ctx context.Context) error {
	return &iothub.Error{Op: "send", Kind: iothub.KindTimeout, Retryable: true,
		Err: fmt.Errorf("%w while waiting for the confirmation; the message stays queued", ctx.Err())}
}

func outcome(r iothub.Confirmation) error {
	if r.Result == iothub.ConfirmOK {
		return nil
	}
	if r.Err != nil {
		return r.Err
	}
	return errors.New("iothub: " + r.Result.String())
}

// sendWait sends with a confirm of this library's own and waits for room in
// the queue.
func (c *Client) sendWait(ctx context.Context, m *iothub.Message, confirm iothub.ConfirmFunc) error {
	for {
		err := c.send(m, confirm, true)
		if !errors.Is(err, iothub.ErrQueueFull) {
			return err
		}
		if c.disp.current() {
			return err // room may come only when this callback returns
		}
		c.mu.Lock()
		n, _ := c.out.Len()
		if c.space == nil {
			c.space = make(chan struct{})
		}
		space := c.space
		c.mu.Unlock()
		if n == 0 {
			continue // everything was released meanwhile
		}
		select {
		case <-space:
		case <-ctx.Done():
			return iothub.MarkNotSent(&iothub.Error{Op: "send", Kind: iothub.KindTimeout, Retryable: true,
				Err: fmt.Errorf("%w while waiting for room in the queue", ctx.Err())})
		}
	}
}

// SendEventBatch sends messages in order and waits for all of them.
func (c *Client) SendEventBatch(ctx context.Context, msgs []*iothub.Message) error {
	c.em.Lock()
	encoder := c.setup.Encoder
	c.em.Unlock()
	var scratch []byte
	for i, m := range msgs {
		err := m.Validate()
		if err == nil { // what only the protocol knows, such as the size in its packet
			scratch, err = encoder.AppendMessage(scratch[:0], m)
		}
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i, len(msgs), err)
		}
	}
	errs := make([]error, len(msgs))
	pending := make([]*waiter, 0, len(msgs))
	for i, m := range msgs {
		w := c.waiters.get()
		if err := c.sendWait(ctx, m, w.confirm); err != nil {
			c.waiters.put(w)
			for j := i; j < len(msgs); j++ {
				errs[j] = iothub.MarkNotSent(err)
			}
			break
		}
		pending = append(pending, w)
	}
	for i, w := range pending {
		errs[i] = c.await(ctx, w)
	}
	return iothub.NewBatchError(errs)
}
