package core

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/hub/internal/routing"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// router is a routing that was compiled. It does not change; another one takes
// its place. While there is none, all telemetry goes to the built-in event hub,
// by the shortest way.
type router struct {
	cfg       *RoutingConfig
	etag      uint64
	routes    [][]*compiledRoute // by EventSource
	fallback  *compiledRoute     // nil when it is switched off
	endpoints map[string]*endpoint
	dropped   *counter
}

// endpoint is where routes lead.
type endpoint struct {
	name        string
	hub         *EventHub
	hidden      bool // the event hub is not for Event Hubs clients
	enrichments []Enrichment
}

type counter = atomic.Int64

// eventHub finds an event hub that clients may read.
func (r *router) eventHub(name string) *EventHub {
	if e := r.endpoints[strings.ToLower(name)]; e != nil && !e.hidden {
		return e.hub
	}
	return nil
}

// targets finds where an event goes: to each endpoint once, in the order in which
// event hubs are locked.
func (r *router) targets(source EventSource, m *eventMessage, into []*endpoint) []*endpoint {
	matched := false
	add := func(route *compiledRoute) {
		matched = true
		route.matched.Add(1)
		for _, e := range route.targets {
			if !slices.Contains(into, e) {
				into = append(into, e)
			}
		}
	}
	for _, route := range r.routes[source] {
		if route.condition.Matches(m) {
			add(route)
		}
	}
	switch {
	case matched || source != SourceTelemetry:
	case r.fallback != nil && r.fallback.condition.Matches(m):
		add(r.fallback)
	default:
		r.dropped.Add(1)
	}
	return into
}

// share is what one event hub gets of a call.
type share struct {
	to     *endpoint
	events []Event
	size   int
}

// origin is who sends events, towards all event hubs.
type origin struct {
	key     identityKey
	gen     string
	auth    string
	model   string
	entry   []byte
	senders *routedSenders // nil for one who sends once
}

// routedSenders are the senders of an attachment to event hubs beside its own
// partition.
type routedSenders struct {
	mu   sync.Mutex
	byID map[*EventHub]*sender
}

func (o *origin) sender(to *EventHub) *sender {
	if o.senders == nil {
		return &sender{entry: o.entry}
	}
	o.senders.mu.Lock()
	defer o.senders.mu.Unlock()
	s := o.senders.byID[to]
	if s == nil {
		if o.senders.byID == nil {
			o.senders.byID = make(map[*EventHub]*sender)
		}
		s = &sender{entry: o.entry}
		o.senders.byID[to] = s
	}
	return s
}

// ingest takes the events of one call in, each wherever routes lead it. The call
// is taken in as a whole or not at all, and done when all of it is durable.
func (r *router) ingest(h *Hub, o *origin, events []Event, now int64, done func(error)) error {
	var shares []*share
	var room [4]*endpoint
	for i := range events {
		m := &eventMessage{hub: h, origin: o, event: &events[i], now: now}
		for _, to := range r.targets(events[i].Source, m, room[:0]) {
			var s *share
			for _, have := range shares {
				if have.to == to {
					s = have
				}
			}
			if s == nil {
				s = &share{to: to}
				shares = append(shares, s)
			}
			e := to.enriched(m)
			s.events = append(s.events, e)
			s.size += len(e.Bag) + len(e.Payload) + maxEventOverhead
		}
	}
	return enqueueShares(o, shares, now, done)
}

// enqueueShares puts the shares of a call into their partitions, all or none. The
// locks are taken in the order of the event hubs' numbers.
func enqueueShares(o *origin, shares []*share, now int64, done func(error)) error {
	if len(shares) == 0 { // no route wants any of it
		done(nil)
		return nil
	}
	slices.SortFunc(shares, func(x, y *share) int { return cmp.Compare(x.to.hub.number, y.to.hub.number) })
	if len(shares) > 1 {
		done = joined(len(shares), done)
	}
	senders := make([]*sender, len(shares))
	for i, s := range shares {
		senders[i] = o.sender(s.to.hub)
	}
	for _, s := range shares {
		p := s.to.hub.partitionOf(o.key.device)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.admitLocked(s.size); err != nil {
			return err
		}
	}
	for i, s := range shares {
		s.to.hub.partitionOf(o.key.device).putLocked(senders[i], s.events, s.size, now, done)
	}
	return nil
}

// enriched is the event with the properties that the endpoint stamps on it.
func (e *endpoint) enriched(m *eventMessage) Event {
	event := *m.event
	if event.Source == SourceDigitalTwinChange {
		return event
	}
	for i, enrichment := range e.enrichments {
		if i == 0 {
			event.Bag = slices.Clone(event.Bag)
		}
		event.Bag = topic.AppendProperty(event.Bag, 0, enrichment.Key, m.enrichment(enrichment.Value), true)
	}
	return event
}

// Routing returns the routing as JSON, with its ETag.
func (h *Hub) Routing() (data []byte, etag string, err error) {
	cfg, version := &RoutingConfig{}, uint64(0)
	if r := h.router.Load(); r != nil {
		cfg, version = r.cfg, r.etag
	}
	if cfg.Fallback == nil {
		c := *cfg
		c.Fallback = &RouteConfig{
			Name: "$fallback", Source: sources[SourceTelemetry].route, Condition: "true", Endpoints: []string{builtinEndpoint},
		}
		cfg = &c
	}
	if cfg.Routes == nil {
		c := *cfg
		c.Routes = []RouteConfig{}
		cfg = &c
	}
	data, err = json.Marshal(cfg)
	return data, etagOf(version), err
}

// routingKey is where the bucket has the routing.
const routingKey = "routing"

// storedRouting is the routing as stored.
type storedRouting struct {
	Version uint64          `json:"version"`
	Config  json.RawMessage `json:"config"`
}

// openRouting applies the routing of the configuration or, without one, the one
// that SetRouting has stored.
func (h *Hub) openRouting(ctx context.Context, storage Storage) error {
	var err error
	h.storage = storage
	if h.routings, err = storage.Bucket(ctx, "routing"); err != nil {
		return err
	}
	if h.cursors, err = storage.Spool(ctx, "delivered"); err != nil {
		return err
	}
	stored, err := h.storedState(ctx)
	if err != nil {
		return err
	}
	data, version := []byte(stored.Config), stored.Version
	if len(h.cfg.Routing) > 0 {
		data, version = h.cfg.Routing, 1
	}
	if len(data) == 0 {
		return nil
	}
	cfg, err := parseRouting(data)
	if err != nil {
		return err
	}
	return h.applyRouting(ctx, cfg, version)
}

// storedState reads the bucket: the routing, and what event hubs there are.
func (h *Hub) storedState(ctx context.Context) (storedRouting, error) {
	var stored storedRouting
	var bad error
	stop, err := h.routings.Watch(ctx, func(c Change) {
		switch {
		case bad != nil || c.Deleted:
		case c.Key == routingKey:
			h.routingRev = c.Revision
			bad = json.Unmarshal(c.Value, &stored)
		default:
			var e storedEventHub
			if bad = json.Unmarshal(c.Value, &e); bad == nil {
				h.knownHubs[c.Key] = e
			}
		}
	})
	if err != nil {
		return stored, err
	}
	stop() // this process is the only one that writes
	return stored, bad
}

// storedEventHub is what cannot change about an event hub.
type storedEventHub struct {
	Partitions int       `json:"partitions"`
	Created    time.Time `json:"created"`
}

// SetRouting replaces the routing, given as the JSON of a [RoutingConfig], if its
// ETag is etag ([AnyETag] for any). It holds for what comes in from then on, and
// after a restart. Errors are *Error: 400004 and 400006 for what is wrong with it,
// 412001, and 409 when the program has set the routing itself.
func (h *Hub) SetRouting(ctx context.Context, data []byte, etag string) error {
	cfg, err := parseRouting(data)
	if err != nil {
		return err
	}
	if len(h.cfg.Routing) > 0 {
		return NewError(CodeInvalidOperation, "the routing was given when the hub was started: change it there")
	}
	h.routingMu.Lock()
	defer h.routingMu.Unlock()
	if h.isClosing() {
		return errClosed()
	}
	version := uint64(0)
	if r := h.router.Load(); r != nil {
		version = r.etag
	}
	if !etagMatches(etag, version) {
		return preconditionFailed("Routing", etag, version)
	}
	version++
	// It is applied first: what cannot be applied is not worth keeping.
	previous := h.router.Load()
	if err := h.applyRouting(ctx, cfg, version); err != nil {
		return err
	}
	value, err := json.Marshal(storedRouting{version, data})
	if err == nil {
		if h.routingRev == 0 {
			h.routingRev, err = h.routings.Create(ctx, routingKey, value)
		} else {
			h.routingRev, err = h.routings.Update(ctx, routingKey, value, h.routingRev)
		}
	}
	if err != nil {
		h.router.Store(previous)
		h.deliverTo(previous)
		return storageError("set the routing", err)
	}
	return nil
}

// applyRouting compiles a routing and lets it take effect.
func (h *Hub) applyRouting(ctx context.Context, cfg *RoutingConfig, version uint64) error {
	r := &router{
		cfg: cfg, etag: version, routes: make([][]*compiledRoute, len(sources)),
		endpoints: map[string]*endpoint{builtinEndpoint: {name: builtinEndpoint, hub: h.builtin}},
		dropped:   &h.unrouted,
	}
	for _, c := range cfg.eventHubConfigs() {
		hidden := cfg.isDelivery(c.Name)
		if !hidden && strings.EqualFold(c.Name, h.builtin.Name()) {
			return NewError(CodeArgumentInvalid, "the event hub %q is the built-in one; its endpoint is %q", c.Name, builtinEndpoint)
		}
		e, err := h.customHub(ctx, c)
		if err != nil {
			return err
		}
		r.endpoints[strings.ToLower(c.Name)] = &endpoint{name: c.Name, hub: e, hidden: hidden}
	}
	for _, e := range cfg.Enrichments {
		for _, name := range e.Endpoints {
			to := r.endpoints[strings.ToLower(name)]
			to.enrichments = append(to.enrichments, e)
		}
	}
	if err := h.compileRoutes(r); err != nil {
		return err
	}
	for _, d := range cfg.deliveries() {
		if h.cfg.Deliver == nil {
			break
		}
		to, err := h.cfg.Deliver(d)
		if err != nil {
			return NewError(CodeArgumentInvalid, "%v", err)
		}
		to.Close()
	}
	h.router.Store(r)
	h.deliverTo(r)
	return nil
}

func (h *Hub) compileRoutes(r *router) error {
	compile := func(c *RouteConfig, source EventSource) (*compiledRoute, error) {
		condition, err := compileCondition(c.Name, c.Condition, source)
		if err != nil {
			return nil, err
		}
		route := &compiledRoute{name: c.Name, condition: condition, matched: h.matchesOf(c.Name)}
		for _, name := range c.Endpoints {
			route.targets = append(route.targets, r.endpoints[strings.ToLower(name)])
		}
		return route, nil
	}
	for i := range r.cfg.Routes {
		c := &r.cfg.Routes[i]
		source, _ := parseSource(c.Source)
		route, err := compile(c, source)
		if err != nil {
			return err
		}
		if c.enabled() {
			r.routes[source] = append(r.routes[source], route)
		}
	}
	fallback := r.cfg.Fallback
	if fallback == nil {
		fallback = &RouteConfig{Endpoints: []string{builtinEndpoint}}
	}
	if !fallback.enabled() {
		return nil
	}
	c := *fallback
	c.Name = "$fallback"
	var err error
	r.fallback, err = compile(&c, SourceTelemetry)
	return err
}

// matchesOf is the counter of a route, which lives longer than a routing.
func (h *Hub) matchesOf(route string) *counter {
	c, _ := h.matched.LoadOrStore(route, new(counter))
	return c.(*counter)
}

// customHub opens an event hub, or finds the one that is open. h.routingMu is
// held, or the hub is being opened.
func (h *Hub) customHub(ctx context.Context, c EventHubConfig) (*EventHub, error) {
	key := strings.ToLower(c.Name)
	known, made := h.knownHubs[key]
	if made && c.Partitions == 0 {
		c.Partitions = known.Partitions
	}
	c, err := c.withDefaults(&h.cfg)
	if err != nil {
		return nil, err
	}
	if made && known.Partitions != c.Partitions {
		return nil, NewError(CodeArgumentInvalid, "event hub %s was made with %d partitions, and the number cannot change", c.Name, known.Partitions)
	}
	if open := h.custom[key]; open != nil {
		// Readers and committers go on with what they have; the number of
		// partitions is the same.
		e := *open
		e.cfg = c
		h.custom[key] = &e
		return &e, nil
	}
	if !made {
		known = storedEventHub{Partitions: c.Partitions, Created: h.now().UTC()}
		value, err := json.Marshal(known)
		if err != nil {
			return nil, err
		}
		if _, err := h.routings.Create(ctx, key, value); err != nil && !errors.Is(err, ErrKeyExists) {
			return nil, storageError("make an event hub", err)
		}
		h.knownHubs[key] = known
	}
	e, err := h.openEventHub(ctx, h.storage, c, key)
	if err != nil {
		return nil, err
	}
	e.created = known.Created
	h.custom[key] = e
	h.lastHub++
	e.number = h.lastHub
	e.start()
	return e, nil
}

// RoutingStats counts what routes have done since the hub was opened.
type RoutingStats struct {
	// Matched is how many events each route took, by its name; $fallback is the
	// fallback route.
	Matched map[string]int64
	// Unrouted is how many messages of devices no route took.
	Unrouted int64
	// Deliveries are the endpoints that events are delivered to, by name.
	Deliveries map[string]DeliveryStats
}

// RoutingStats returns the counters of now.
func (h *Hub) RoutingStats() RoutingStats {
	s := RoutingStats{Matched: make(map[string]int64), Unrouted: h.unrouted.Load(), Deliveries: make(map[string]DeliveryStats)}
	h.matched.Range(func(name, c any) bool {
		s.Matched[name.(string)] = c.(*counter).Load()
		return true
	})
	h.deliveryMu.Lock()
	defer h.deliveryMu.Unlock()
	for _, d := range h.delivering {
		s.Deliveries[d.delivery.name()] = d.stats()
	}
	return s
}

// TestRoute reports whether a condition takes a message of a device; the device
// need not exist. The error is an *Error, 400004, when it does not compile.
func (h *Hub) TestRoute(source, condition, deviceID string, e Event) (bool, error) {
	s, ok := parseSource(source)
	if !ok {
		return false, NewError(CodeArgumentInvalid, "there is no source %q", source)
	}
	c, err := compileCondition("under test", condition, s)
	if err != nil {
		return false, err
	}
	o := &origin{key: identityKey{device: deviceID}}
	if gen, err := h.generationFor(o.key); err == nil {
		o.gen = gen
	}
	return c.Matches(&eventMessage{hub: h, origin: o, event: &e, now: h.now().UnixMilli()}), nil
}

var _ routing.Message = (*eventMessage)(nil)

// shutCustom has the event hubs beside the built-in one take nothing more.
func (h *Hub) shutCustom() {
	h.routingMu.Lock()
	defer h.routingMu.Unlock()
	for _, e := range h.custom {
		e.shut()
	}
}
