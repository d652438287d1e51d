package main

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/ll"
)

func init() { register(implementation{name: "ll", open: openLL, openOffline: openLLOffline}) }

type llSender struct {
	client *ll.ModuleClient
	msg    *iothub.Message
	count  *counter
	sent   int64
	timer  *time.Timer
}

func openLL(t target) (sender, error) {
	return newLL(t, &ll.ClientOptions{TLS: t.tls()})
}

func openLLOffline(t target, n int) (queuer, error) {
	return newLL(t, &ll.ClientOptions{TLS: t.tls(), MaxQueuedMessages: n + 1, MaxQueuedBytes: 1 << 30})
}

func newLL(t target, o *ll.ClientOptions) (*llSender, error) {
	client, err := ll.NewModuleClientFromConnectionString(t.connectionString(), o)
	if err != nil {
		return nil, err
	}
	return &llSender{client: client, msg: message(t), count: newCounter(), timer: time.NewTimer(0)}, nil
}

// llBurst is how many messages are queued between two calls of DoWork.
const llBurst = 1024

func (s *llSender) flood(stop *atomic.Bool) (int, error) {
	from := s.sent
	confirm := s.count.confirm
	for sending := true; sending || s.count.confirmed.Load() < s.sent; {
		full := false
		for range llBurst {
			if sending = sending && !stop.Load(); !sending || full {
				break
			}
			switch err := s.client.SendEventAsync(s.msg, confirm); {
			case err == nil:
				s.sent++
			case errors.Is(err, iothub.ErrQueueFull):
				full = true
			default:
				return 0, err
			}
		}
		if err := s.work(full || !sending); err != nil {
			return 0, err
		}
	}
	return int(s.sent - from), s.count.err()
}

// work calls DoWork, and if idle then waits until the next call is due unless
// that one confirmed something.
func (s *llSender) work(idle bool) error {
	before := s.count.confirmed.Load()
	next, err := s.client.DoWork()
	if err != nil {
		return err
	}
	if !idle || s.count.confirmed.Load() != before {
		return nil
	}
	var due <-chan time.Time
	if !next.IsZero() {
		s.timer.Reset(time.Until(next))
		due = s.timer.C
	}
	select {
	case <-s.client.Wakeup():
	case <-due:
	}
	return nil
}

func (s *llSender) one() error {
	if err := s.client.SendEventAsync(s.msg, s.count.confirm); err != nil {
		return err
	}
	s.sent++
	for s.count.confirmed.Load() < s.sent {
		if err := s.work(true); err != nil {
			return err
		}
	}
	return s.count.err()
}

func (s *llSender) queue(n int) error {
	for range n {
		if err := s.client.SendEventAsync(s.msg, s.count.confirm); err != nil {
			return err
		}
	}
	s.sent += int64(n)
	return nil
}

func (s *llSender) close() error {
	s.client.Destroy()
	return nil
}
