package core

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Delivery is an endpoint that events are delivered to: one of the two.
type Delivery struct {
	Webhook *WebhookEndpoint
	NATS    *NATSEndpoint
}

func (d Delivery) name() string {
	if d.Webhook != nil {
		return d.Webhook.Name
	}
	return d.NATS.Name
}

// Deliverer hands events to an endpoint. Deliver returns nil when the endpoint has
// taken all of them; after an error they come again, in the same order. It is
// called by one goroutine at a time.
type Deliverer interface {
	Deliver(ctx context.Context, events []StoredEvent) error
	Close()
}

const (
	// defaultDeliveryBatch is how many events are delivered at once.
	defaultDeliveryBatch = 100
	// maxDeliveryBytes is when a batch is large enough.
	maxDeliveryBytes = 1 << 20
	// deliveryTimeout bounds one attempt.
	deliveryTimeout = 30 * time.Second
	// The pauses between attempts double from the one to the other, each cut by up
	// to half at random.
	minDeliveryPause = time.Second
	maxDeliveryPause = time.Minute
)

// DeliveryStats tells how an endpoint does.
type DeliveryStats struct {
	// Delivered counts events since the hub was opened, Failures attempts.
	Delivered, Failures int64
	// LastError is why the last attempt failed; empty when it did not.
	LastError string
}

// deliveryLoop delivers the events of one endpoint, in order and at least once.
// They wait in an event hub of their own, for as long as the hub keeps events;
// where delivery has got to is stored after each batch.
type deliveryLoop struct {
	hub      *Hub
	delivery Delivery
	events   *EventHub
	cancel   context.CancelFunc
	done     chan struct{}

	mu    sync.Mutex
	state DeliveryStats
}

func (d *deliveryLoop) stats() DeliveryStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// deliverTo ends the deliveries of the routing before and begins those of r, nil
// for none. Deliveries that have not changed go on.
func (h *Hub) deliverTo(r *router) {
	h.deliveryMu.Lock()
	defer h.deliveryMu.Unlock()
	wanted := make(map[string]Delivery)
	if r != nil && h.cfg.Deliver != nil && !h.isClosing() {
		for _, d := range r.cfg.deliveries() {
			wanted[strings.ToLower(d.name())] = d
		}
	}
	for name, loop := range h.delivering {
		if d, ok := wanted[name]; ok && sameJSON(d, loop.delivery) {
			delete(wanted, name)
			continue
		}
		loop.cancel()
		<-loop.done
		delete(h.delivering, name)
	}
	for name, d := range wanted {
		ctx, cancel := context.WithCancel(context.Background())
		loop := &deliveryLoop{hub: h, delivery: d, events: r.endpoints[name].hub, cancel: cancel, done: make(chan struct{})}
		h.delivering[name] = loop
		h.wg.Go(func() { loop.run(ctx) })
	}
}

func sameJSON(x, y any) bool {
	a, errA := json.Marshal(x)
	b, errB := json.Marshal(y)
	return errA == nil && errB == nil && string(a) == string(b)
}

func (d *deliveryLoop) run(ctx context.Context) {
	defer close(d.done)
	name := d.delivery.name()
	for pause := minDeliveryPause; ; {
		before := d.stats().Delivered
		err := d.deliver(ctx)
		if ctx.Err() != nil || errors.Is(err, &Error{Code: CodeServiceUnavailable}) && d.hub.isClosing() {
			return
		}
		d.failed(err)
		if d.stats().Delivered > before {
			pause = minDeliveryPause
		}
		d.hub.log.Warn("events were not delivered", "endpoint", name, "error", err, "again in", pause)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.hub.closing:
			timer.Stop()
			return
		}
		pause = min(2*pause, maxDeliveryPause)
	}
}

func (d *deliveryLoop) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Failures++
	d.state.LastError = err.Error()
}

// deliver delivers until something fails, beginning behind what was delivered.
func (d *deliveryLoop) deliver(ctx context.Context) error {
	to, err := d.hub.cfg.Deliver(d.delivery)
	if err != nil {
		return err
	}
	defer to.Close()
	key := strings.ToLower(d.delivery.name())
	from, err := d.hub.deliveredUpTo(ctx, key)
	if err != nil {
		return err
	}
	reader, err := d.events.NewReader(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	most := defaultDeliveryBatch
	if d.delivery.Webhook != nil && d.delivery.Webhook.MaxBatch > 0 {
		most = d.delivery.Webhook.MaxBatch
	}
	for {
		batch, err := nextBatch(ctx, reader, most)
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, deliveryTimeout)
		err = to.Deliver(attempt, batch)
		cancel()
		if err != nil {
			return err
		}
		// What is delivered and not stored as delivered comes again: at least once.
		if err := d.hub.cursors.Put(context.WithoutCancel(ctx), key, []byte(batch[len(batch)-1].Offset)); err != nil {
			return storageError("deliver", err)
		}
		d.mu.Lock()
		d.state.Delivered += int64(len(batch))
		d.state.LastError = ""
		d.mu.Unlock()
	}
}

// deliveredUpTo is where delivery begins; everything kept when there is no mark.
func (h *Hub) deliveredUpTo(ctx context.Context, key string) (Position, error) {
	offset := "-1"
	err := h.cursors.Each(ctx, func(k string, value []byte) error {
		if k == key {
			offset = string(value)
		}
		return nil
	})
	if err != nil {
		return Position{}, storageError("deliver", err)
	}
	return FromOffset(offset, false)
}

// nextBatch waits for an event and takes what else is there.
func nextBatch(ctx context.Context, r *EventReader, most int) ([]StoredEvent, error) {
	e, err := r.Next(ctx)
	if err != nil {
		return nil, err
	}
	batch, size := []StoredEvent{e}, len(e.Body)
	for len(batch) < most && size < maxDeliveryBytes {
		e, err := r.TryNext(ctx)
		if errors.Is(err, ErrNoEvent) {
			break
		}
		if err != nil {
			return nil, err
		}
		batch = append(batch, e)
		size += len(e.Body)
	}
	return batch, nil
}
