package amqpfront

import (
	"fmt"
	"slices"
	"sync"

	"github.com/iothub-go/iothub/internal/wire/amqp"
)

// maxReaders is how many receivers without an epoch a partition has in a consumer
// group. (wire-service E6)
const maxReaders = 5

// receivers are the receivers of events by partition and consumer group. One with
// an epoch is alone there, and gives way to one with the same epoch or a higher
// one.
type receivers struct {
	mu    sync.Mutex
	byKey map[string][]*eventReceiver
}

func stolen(format string, args ...any) *amqp.Error {
	return &amqp.Error{Condition: amqp.ErrCondStolen, Description: fmt.Sprintf(format, args...) + " TrackingId:" + newTrackingID()}
}

func nameOf(r *eventReceiver) string {
	if r.name == "" {
		return "nil"
	}
	return r.name
}

// add lets a receiver in or refuses it, and detaches those that have to give way.
// Nothing is done under mu that takes the lock of a connection.
func (s *receivers) add(r *eventReceiver) error {
	gone, err := s.place(r)
	for _, old := range gone {
		old.link.detach(stolen("New receiver '%s' with higher epoch of '%d' is created hence current receiver '%s' with epoch '%d' is getting disconnected. "+
			"If you are recreating the receiver, make sure a higher epoch is used.", nameOf(r), r.epoch, nameOf(old), old.epoch))
	}
	return err
}

func (s *receivers) place(r *eventReceiver) (gone []*eventReceiver, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = make(map[string][]*eventReceiver)
	}
	list := s.byKey[r.key]
	for _, old := range list {
		switch {
		case !old.owns:
		case !r.owns:
			return nil, stolen("At least one receiver for the endpoint is created with epoch of '%d', and so non-epoch receiver is not allowed. "+
				"Either reconnect with a higher epoch, or make sure all epoch receivers are closed or disconnected.", old.epoch)
		case old.epoch > r.epoch:
			return nil, stolen("Receiver '%s' with a higher epoch '%d' already exists. Receiver '%s' with epoch %d cannot be created. "+
				"Make sure you are creating receiver with increasing epoch value to ensure connectivity, or ensure all old epoch receivers are closed or disconnected.",
				nameOf(old), old.epoch, nameOf(r), r.epoch)
		}
	}
	if r.owns {
		s.byKey[r.key] = []*eventReceiver{r}
		return list, nil
	}
	if len(list) >= maxReaders {
		return nil, &amqp.Error{Condition: amqp.ErrCondResourceLimit,
			Description: fmt.Sprintf("Exceeded the maximum number of allowed receivers per partition in a consumer group which is %d", maxReaders)}
	}
	s.byKey[r.key] = append(list, r)
	return nil, nil
}

func (s *receivers) remove(r *eventReceiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(s.byKey[r.key], func(o *eventReceiver) bool { return o == r })
	if len(list) == 0 {
		delete(s.byKey, r.key)
		return
	}
	s.byKey[r.key] = list
}

// detach ends a link from outside, with an error for the client.
func (l *link) detach(e *amqp.Error) {
	c := l.c
	c.mu.Lock()
	l.detachLocked(e)
	c.flushLocked()
	calls := c.takeCallsLocked()
	c.mu.Unlock()
	run(calls)
}
