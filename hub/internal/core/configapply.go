package core

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The states of a configuration in a twin.
const (
	ConfigTargeted = "Targeted" // the twin is one it is for, and another one applies
	ConfigApplied  = "Applied"  // the twin says what it says
)

// configWorkers is how many twins are brought up to date at once, so that they
// share the writes of the storage.
const configWorkers = 8

// configStore holds the configurations and what they have done to twins, and has a
// reconciler that keeps twins as the configurations want them: one at once when it
// changes, all when a configuration does, and all every few minutes.
//
// What configurations have set in a twin is stored before the twin changes, so
// that after a crash it is still known what to take out again.
type configStore struct {
	hub    *Hub
	bucket Bucket // the configurations
	spool  Spool  // the states

	ctx    context.Context // ends when the hub closes
	stop   context.CancelFunc
	write  sync.Mutex  // held by whoever changes a configuration
	active atomic.Bool // there is something to keep, or was

	mu     sync.Mutex // guards what follows; held for maps only
	docs   map[string]*configDoc
	order  []*configDoc                 // docs by newer; nil when it has to be made anew
	states map[identityKey]*configState // never changed in place
	dirty  map[identityKey]bool
	all    bool
	wake   chan struct{} // room for one
}

// configState is what configurations have to do with one device, or with one
// module by a configuration for modules.
type configState struct {
	Generation string `json:"gen"`
	// Status is by configuration.
	Status map[string]string `json:"status,omitempty"`
	// Set are the paths that configurations have set, by module of an edge
	// deployment, "" being the identity itself.
	Set map[string][]string `json:"set,omitempty"`
}

func (s *configStore) init(h *Hub) {
	s.hub = h
	s.docs = make(map[string]*configDoc)
	s.states = make(map[identityKey]*configState)
	s.dirty = make(map[identityKey]bool)
	s.wake = make(chan struct{}, 1)
	s.ctx, s.stop = context.WithCancel(context.Background())
}

// open reads everything; the reconciler runs after that.
func (s *configStore) open(ctx context.Context, storage Storage) error {
	var err error
	if s.bucket, err = storage.Bucket(ctx, "configurations"); err != nil {
		return err
	}
	if s.spool, err = storage.Spool(ctx, "configured"); err != nil {
		return err
	}
	stop, err := s.bucket.Watch(ctx, s.load)
	if err != nil {
		return err
	}
	stop()
	err = s.spool.Each(ctx, func(name string, value []byte) error {
		state := new(configState)
		if err := json.Unmarshal(value, state); err != nil {
			s.hub.log.Error("what configurations have set in a twin is damaged and left out", "identity", name, "error", err)
			return nil
		}
		var key identityKey
		key.device, key.module, _ = strings.Cut(name, "/")
		s.states[key] = state
		return nil
	})
	if err != nil {
		return err
	}
	if len(s.docs) > 0 || len(s.states) > 0 {
		s.active.Store(true)
		s.touchAll()
	}
	return nil
}

func (s *configStore) load(c Change) {
	if c.Deleted {
		return
	}
	var stored storedConfig
	if err := json.Unmarshal(c.Value, &stored); err != nil {
		s.hub.log.Error("a stored configuration is damaged and left out", "configuration", c.Key, "error", err)
		return
	}
	doc, err := s.prepare(&stored.Configuration)
	if err != nil {
		s.hub.log.Error("a stored configuration is not valid and left out", "configuration", c.Key, "error", err)
		return
	}
	doc.version, doc.rev = stored.Version, c.Revision
	s.mu.Lock()
	defer s.mu.Unlock()
	s.docs[c.Key], s.order = doc, nil
}

// touch has the reconciler look at an identity whose twin or registration has
// changed. It costs next to nothing in a hub without configurations.
func (s *configStore) touch(keys ...identityKey) {
	if !s.active.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.dirty[key] = true
		if key.module != "" { // it may be part of the device's deployment
			s.dirty[identityKey{device: key.device}] = true
		}
	}
	s.wakeLocked()
}

// touchDevice is touch for a device and all its modules, of which doc is the
// newer state, or nil when it is gone.
func (s *configStore) touchDevice(old, doc *deviceDoc) {
	if !s.active.Load() {
		return
	}
	var keys []identityKey
	for _, d := range []*deviceDoc{old, doc} {
		if d == nil {
			continue
		}
		keys = append(keys, identityKey{device: d.ID})
		for i := range d.Modules {
			keys = append(keys, identityKey{d.ID, d.Modules[i].ID})
		}
	}
	s.touch(keys...)
}

func (s *configStore) touchAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = true
	s.wakeLocked()
}

func (s *configStore) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// run is the reconciler. It ends when the hub closes.
func (s *configStore) run() {
	for {
		var again <-chan time.Time
		var timer *time.Timer
		if s.active.Load() {
			timer = time.NewTimer(reconcileEvery)
			again = timer.C
		}
		select {
		case <-s.wake:
		case <-again:
			s.touchAll()
		case <-s.ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if s.ctx.Err() != nil {
			return
		}
		s.reconcileAll(s.ctx, s.take())
	}
}

// take gives what is to be looked at.
func (s *configStore) take() []identityKey {
	s.mu.Lock()
	dirty, all := s.dirty, s.all
	s.dirty, s.all = make(map[identityKey]bool), false
	if all {
		for key := range s.states {
			dirty[key] = true
		}
	}
	s.mu.Unlock()
	if all {
		h := s.hub
		h.mu.RLock()
		for id, doc := range h.registry {
			dirty[identityKey{device: id}] = true
			for i := range doc.Modules {
				dirty[identityKey{id, doc.Modules[i].ID}] = true
			}
		}
		h.mu.RUnlock()
	}
	return slices.Collect(maps.Keys(dirty))
}

func (s *configStore) reconcileAll(ctx context.Context, keys []identityKey) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(configWorkers, len(keys)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(keys) {
					return
				}
				if err := s.reconcile(ctx, keys[i]); err != nil && ctx.Err() == nil {
					s.hub.log.Warn("configurations were not applied, the next attempt is in some minutes",
						"identity", keys[i].String(), "error", err)
				}
			}
		})
	}
	wg.Wait()
}

// wanted is what the configurations want of one identity.
type wanted struct {
	status map[string]string
	parts  map[string]*assignment
}

// reconcile brings one identity up to date.
func (s *configStore) reconcile(ctx context.Context, key identityKey) error {
	h := s.hub
	s.mu.Lock()
	before := s.states[key]
	s.mu.Unlock()
	h.mu.RLock()
	dev, mod, err := h.documentsLocked(key)
	h.mu.RUnlock()
	if err != nil { // it is gone
		return s.store(ctx, key, nil)
	}
	if gen := generationOf(dev, mod); before == nil || before.Generation != gen {
		if before != nil {
			if err := s.store(ctx, key, nil); err != nil {
				return err
			}
		}
		before = &configState{Generation: gen}
	}
	want := s.want(key, dev)
	after := &configState{Generation: before.Generation, Status: want.status, Set: make(map[string][]string)}
	// Both what was set and what is going to be, until it is.
	between := &configState{Generation: before.Generation, Status: before.Status, Set: maps.Clone(before.Set)}
	for module, part := range want.parts {
		after.Set[module] = part.paths()
		if between.Set == nil {
			between.Set = make(map[string][]string)
		}
		between.Set[module] = union(before.Set[module], part.paths())
	}
	if err := s.store(ctx, key, between); err != nil {
		return err
	}
	for module := range between.Set {
		target := key
		if module != "" {
			target.module = module
		}
		if err := h.assign(ctx, target, want.parts[module], before.Set[module]); err != nil {
			return err
		}
	}
	return s.store(ctx, key, after)
}

func union(a, b []string) []string {
	list := slices.Concat(a, b)
	slices.Sort(list)
	return slices.Compact(list)
}

// want decides which configurations are for an identity and which of them apply:
// of those for devices, and of those for modules, the first; of the deployments
// the first that is not layered, and over it the layered ones that come before. In
// a module that is part of a deployment no other configuration applies, or the two
// would undo each other for ever.
func (s *configStore) want(key identityKey, dev *deviceDoc) wanted {
	s.mu.Lock()
	if s.order == nil {
		s.order = slices.SortedFunc(maps.Values(s.docs), newer)
	}
	docs := s.order
	deployed := key.module != "" && s.states[identityKey{device: key.device}].sets(key.module)
	s.mu.Unlock()
	w := wanted{status: make(map[string]string), parts: make(map[string]*assignment)}
	var layers []*configDoc
	var first, base bool
	for _, doc := range docs {
		fits := key.module == "" && doc.content.kind == deviceContent ||
			key.module != "" && doc.content.kind == moduleContent ||
			key.module == "" && doc.content.kind == edgeContent && dev.IoTEdge
		if !fits || !doc.target.includes(s.hub, key) {
			continue
		}
		w.status[doc.ID] = ConfigTargeted
		switch {
		case doc.content.kind != edgeContent:
			if !first && !deployed {
				first = true
				w.status[doc.ID] = ConfigApplied
				w.parts[""] = doc.content.parts[""]
			}
		case !base:
			layers = append(layers, doc)
			base = !doc.content.layered
		}
	}
	if base {
		w.addLayers(layers)
	}
	return w
}

// addLayers puts deployments on top of each other, the last of the list first.
func (w *wanted) addLayers(layers []*configDoc) {
	for _, doc := range slices.Backward(layers) {
		w.status[doc.ID] = ConfigApplied
		for module, part := range doc.content.parts {
			sum := w.parts[module]
			if sum == nil || part.whole != nil {
				sum = &assignment{whole: part.whole}
			} else {
				sum = &assignment{sum.whole, slices.Clone(sum.sets)}
			}
			sum.sets = append(sum.sets, part.sets...)
			w.parts[module] = sum
		}
	}
}

// store keeps the state of an identity, nil or an empty one being none.
func (s *configStore) store(ctx context.Context, key identityKey, state *configState) error {
	if state != nil && len(state.Status) == 0 && len(state.Set) == 0 {
		state = nil
	}
	s.mu.Lock()
	old := s.states[key]
	s.mu.Unlock()
	if old == nil && state == nil || old.equals(state) {
		return nil
	}
	if state == nil {
		if err := s.spool.Remove(ctx, key.String()); err != nil {
			return err
		}
		s.mu.Lock()
		delete(s.states, key)
		s.mu.Unlock()
		return nil
	}
	data, err := json.Marshal(state)
	if err == nil {
		err = s.spool.Put(ctx, key.String(), data)
	}
	if err != nil {
		return fmt.Errorf("core: store what configurations have set: %w", err)
	}
	s.mu.Lock()
	s.states[key] = state
	s.mu.Unlock()
	return nil
}

// sets reports whether a deployment has to do with a module.
func (c *configState) sets(module string) bool { return c != nil && len(c.Set[module]) > 0 }

func (c *configState) equals(other *configState) bool {
	return c != nil && other != nil && c.Generation == other.Generation && maps.Equal(c.Status, other.Status) &&
		maps.EqualFunc(c.Set, other.Set, slices.Equal)
}

// assign puts an assignment, nil for none any more, into a twin in which
// configurations have set those paths before. A module that is to have one is
// created where it is missing.
func (h *Hub) assign(ctx context.Context, key identityKey, a *assignment, before []string) error {
	gen, err := h.generationFor(key)
	if err != nil && key.module != "" {
		if a == nil {
			return nil // nothing to take out
		}
		if _, err = h.CreateModule(ctx, Module{DeviceID: key.device, ModuleID: key.module, ManagedBy: managedByEdge}); err == nil {
			gen, err = h.generationFor(key)
		}
	}
	if err != nil {
		return err
	}
	// Mostly there is nothing to do, which takes no turn of the committer.
	if doc := h.twins.get(key, gen); difference(doc.desired.root, a.apply(doc.desired.root, before)) == nil {
		return nil
	}
	weight := 0
	if a != nil {
		if weight = 64 * len(a.sets); a.whole != nil {
			weight += a.whole.encodedLen()
		}
		for _, set := range a.sets {
			weight += set.value.encodedLen()
		}
	}
	_, err = h.twins.change(ctx, &twinOp{
		key: key, gen: gen, weight: weight,
		edit: func(doc *twinDoc, stamp int64) (*twinDoc, *twinNode, error) { return doc.assign(a, before, stamp) },
	})
	return err
}

// TwinConfiguration is what a configuration has to do with a twin.
type TwinConfiguration struct {
	Status string `json:"status"`
}

// configurationsOf gives the configurations that a twin is a target of; nil for
// none. The deployments of an edge device are shown by its $edgeAgent too.
func (h *Hub) configurationsOf(key identityKey) map[string]TwinConfiguration {
	s := &h.configs
	if !s.active.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list map[string]TwinConfiguration
	add := func(state *configState, edgeOnly bool) {
		if state == nil {
			return
		}
		for id, status := range state.Status {
			if doc := s.docs[id]; doc == nil || edgeOnly && doc.content.kind != edgeContent {
				continue
			}
			if list == nil {
				list = make(map[string]TwinConfiguration)
			}
			list[id] = TwinConfiguration{status}
		}
	}
	add(s.states[key], false)
	if key.module == edgeAgent {
		add(s.states[identityKey{device: key.device}], true)
	}
	return list
}

// configCounts are the system metrics of one configuration.
type configCounts struct{ targeted, applied, succeeded, failed int64 }

// counts counts, for all configurations at once.
func (s *configStore) counts() map[string]configCounts {
	counts := make(map[string]configCounts)
	deployed := make(map[string][]string) // devices, by deployment
	s.mu.Lock()
	for key, state := range s.states {
		for id, status := range state.Status {
			c := counts[id]
			c.targeted++
			if status == ConfigApplied {
				c.applied++
				if doc := s.docs[id]; doc != nil && doc.content.kind == edgeContent {
					deployed[id] = append(deployed[id], key.device)
				}
			}
			counts[id] = c
		}
	}
	s.mu.Unlock()
	for id, devices := range deployed {
		c := counts[id]
		for _, device := range devices {
			succeeded, failed := s.hub.deploymentOutcome(device)
			c.succeeded += succeeded
			c.failed += failed
		}
		counts[id] = c
	}
	return counts
}

// deploymentOutcome reads what the agent of an edge device says to the deployment
// it has now.
func (h *Hub) deploymentOutcome(deviceID string) (succeeded, failed int64) {
	key := identityKey{deviceID, edgeAgent}
	gen, err := h.generationFor(key)
	if err != nil {
		return 0, 0
	}
	doc := h.twins.get(key, gen)
	version := doc.reported.root.member("lastDesiredVersion")
	code := doc.reported.root.member("lastDesiredStatus").member("code")
	if version == nil || code == nil || version.leaf != strconv.FormatUint(doc.desired.version, 10) {
		return 0, 0
	}
	if code.leaf == "200" {
		return 1, 0
	}
	return 0, 1
}

// view gives the REST form of a configuration with the metrics of the hub.
func (s *configStore) view(doc *configDoc, counts map[string]configCounts) Configuration {
	c := doc.Configuration
	c.ETag = configETag(doc.version)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	n := counts[doc.ID]
	source, where := "devices", []string(nil)
	if doc.content.kind == moduleContent {
		source = "devices.modules"
	}
	if doc.content.kind == edgeContent {
		where = append(where, "capabilities.iotEdge = true")
	}
	if condition := doc.target.condition(); condition != "" {
		where = append(where, "("+condition+")")
	}
	targeted := "select deviceId from " + source
	if len(where) > 0 {
		targeted += " where " + strings.Join(where, " and ")
	}
	applied := "configurations.[[" + doc.ID + "]].status = 'Applied'"
	c.SystemMetrics = ConfigurationMetrics{
		Results: map[string]int64{"targetedCount": n.targeted, "appliedCount": n.applied},
		Queries: map[string]string{"targetedCount": targeted, "appliedCount": "select deviceId from " + source + " where " + applied},
	}
	if doc.content.kind == edgeContent {
		const reported = " and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code "
		agent := "select deviceId from devices.modules where moduleId = '" + edgeAgent + "' and " + applied + reported
		c.SystemMetrics.Results["reportedSuccessfulCount"] = n.succeeded
		c.SystemMetrics.Results["reportedFailedCount"] = n.failed
		c.SystemMetrics.Queries["reportedSuccessfulCount"] = agent + "= 200"
		c.SystemMetrics.Queries["reportedFailedCount"] = agent + "!= 200"
	}
	c.Metrics = ConfigurationMetrics{Results: map[string]int64{}, Queries: map[string]string{}}
	maps.Copy(c.Metrics.Queries, doc.Metrics.Queries)
	return c
}
