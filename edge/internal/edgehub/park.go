package edgehub

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
)

const (
	// stall is how long a partition stands still because of one identity that the
	// hub upstream does not let in, while it lets this hub in, before the identity
	// is parked.
	stall = 15 * time.Second
	// unparkEvery is how often a parked identity is tried again.
	unparkEvery = time.Minute
	// parkedBatch is how many events of one are on their way at once.
	parkedBatch = 256
)

// parked is an identity whose events wait by themselves, because the hub upstream
// does not let it in, so that the others of its partition go on. They are read
// again when it is let in.
type parked struct {
	mark     string    // the offset behind which its events wait; "" is the start
	tried    time.Time // when it was last tried
	catching bool      // its events are being sent
}

// loadParked takes what the file has of those parked.
func (l *lane) loadParked(stored marks) {
	prefix := strconv.Itoa(l.partition) + "/"
	for key, mark := range stored {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		device, module, _ := strings.Cut(name, "/")
		l.parked[iothub.Identity{DeviceID: device, ModuleID: module}] = &parked{mark: mark}
	}
}

// noteMarks puts the marks into what is saved, and reports whether that changes
// anything.
func (l *lane) noteMarks(all marks) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := strconv.Itoa(l.partition)
	text := l.mark
	if l.mark != "" {
		all[n] = l.mark
	}
	for id, p := range l.parked {
		all[n+"/"+id.String()] = p.mark
		text += " " + id.String() + "=" + p.mark
	}
	changed = text != l.saved
	l.saved = text
	return changed
}

// noted returns up to where nobody needs the events any more, by what was saved;
// "" is nowhere.
func (l *lane) noted(all marks) string {
	n := strconv.Itoa(l.partition)
	oldest := all[n]
	for key, mark := range all {
		if strings.HasPrefix(key, n+"/") && before(mark, oldest) {
			oldest = mark
		}
	}
	return oldest
}

// before compares two offsets.
func before(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// tend parks an identity that holds the others up, and tries those that are
// parked.
func (l *lane) tend() {
	h := l.f.hub
	if !h.online() {
		return
	}
	now := time.Now()
	l.mu.Lock()
	var stuck iothub.Identity
	if len(l.window) > 0 && now.Sub(l.moved) > h.opts.stall {
		stuck = l.window[0].id
	}
	var try []iothub.Identity
	for id, p := range l.parked {
		if !p.catching && now.Sub(p.tried) > h.opts.unpark {
			p.tried, p.catching = now, true
			try = append(try, id)
		}
	}
	l.mu.Unlock()
	for _, id := range try {
		if !h.gate.Go(func() { l.catchUp(id) }) {
			return
		}
	}
	if stuck.DeviceID != "" && stuck != h.self {
		if s, err := h.session(stuck); err == nil && !s.isOnline() {
			l.park(stuck, s)
		}
	}
}

// park sets an identity aside.
func (l *lane) park(id iothub.Identity, s *session) {
	h := l.f.hub
	s.mu.Lock()
	err := s.lastErr
	s.mu.Unlock()
	l.mu.Lock()
	n := 0
	if l.parked[id] == nil {
		l.parked[id] = &parked{mark: l.mark, tried: time.Now()}
	}
	for _, ev := range l.window {
		if ev.id == id && !ev.done {
			ev.done = true
			n++
		}
	}
	l.advanceLocked()
	l.mu.Unlock()
	h.log.Warn("the hub upstream does not let an identity in: its events wait by themselves", "identity", id.String(), "events", n, "error", err)
	h.retire(s, true) // what it was to send is read again
	h.touch(id)
}

// catchUp sends what waits of a parked identity once the hub upstream lets it in.
func (l *lane) catchUp(id iothub.Identity) {
	h := l.f.hub
	l.mu.Lock()
	p := l.parked[id]
	from := p.mark
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	defer func() {
		l.mu.Lock()
		p.catching = false
		l.mu.Unlock()
	}()
	if ok, err := h.inScope(id); err != nil || ok && !h.letIn(ctx, id) {
		return
	}
	for {
		l.mu.Lock()
		last := l.mark // how far the reader has passed over its events
		if n := len(l.window); n > 0 {
			last = l.window[n-1].offset
		}
		if !before(from, last) {
			// From now on the reader takes them again.
			delete(l.parked, id)
			l.mu.Unlock()
			h.log.Info("the events of an identity that waited were passed on", "identity", id.String())
			return
		}
		l.mu.Unlock()
		if !l.sendParked(ctx, id, p, from, last) {
			return
		}
		from = last
	}
}

// letIn waits a while for the hub upstream to accept an identity.
func (h *Hub) letIn(ctx context.Context, id iothub.Identity) bool {
	s, err := h.session(id)
	if err != nil {
		return false
	}
	timer := time.NewTimer(h.opts.stall)
	defer timer.Stop()
	select {
	case <-s.accepted:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	h.retire(s, false)
	return false
}

// sendParked sends the events of a parked identity behind from and up to last. It
// reports whether all of them were passed on.
func (l *lane) sendParked(ctx context.Context, id iothub.Identity, p *parked, from, last string) bool {
	o := &hub.EventsOptions{Partitions: []int{l.partition}, From: from, NoWait: true}
	if from == "" {
		o.From = "start"
	}
	outcomes := make(chan bool, parkedBatch)
	sent, read := 0, from
	settled := func() bool { // what was sent, in a batch
		for ; sent > 0; sent-- {
			select {
			case ok := <-outcomes:
				if !ok {
					return false
				}
			case <-ctx.Done():
				return false
			}
		}
		l.mu.Lock()
		p.mark = read
		l.mu.Unlock()
		return true
	}
	for e, err := range l.f.hub.server.Events(ctx, o) {
		if err != nil {
			return false
		}
		if before(last, e.Offset) {
			break
		}
		read = e.Offset
		if id != (iothub.Identity{DeviceID: e.DeviceID, ModuleID: e.ModuleID}) {
			continue
		}
		if err := l.dispatch(e, id, func(ok bool) { outcomes <- ok }); err != nil {
			return false
		}
		if sent++; sent == parkedBatch && !settled() {
			return false
		}
	}
	return settled()
}
