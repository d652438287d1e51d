package core

import (
	"context"
	"sync"
	"time"
)

// bell tells all who wait for something that it has changed. Its lock is that of what
// it belongs to.
type bell struct {
	rung chan struct{} // closed at the next change; nil when nobody waits
}

func (b *bell) ringLocked() {
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

func (b *bell) nextLocked() <-chan struct{} {
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

// await calls take until it gives something: now, when the bell of the queue rings,
// and when a lock lapses, of which untilLapse says how far off it is. Errors are that
// of ctx and an *Error when the hub closes.
func await[T any](ctx context.Context, h *Hub, mu *sync.Mutex, b *bell, take func() *T, untilLapse func() time.Duration) (*T, error) {
	for {
		mu.Lock()
		rung := b.nextLocked()
		mu.Unlock()
		if v := take(); v != nil {
			return v, nil
		}
		lapse := time.NewTimer(untilLapse())
		select {
		case <-rung:
		case <-lapse.C:
		case <-ctx.Done():
			lapse.Stop()
			return nil, ctx.Err()
		case <-h.closing:
			lapse.Stop()
			return nil, errClosed()
		}
		lapse.Stop()
	}
}
