package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/module"
)

func init() {
	register(implementation{name: "module", open: openModule, openOffline: openModuleOffline})
}

// counter is the confirmation callback that the clients of this project share
// all their messages with; it allocates nothing for a message.
type counter struct {
	confirmed atomic.Int64
	failure   atomic.Pointer[error]
	// moved says that there may be room again; it is signalled now and then,
	// and by the confirmation of number goal.
	moved chan struct{}
	goal  atomic.Int64
}

func newCounter() *counter { return &counter{moved: make(chan struct{}, 1)} }

func (c *counter) confirm(r iothub.Confirmation) {
	if r.Result != iothub.ConfirmOK {
		err := fmt.Errorf("confirmed %v: %w", r.Result, r.Err)
		c.failure.Store(&err)
	}
	if n := c.confirmed.Add(1); n%1024 == 0 || n == c.goal.Load() {
		select {
		case c.moved <- struct{}{}:
		default:
		}
	}
}

func (c *counter) err() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func message(t target) *iothub.Message {
	return &iothub.Message{Payload: t.payload(), Properties: properties}
}

type moduleSender struct {
	client *module.Client
	msg    *iothub.Message
	count  *counter
	sent   int64
}

func openModule(t target) (sender, error) {
	return newModule(t, &module.ClientOptions{TLS: t.tls()})
}

func openModuleOffline(t target, n int) (queuer, error) {
	return newModule(t, &module.ClientOptions{TLS: t.tls(), MaxQueuedMessages: n + 1, MaxQueuedBytes: 1 << 30})
}

func newModule(t target, o *module.ClientOptions) (*moduleSender, error) {
	client, err := module.NewClientFromConnectionString(t.connectionString(), o)
	if err != nil {
		return nil, err
	}
	return &moduleSender{client: client, msg: message(t), count: newCounter()}, nil
}

func (s *moduleSender) flood(stop *atomic.Bool) (int, error) {
	from := s.sent
	confirm := s.count.confirm
	for !stop.Load() {
		switch err := s.client.SendEventAsync(s.msg, confirm); {
		case err == nil:
			s.sent++
		case errors.Is(err, iothub.ErrQueueFull):
			<-s.count.moved // the queue is full, so confirmations are to come
		default:
			return 0, err
		}
	}
	s.count.goal.Store(s.sent)
	for s.count.confirmed.Load() < s.sent {
		<-s.count.moved
	}
	return int(s.sent - from), s.count.err()
}

func (s *moduleSender) one() error { return s.client.SendEvent(context.Background(), s.msg) }

func (s *moduleSender) queue(n int) error {
	for range n {
		if err := s.client.SendEventAsync(s.msg, s.count.confirm); err != nil {
			return err
		}
	}
	return nil
}

func (s *moduleSender) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	return s.client.Close(ctx)
}
