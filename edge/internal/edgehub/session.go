package edgehub

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/hub"
	"github.com/iothub-go/iothub/internal/link"
	"github.com/iothub-go/iothub/internal/managed"
	"github.com/iothub-go/iothub/internal/setup"
)

const (
	// idleSession is how long a connection upstream stays that nobody needs.
	idleSession = time.Minute
	// sweep is how often idle connections are looked for.
	sweep = 10 * time.Second
	// closeSession bounds the end of one.
	closeSession = 5 * time.Second
	// mailRetry is the wait before a message is offered again to a full queue.
	mailRetry = time.Second
	// methodTimeout is how long an identity here may take to answer: what the hub
	// upstream lets the client take (B.10), less the way.
	methodTimeout = 28 * time.Second
)

// session is the connection upstream of one identity.
type session struct {
	hub    *Hub
	id     iothub.Identity
	client *managed.Client

	// ctx ends with the session, or what it has to do for a connection here.
	ctx    context.Context
	cancel context.CancelFunc

	twin     twinSync
	accepted chan struct{} // closed when the hub upstream has accepted it for the first time
	tried    chan struct{} // closed when it is known whether it could be reached

	mu       sync.Mutex
	used     time.Time
	inFlight int  // events on their way
	present  bool // the identity is connected here
	serving  bool // it was once: what comes from upstream is taken
	leaving  bool // it was, and is not any more
	online   bool // the hub upstream has accepted it
	met      bool // accepted is closed
	known    bool // tried is closed
	lastErr  error
	gone     bool // being closed
	mail     []*iothub.ReceivedMessage
	wake     chan struct{} // room for one: there is mail
}

// sessions are all connections upstream.
type sessions struct {
	system *session // of $edgeHub itself

	mu      sync.Mutex
	open    map[iothub.Identity]*session
	dirty   map[iothub.Identity]bool // the connection here may have come or gone
	unsent  map[iothub.Identity]bool // something was reported here, and there was no session
	changed chan struct{}            // room for one: dirty is not empty
	closing link.Gate                // of those that end
}

func (s *sessions) init() {
	s.open = make(map[iothub.Identity]*session)
	s.dirty = make(map[iothub.Identity]bool)
	s.unsent = make(map[iothub.Identity]bool)
	s.changed = make(chan struct{}, 1)
}

// clientOptions are those of every connection upstream. The credential is that of
// $edgeHub, whoever it is presented for.
func (h *Hub) clientOptions(modelID string) *iothub.ClientOptions {
	u := &h.opts.Upstream
	return &iothub.ClientOptions{
		Credential: u.Credential, TLS: u.TLS, Proxy: u.Proxy, Dial: u.Dial, Retry: u.Retry, ModelID: modelID,
		ProductInfo: "iothub-edge", Logger: h.log.With("upstream", h.host),
	}
}

// newSession makes a connection upstream on behalf of an identity. It connects by
// itself.
func (h *Hub) newSession(id iothub.Identity) (*session, error) {
	s := &session{
		hub: h, id: id, used: time.Now(),
		wake: make(chan struct{}, 1), accepted: make(chan struct{}), tried: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(h.ctx)
	s.twin.init()
	model := h.server.ConnectedModel(id.DeviceID, id.ModuleID)
	if t, err := h.server.Twin(s.ctx, id.DeviceID, id.ModuleID); err == nil && model == "" {
		model = t.ModelID
	}
	o := h.clientOptions(model)
	o.OnConnectionStatus = s.status
	if id != h.self {
		o.Logger = slog.New(quiet{o.Logger.Handler(), h})
	}
	cs := &iothub.ConnectionString{HostName: h.opts.Upstream.HostName, DeviceID: id.DeviceID, ModuleID: id.ModuleID}
	made, err := setup.OnBehalf(cs, h.chain(id), o)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.client = managed.New(made.Setup, made.Options)
	return s, nil
}

// chain leads from an identity to this device; $edgeHub speaks for itself.
func (h *Hub) chain(id iothub.Identity) string {
	switch {
	case id == h.self:
		return ""
	case id.DeviceID == h.self.DeviceID:
		return id.String() + ";" + h.self.DeviceID
	case id.IsModule():
		return id.String() + ";" + id.DeviceID + ";" + h.self.DeviceID
	}
	return id.DeviceID + ";" + h.self.DeviceID
}

func (s *session) status(e iothub.ConnectionEvent) {
	online := e.Status == iothub.Authenticated
	s.mu.Lock()
	s.online, s.lastErr = online, e.Err
	if online && !s.met {
		s.met = true
		close(s.accepted)
	}
	if !s.known {
		s.known = true
		close(s.tried)
	}
	s.mu.Unlock()
	if online && s.hub.sessions.system == s {
		s.hub.refreshSoon()
	}
	s.twin.connected(online)
}

func (s *session) isOnline() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.online
}

// online reports whether the hub upstream can be reached.
func (h *Hub) online() bool {
	s := h.sessions.system
	return s != nil && s.isOnline()
}

// session returns the connection upstream of an identity, making one when there is
// none.
func (h *Hub) session(id iothub.Identity) (*session, error) {
	if id == h.self {
		return h.sessions.system, nil
	}
	h.sessions.mu.Lock()
	defer h.sessions.mu.Unlock()
	if s := h.sessions.open[id]; s != nil {
		return s, nil
	}
	if h.ctx.Err() != nil {
		return nil, iothub.ErrClosed
	}
	s, err := h.newSession(id)
	if err != nil {
		return nil, err
	}
	h.sessions.open[id] = s
	s.client.Open()
	return s, nil
}

// connectionChanged is called by the server, which it must not hold up.
func (h *Hub) connectionChanged(deviceID, moduleID string) {
	id := iothub.Identity{DeviceID: deviceID, ModuleID: moduleID}
	h.config.clientChanged(id)
	h.touch(id)
}

func (h *Hub) touch(id iothub.Identity) {
	if id == h.self {
		return
	}
	h.sessions.mu.Lock()
	h.sessions.dirty[id] = true
	h.sessions.mu.Unlock()
	select {
	case h.sessions.changed <- struct{}{}:
	default:
	}
}

// keepSessions opens connections upstream for those who connect here, and closes
// the ones that nobody needs any more.
func (h *Hub) keepSessions() {
	ticker := time.NewTicker(sweep)
	defer ticker.Stop()
	for {
		select {
		case <-h.sessions.changed:
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
		h.sessions.mu.Lock()
		dirty := h.sessions.dirty
		h.sessions.dirty = make(map[iothub.Identity]bool)
		h.sessions.mu.Unlock()
		for id := range dirty {
			h.follow(id)
		}
		h.sweep()
	}
}

// follow makes the connection upstream of an identity what the one here asks for.
func (h *Hub) follow(id iothub.Identity) {
	present := h.server.IsConnected(id.DeviceID, id.ModuleID)
	h.sessions.mu.Lock()
	s, unsent := h.sessions.open[id], h.sessions.unsent[id]
	delete(h.sessions.unsent, id)
	h.sessions.mu.Unlock()
	if s == nil && !present && !unsent {
		return
	}
	s, err := h.session(id)
	if err != nil {
		h.log.Warn("an identity gets no connection upstream", "identity", id.String(), "error", err)
		return
	}
	if unsent {
		s.startTwin()
		s.twin.markDirty()
	}
	s.setPresent(present)
}

// setPresent takes up what a connection here needs, or lets go of it.
func (s *session) setPresent(present bool) {
	s.mu.Lock()
	serving := s.serving
	s.present, s.serving, s.used = present, serving || present, time.Now()
	s.leaving = s.serving && !present
	s.mu.Unlock()
	if !present || serving {
		return
	}
	if !s.id.IsModule() {
		s.client.HandleMessages(s.received)
		s.hub.gate.Go(s.deliver)
	}
	s.client.HandleMethod("", s.called)
	s.startTwin()
}

// busy counts an event on its way, so that the connection stays.
func (s *session) busy(n int) {
	s.mu.Lock()
	s.inFlight += n
	s.used = time.Now()
	left := s.leaving && s.inFlight == 0
	s.mu.Unlock()
	if left {
		s.hub.touch(s.id)
	}
}

// needed reports whether somebody needs the connection. s.mu is held.
func (s *session) neededLocked() bool { return s.present || s.inFlight > 0 || s.twin.pending() }

// idle reports since when nobody needs the connection; zero when somebody does. A
// connection that stands between the hub upstream and nobody is worse than none.
func (s *session) idle() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.neededLocked():
		return time.Time{}
	case s.leaving:
		return time.Unix(0, 0)
	}
	return s.used
}

// sweep closes the connections that were idle for long, and the longest idle ones
// of too many.
func (h *Hub) sweep() {
	h.sessions.mu.Lock()
	var idle []*session
	for _, s := range h.sessions.open {
		if !s.idle().IsZero() {
			idle = append(idle, s)
		}
	}
	over := len(h.sessions.open) - maxSessions
	h.sessions.mu.Unlock()
	for _, s := range oldestFirst(idle) {
		if over > 0 || time.Since(s.idle()) > idleSession {
			h.retire(s, false)
			over--
		}
	}
}

// oldestFirst sorts sessions by when they were needed last.
func oldestFirst(list []*session) []*session {
	slices.SortFunc(list, func(a, b *session) int { return a.idle().Compare(b.idle()) })
	return list
}

// retire closes a connection upstream that nobody needs; with force also one that
// somebody does, whose events have to be sent again then. The next event makes a
// successor.
func (h *Hub) retire(s *session, force bool) {
	h.sessions.mu.Lock()
	s.mu.Lock()
	if s.gone || !force && s.neededLocked() {
		s.mu.Unlock()
		h.sessions.mu.Unlock()
		return
	}
	s.gone = true
	s.mu.Unlock()
	if h.sessions.open[s.id] == s {
		delete(h.sessions.open, s.id)
	}
	h.sessions.mu.Unlock()
	end := func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // there is nothing left to send, or it cannot be sent
		s.close(ctx)
	}
	if !h.sessions.closing.Go(end) {
		end() // the hub is ending, and waits for whoever is here
	}
}

// abandon lets go of an identity that is not in scope any more: of its connection
// upstream, and of what was known of its twin there. Should it come back, its twin
// here begins anew.
func (h *Hub) abandon(id iothub.Identity) {
	h.config.clientGone(id)
	h.sessions.mu.Lock()
	s := h.sessions.open[id]
	h.sessions.mu.Unlock()
	if s != nil {
		h.retire(s, true)
	}
	h.forgetBase(id)
}

func (s *session) close(ctx context.Context) {
	s.cancel()
	ctx, cancel := context.WithTimeout(ctx, closeSession)
	defer cancel()
	_ = s.client.Close(ctx) // it says in the log what it had to leave
}

// closeSessions ends all of them. What was not acknowledged upstream comes again
// after the next start.
func (h *Hub) closeSessions(ctx context.Context) {
	h.sessions.mu.Lock()
	all := make([]*session, 0, len(h.sessions.open)+1)
	for _, s := range h.sessions.open {
		all = append(all, s)
	}
	clear(h.sessions.open)
	h.sessions.mu.Unlock()
	if h.sessions.system != nil {
		all = append(all, h.sessions.system)
	}
	brief, cancel := context.WithCancel(ctx)
	cancel() // messages that wait need not be sent
	for _, s := range all {
		h.sessions.closing.Go(func() { s.close(brief) })
	}
	h.sessions.closing.Close()
	h.sessions.closing.Wait()
}

// received takes a cloud-to-device message. It is completed upstream when it is
// durable here.
func (s *session) received(m *iothub.ReceivedMessage) iothub.Disposition {
	s.mu.Lock()
	s.mail = append(s.mail, m) // as many as the hub upstream sends without an acknowledgement
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return iothub.DispositionLater
}

// deliver puts cloud-to-device messages into the queue here, in order.
func (s *session) deliver() {
	for {
		s.mu.Lock()
		var m *iothub.ReceivedMessage
		if len(s.mail) > 0 {
			m = s.mail[0]
			s.mail = s.mail[1:]
		}
		s.mu.Unlock()
		if m == nil {
			select {
			case <-s.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		if !s.keep(m) {
			return
		}
		_ = m.Settle(iothub.DispositionAccepted) // a lost link brings it again
	}
}

// keep makes a message durable here, waiting while the queue is full. It reports
// false when the session ends first.
func (s *session) keep(m *iothub.ReceivedMessage) bool {
	msg := m.Message
	msg.Ack = "" // whoever asked for it hears from the hub upstream
	for {
		err := s.hub.server.SendC2D(s.ctx, s.id.DeviceID, &msg)
		switch {
		case err == nil:
			return true
		case s.ctx.Err() != nil:
			return false
		case iothub.KindOf(err) == iothub.KindThrottled || iothub.KindOf(err) == iothub.KindUnavailable:
		default:
			s.hub.log.Warn("a message to a device was given up", "device", s.id.DeviceID, "message", msg.MessageID, "error", err)
			return true
		}
		timer := time.NewTimer(mailRetry)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// called passes a method on to the identity here. The answer is given later, so
// that events and other calls go on.
func (s *session) called(r *iothub.MethodRequest) *iothub.MethodResponse {
	s.hub.gate.Go(func() {
		status, answer, err := s.hub.server.InvokeMethod(s.ctx, s.id.DeviceID, s.id.ModuleID, r.Name, r.Payload,
			&hub.MethodOptions{ResponseTimeout: methodTimeout})
		if err != nil {
			status = http.StatusGatewayTimeout
			if iothub.KindOf(err) == iothub.KindNotFound || code(err) == 404103 {
				status = http.StatusNotFound
			}
			answer, _ = json.Marshal(map[string]string{"message": err.Error()}) // a text always encodes
		}
		if err := r.Respond(status, answer); err != nil && s.ctx.Err() == nil {
			s.hub.log.Warn("the answer to a method was not passed on", "identity", s.id.String(), "method", r.Name, "error", err)
		}
	})
	return nil
}
