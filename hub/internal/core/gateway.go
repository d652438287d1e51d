package core

import (
	"context"
	"strconv"
)

// Gateway makes a hub one that stands before another, as the hub of an IoT Edge
// device does: it knows identities that the hub behind it has, and keeps their
// events until they were passed on. The functions tell whoever passes things on
// what has happened; they may be called from many goroutines at once. All are
// required.
type Gateway struct {
	// DeviceID is the device whose modules routes lead to, also what other devices
	// send.
	DeviceID string
	// Find is called when an identity is unknown, or shows what does not prove
	// it. It may wait for the hub behind, and reports whether anything in the
	// registry has changed, so that it is worth looking again.
	Find func(deviceID, moduleID string) bool
	// Connection is called after an identity has connected or gone. Calls about
	// one identity may overtake each other: [Hub.IsConnected] says what is true.
	// It must not block.
	Connection func(deviceID, moduleID string)
	// Reported is called after a device has changed its reported properties. It
	// must not block.
	Reported func(deviceID, moduleID string)
	// Fresh is called before a device reads its twin, and calls ready once, as
	// soon as the twin is as new as it can be had, but soon in any case. It must
	// not block.
	Fresh func(deviceID, moduleID string, ready func())
	// StoreLimit bounds the bytes of events that are kept. Beyond it nothing is
	// taken in: [Attachment.Ingest] answers 503005. Zero is no bound.
	StoreLimit int64
}

// IsGateway reports whether the hub stands before another one.
func (h *Hub) IsGateway() bool { return h.cfg.Gateway != nil }

// ConnectedModel is the model that the live connection of an identity has announced;
// "" when it has none, or there is no connection.
func (h *Hub) ConnectedModel(deviceID, moduleID string) string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if a := h.live[identityKey{deviceID, moduleID}]; a != nil {
		return a.origin.model
	}
	return ""
}

// HasIdentity reports whether there is such a device or module.
func (h *Hub) HasIdentity(deviceID, moduleID string) bool {
	_, err := h.generationFor(identityKey{deviceID, moduleID})
	return err == nil
}

// IsConnected reports whether an identity has a live connection.
func (h *Hub) IsConnected(deviceID, moduleID string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.live[identityKey{deviceID, moduleID}] != nil
}

// connectionChanged tells the gateway, if it is one.
func (h *Hub) connectionChanged(k identityKey) {
	if g := h.cfg.Gateway; g != nil {
		g.Connection(k.device, k.module)
	}
}

// Identities calls fn with every identity there is, devices before their modules,
// until fn returns false. fn must not call the hub.
func (h *Hub) Identities(fn func(deviceID, moduleID string, a Authentication, enabled bool) bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, d := range h.registry {
		enabled := d.Status == StatusEnabled
		if !fn(d.ID, "", d.Auth, enabled) {
			return
		}
		for i := range d.Modules {
			if !fn(d.ID, d.Modules[i].ID, d.Modules[i].Auth, enabled) {
				return
			}
		}
	}
}

// storeLimit is what bounds the events of the built-in event hub.
func (h *Hub) storeLimit() int64 {
	if h.cfg.Gateway == nil {
		return 0
	}
	return h.cfg.Gateway.StoreLimit
}

// Kept is how many bytes of events there are, with those on their way to the
// storage; about as many as the storage takes for them.
func (h *EventHub) Kept() int64 {
	var n int64
	for _, p := range h.partitions {
		n += p.kept.Load()
	}
	return n
}

// Trim lets go of the events of a partition up to the one of that offset, which
// somebody else has now. They go by records, and the newest record stays; when
// nobody needs it, it does not count for the limit, or it could fill the store for
// ever. Errors are *Error.
func (h *EventHub) Trim(ctx context.Context, partition int, offset string) error {
	if err := h.checkPartition(partition); err != nil {
		return err
	}
	n, err := strconv.ParseUint(offset, 10, 63)
	if err != nil {
		return NewError(CodeArgumentInvalid, "offset %q is not a number as events carry it", offset)
	}
	p := h.partitions[partition]
	if err := h.events.Trim(ctx, partition, n>>offsetIndexBits); err != nil {
		return storageError("trim events", err)
	}
	size, err := p.measure(ctx)
	if err != nil {
		return err
	}
	_, last, err := h.events.Bounds(ctx, partition)
	if err != nil || n>>offsetIndexBits != last {
		return err
	}
	r, _, err := h.recordAt(ctx, partition, last)
	if err != nil || r == nil || int(n&(1<<offsetIndexBits-1)) != r.count-1 {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.Add(-size) // it is all that there was when it was measured
	return nil
}

// measure asks the storage how much it keeps of the partition.
func (p *partition) measure(ctx context.Context) (size int64, err error) {
	if size, err = p.events.Size(ctx, p.index); err != nil {
		return 0, storageError("measure events", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.Store(size + int64(p.waiting))
	return size, nil
}
