package core

import "bytes"

const (
	// maxInputBytes and maxInputDepth bound the queue of a module.
	maxInputBytes = 16 << 20
	maxInputDepth = 10_000
)

// routed is one call of Ingest, taken apart.
type routed struct {
	upstream []Event
	size     int // of upstream
	queued   []queuedInput
}

type queuedInput struct {
	key        identityKey
	generation string
	message    Message
}

// ingestRouted is Ingest for an identity that has routes. The call is taken in as
// a whole or not at all, and done when all of it is durable, wherever it went.
func (a *Attachment) ingestRouted(routes []Route, events []Event, now int64, done func(error)) error {
	parts := a.sort(routes, events)
	if len(parts.queued) == 0 {
		return a.upstream(events, parts.size, now, done)
	}
	m := a.hub.mail
	if len(parts.upstream) > 0 {
		done = joined(2, done)
	}
	letters, err := m.reserve(parts.queued, done)
	if err != nil {
		return err
	}
	if len(parts.upstream) > 0 {
		err = a.upstream(parts.upstream, parts.size, now, done)
	}
	m.decide(letters, err == nil)
	return err
}

// sort finds out where the events go. What goes to an input is copied.
func (a *Attachment) sort(routes []Route, events []Event) (parts routed) {
	h := a.hub
	home := a.key.device // where the modules are that routes lead to
	if g := h.cfg.Gateway; g != nil {
		home = g.DeviceID
	}
	h.mu.RLock()
	dev := h.registry[home]
	h.mu.RUnlock()
	known := func(module string) bool { return dev != nil && dev.module(module) != nil }
	at := h.now().UTC()
	for i := range events {
		e := &events[i]
		m := &eventMessage{hub: h, origin: &a.origin, event: e, now: at.UnixMilli()}
		upstream, inputs := destinations(routes, outputOf(e.Bag), m, known)
		if upstream {
			parts.upstream = append(parts.upstream, *e)
			parts.size += len(e.Bag) + len(e.Payload) + maxEventOverhead
		}
		if len(inputs) == 0 {
			continue
		}
		msg := inputMessage(a.key, e, bytes.Clone(e.Payload))
		msg.EnqueuedTime = at
		for _, d := range inputs {
			msg.Input = d.input
			parts.queued = append(parts.queued, queuedInput{
				key: identityKey{home, d.module}, generation: dev.module(d.module).GenerationID, message: msg,
			})
		}
	}
	return parts
}

// reservation is the letters of one call in one queue.
type reservation struct {
	box     *mailbox
	letters []*letter
}

// reserve puts messages into their queues, where they hold their place until it
// is decided whether they are stored. The queues of modules are bounded: what is
// full lets its senders wait.
func (m *mail) reserve(list []queuedInput, done func(error)) ([]*reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed()
	}
	p := &parcel{done: done}
	var all []*reservation
	byKey := make(map[identityKey]*reservation)
	for i := range list {
		q := &list[i]
		r := byKey[q.key]
		if r == nil {
			r = &reservation{box: m.boxLocked(q.key, q.generation)}
			byKey[q.key] = r
			all = append(all, r)
		}
		n := q.message.size() + messageOverhead
		err := m.roomLocked(n)
		if err == nil && (len(r.box.letters) >= maxInputDepth || r.box.bytes+n > maxInputBytes) {
			err = NewError(CodeServerBusy, "%d messages with %d bytes wait for the inputs of %s already",
				len(r.box.letters), r.box.bytes, q.key.String())
		}
		if err != nil {
			for _, r := range all {
				m.cancelLocked(r.box, r.letters)
			}
			return nil, err
		}
		r.letters = append(r.letters, m.addLocked(r.box, &q.message, p))
	}
	m.hub.wg.Add(1) // Close waits for the decision
	return all, nil
}

// decide has reserved letters stored, or takes them back.
func (m *mail) decide(list []*reservation, store bool) {
	defer m.hub.wg.Done()
	var wake []*Receiver
	m.mu.Lock()
	for _, r := range list {
		if store {
			m.storeLocked(r.box, r.letters...)
			continue
		}
		m.cancelLocked(r.box, r.letters)
		wake = append(wake, r.box.receivers...) // they held back what is behind them
	}
	m.mu.Unlock()
	wakeAll(wake)
}
