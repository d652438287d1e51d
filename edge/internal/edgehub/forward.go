package edgehub

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/atomicfile"
)

const (
	// window and windowBytes bound the events of one partition that are on their
	// way upstream.
	window      = 4096
	windowBytes = 8 << 20
	// eventOverhead is what an event on its way counts beside its bytes.
	eventOverhead = 256
	// saveEvery is how often the marks are written while there is progress.
	saveEvery = 100 * time.Millisecond
	// forwardRetry is the wait after an event could not be read or sent.
	forwardRetry = time.Second
)

// forwarder sends the events that are kept here upstream.
type forwarder struct {
	hub   *Hub
	lanes [partitions]*lane
	saver sync.WaitGroup
	stop  chan struct{} // closed when the lanes have ended: the last marks are written

	ttl atomic.Int64 // nanoseconds; 0: none

	forwarded, expired, dropped, undeliverable atomic.Int64
}

// lane is one partition on its way.
type lane struct {
	f         *forwarder
	partition int
	room      chan struct{} // room for one: the window has become smaller

	// The reader's.
	lastSeq int64 // of the event read last; -1: none yet

	mu      sync.Mutex
	mark    string            // the offset up to which everything is done; "" before the first
	window  []*event          // behind mark, in order
	pending map[string]*event // the same by offset
	bytes   int
	again   context.CancelFunc // has the reader begin again behind mark
	moved   time.Time          // when mark moved, or the window stopped being empty
	parked  map[iothub.Identity]*parked

	saved string // what the file has; the saver's
}

// event is one that is on its way.
type event struct {
	id     iothub.Identity
	offset string
	size   int
	done   bool
	failed bool // it has to be sent again
}

// marks is the form of the file: the offset of each partition, by its number, and
// of each identity that is parked, by number/identity.
type marks map[string]string

func (f *forwarder) path() string { return filepath.Join(f.hub.opts.DataDir, "forward.json") }

func (f *forwarder) open(h *Hub) error {
	f.hub, f.stop = h, make(chan struct{})
	f.ttl.Store(int64(h.opts.TTL))
	stored := make(marks)
	data, err := os.ReadFile(f.path())
	if err == nil {
		err = json.Unmarshal(data, &stored)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		// Beginning at the start again repeats events, and loses none.
		h.log.Error("what was passed on already cannot be read: all that is kept is sent again", "file", f.path(), "error", err)
	}
	for i := range f.lanes {
		mark := stored[strconv.Itoa(i)]
		f.lanes[i] = &lane{
			f: f, partition: i, mark: mark, saved: mark, room: make(chan struct{}, 1), lastSeq: -1,
			pending: make(map[string]*event), parked: make(map[iothub.Identity]*parked),
		}
		f.lanes[i].loadParked(stored)
	}
	return nil
}

func (f *forwarder) start() {
	written := make(marks)
	for _, l := range f.lanes {
		l.noteMarks(written)
	}
	f.trim(f.lanes[:], written) // what a crash has left
	for _, l := range f.lanes {
		f.hub.gate.Go(l.run)
	}
	f.saver.Go(f.save)
}

// close writes the last marks. Everything else has ended.
func (f *forwarder) close() {
	if f.stop != nil {
		close(f.stop)
		f.saver.Wait()
	}
}

func (f *forwarder) stats() Stats {
	return Stats{
		Forwarded: f.forwarded.Load(), Expired: f.expired.Load(), Dropped: f.dropped.Load(), Undeliverable: f.undeliverable.Load(),
	}
}

// run sends the events of a partition, as they come, until the hub closes.
func (l *lane) run() {
	h := l.f.hub
	for {
		ctx, cancel := context.WithCancel(h.ctx)
		l.mu.Lock()
		from := l.mark
		l.again = cancel
		l.mu.Unlock()
		err := l.readFrom(ctx, from)
		again := ctx.Err() != nil
		cancel()
		switch {
		case h.ctx.Err() != nil || errors.Is(err, hub.ErrServerClosed):
			return
		case !again:
			h.log.Warn("events are not passed on for a moment", "partition", l.partition, "error", err)
		}
		if !h.wait(forwardRetry) {
			return
		}
	}
}

// readFrom sends the events behind an offset until something fails.
func (l *lane) readFrom(ctx context.Context, from string) error {
	if from == "" {
		from = "start"
	}
	for e, err := range l.f.hub.server.Events(ctx, &hub.EventsOptions{Partitions: []int{l.partition}, From: from}) {
		if err == nil {
			err = l.forward(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forward sends one event, when there is room for it. An error means that it is
// worth trying again.
func (l *lane) forward(ctx context.Context, e *hub.Event) error {
	h := l.f.hub
	id := iothub.Identity{DeviceID: e.DeviceID, ModuleID: e.ModuleID}
	ev, send, err := l.enter(ctx, e, id)
	if err != nil || !send {
		return err
	}
	if l.lastSeq >= 0 && e.SequenceNumber > l.lastSeq+1 {
		missing := e.SequenceNumber - l.lastSeq - 1
		l.f.dropped.Add(missing)
		h.log.Warn("events were dropped because the store was full", "partition", l.partition, "events", missing)
	}
	l.lastSeq = max(l.lastSeq, e.SequenceNumber)
	err = l.dispatch(e, id, func(ok bool) {
		if ok {
			l.settle(ev)
		} else {
			l.fail(ev, true) // the mark stays before it
		}
	})
	if err != nil {
		l.fail(ev, false)
	}
	return err
}

// dispatch sends one event, or passes over it. Unless it fails, settled is called
// once: with false when the event has to be sent again, because its connection was
// closed.
func (l *lane) dispatch(e *hub.Event, id iothub.Identity, settled func(ok bool)) error {
	h := l.f.hub
	now := h.opts.Clock()
	ttl := time.Duration(l.f.ttl.Load())
	if ttl > 0 && now.Sub(e.EnqueuedTime) > ttl {
		l.f.expired.Add(1)
		settled(true)
		return nil
	}
	if ok, err := h.inScope(id); err != nil {
		return err
	} else if !ok {
		l.f.undeliverable.Add(1)
		h.log.Warn("an event is dropped: its sender is not in scope any more", "identity", id.String())
		settled(true)
		return nil
	}
	m := messageOf(e)
	if err := m.Validate(); err != nil {
		makeValid(m)
		if err := m.Validate(); err != nil {
			l.f.undeliverable.Add(1)
			h.log.Error("an event is dropped: the hub upstream cannot take it", "identity", id.String(), "error", err)
			settled(true)
			return nil
		}
	}
	if ttl > 0 {
		// The client's clock is that of the system.
		m.ExpiryTime = time.Now().Add(e.EnqueuedTime.Add(ttl).Sub(now))
	}
	return h.send(id, m, func(c iothub.Confirmation) { settled(l.f.count(c)) })
}

// send hands a message to the connection upstream of its sender.
func (h *Hub) send(id iothub.Identity, m *iothub.Message, confirm iothub.ConfirmFunc) error {
	for {
		s, err := h.session(id)
		if err != nil {
			return err
		}
		s.mu.Lock()
		gone := s.gone
		if !gone {
			s.inFlight++
			s.used = time.Now()
		}
		s.mu.Unlock()
		if gone {
			continue // a successor is made
		}
		err = s.client.SendEventAsync(m, func(c iothub.Confirmation) {
			confirm(c)
			s.busy(-1)
		})
		if err != nil {
			s.busy(-1)
		}
		return err
	}
}

// inScope reports whether an identity is known here, asking upstream before it
// says no.
func (h *Hub) inScope(id iothub.Identity) (bool, error) {
	if h.server.HasIdentity(id.DeviceID, id.ModuleID) {
		return true, nil
	}
	_, found, err := h.lookUp(h.ctx, id)
	return found, err
}

// enter gives an event its place in the window, waiting for room, and reports
// whether it is to be sent: not when it is on its way already, which is so when the
// reader has begun again, nor when its sender is parked.
func (l *lane) enter(ctx context.Context, e *hub.Event, id iothub.Identity) (ev *event, send bool, err error) {
	size := sizeOf(e)
	for {
		l.mu.Lock()
		if ev = l.pending[e.Offset]; ev != nil {
			send, ev.failed = ev.failed, false
			l.mu.Unlock()
			return ev, send, nil
		}
		if len(l.window) == 0 || len(l.window) < window && l.bytes+size <= windowBytes {
			if len(l.window) == 0 {
				l.moved = time.Now()
			}
			ev = &event{id: id, offset: e.Offset, size: size}
			l.window = append(l.window, ev)
			l.pending[ev.offset] = ev
			l.bytes += size
			p := l.parked[id]
			l.mu.Unlock()
			if p != nil {
				l.settle(ev)
			}
			return ev, p == nil, nil
		}
		l.mu.Unlock()
		select {
		case <-l.room:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// sizeOf is what an event counts while it is on its way.
func sizeOf(e *hub.Event) int {
	n := len(e.Body) + eventOverhead
	for _, properties := range []map[string]string{e.Properties, e.SystemProperties} {
		for name, value := range properties {
			n += len(name) + len(value)
		}
	}
	return n
}

// count counts what has become of an event, and reports whether it is done with.
func (f *forwarder) count(c iothub.Confirmation) bool {
	switch c.Result {
	case iothub.ConfirmOK:
		f.forwarded.Add(1)
	case iothub.ConfirmMessageTimeout:
		f.expired.Add(1)
	default:
		return false
	}
	return true
}

// fail marks an event as one to be sent again, by a reader that begins again.
func (l *lane) fail(ev *event, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ev.failed = !ev.done
	if again && ev.failed && l.again != nil {
		l.again()
	}
}

// settle marks an event as done and moves the mark over all that are.
func (l *lane) settle(ev *event) {
	l.mu.Lock()
	ev.done = true
	l.advanceLocked()
	l.mu.Unlock()
}

func (l *lane) advanceLocked() {
	moved := false
	for len(l.window) > 0 && l.window[0].done {
		first := l.window[0]
		l.mark = first.offset
		l.bytes -= first.size
		delete(l.pending, first.offset)
		l.window[0] = nil
		l.window = l.window[1:]
		moved = true
	}
	if !moved {
		return
	}
	l.moved = time.Now()
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// save writes the marks while they move, and lets go of what is before them.
func (f *forwarder) save() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			f.saveNow(true)
			for _, l := range f.lanes {
				l.tend()
			}
		case <-f.stop:
			f.saveNow(false)
			return
		}
	}
}

func (f *forwarder) saveNow(trim bool) {
	all := make(marks)
	var moved []*lane
	for _, l := range f.lanes {
		if l.noteMarks(all) {
			moved = append(moved, l)
		}
	}
	if len(moved) == 0 {
		return
	}
	data, err := json.Marshal(all)
	if err == nil {
		err = atomicfile.Write(f.path(), data)
	}
	if err != nil {
		f.hub.log.Error("what was passed on could not be noted: it comes again after a crash", "error", err)
		for _, l := range moved {
			l.saved = "" // the next round tries again
		}
		return
	}
	if trim {
		f.trim(moved, all)
	}
}

// trim removes what is before the marks that were written.
func (f *forwarder) trim(lanes []*lane, written marks) {
	for _, l := range lanes {
		oldest := l.noted(written)
		if oldest == "" {
			continue
		}
		if err := f.hub.server.TrimEvents(context.Background(), l.partition, oldest); err != nil && !errors.Is(err, hub.ErrServerClosed) {
			f.hub.log.Error("events that were passed on could not be removed", "partition", l.partition, "error", err)
		}
	}
}
