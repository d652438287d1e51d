package core

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iothub-go/iothub/internal/sas"
)

// Hub is one IoT Hub. Its methods are safe for use by many goroutines.
type Hub struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	names    map[string]bool // normalised; read-only after New
	policies []*heldPolicy   // read-only after New
	throttle *throttle       // nil without a tier
	faults   *faults         // nil when they are not allowed

	builtin   *EventHub              // where telemetry goes unless routes say otherwise
	router    atomic.Pointer[router] // nil: everything goes to builtin
	devices   Bucket
	stopWatch func()
	twins     *twinStore
	mail      *mail
	feedback  *feedback
	methods   methods

	configs configStore

	registryJobs registryJobs
	jobs         scheduledJobs
	uploads      uploads
	files        fileNotices

	closing   chan struct{} // closed first thing by Close
	closeOnce sync.Once
	wg        sync.WaitGroup // the committers

	lastTicks atomic.Int64 // see newTicks

	// routingMu guards how the routing is changed, and what follows.
	routingMu  sync.Mutex
	storage    Storage
	routings   Bucket
	routingRev uint64 // of the stored routing; 0: none
	knownHubs  map[string]storedEventHub
	custom     map[string]*EventHub // every one that was opened, by name in lower case
	lastHub    int
	matched    sync.Map // *counter of each route by its name
	unrouted   counter

	deliveryMu sync.Mutex
	delivering map[string]*deliveryLoop // by name of the endpoint in lower case
	cursors    Spool

	// mu guards everything below. It is never held across the storage, a kick
	// or a partition's lock.
	mu         sync.RWMutex
	registry   map[string]*deviceDoc // by device id; documents are never changed in place
	removed    map[string]uint64     // removals that the watch has not reported yet, by revision
	watchedRev uint64                // newest revision that the watch has reported
	live       map[identityKey]*Attachment
	seen       map[identityKey]seenState // connection history of identities not connected now
	applied    bell                      // rung at each change of registry
	edgeRoutes []Route                   // of the messages of modules
}

type identityKey struct{ device, module string }

func (k identityKey) String() string {
	if k.module == "" {
		return k.device
	}
	return k.device + "/" + k.module
}

// seenState is what remains of a connection when it is gone. It lives in memory
// only: after a restart an identity was never seen.
type seenState struct {
	changed  time.Time
	activity time.Time
}

// New opens a hub on the storage: it creates what a new storage lacks (policies
// with random keys, buckets, the telemetry log), reads all identities and starts
// the committers, one goroutine per partition. ctx governs the opening only.
func New(ctx context.Context, cfg Config, storage Storage) (*Hub, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		cfg: cfg, log: cfg.Logger, now: cfg.Clock,
		names:    make(map[string]bool),
		closing:  make(chan struct{}),
		registry: make(map[string]*deviceDoc),
		removed:  make(map[string]uint64),
		live:     make(map[identityKey]*Attachment),
		seen:     make(map[identityKey]seenState),

		edgeRoutes: cfg.Routes,

		knownHubs: make(map[string]storedEventHub), custom: make(map[string]*EventHub),
		delivering: make(map[string]*deliveryLoop),
	}
	for _, name := range append([]string{cfg.HostName}, cfg.Names...) {
		h.names[sas.NormalizeHost(name)] = true
	}
	if h.throttle, err = newThrottle(cfg.Tier, cfg.Units, h.now()); err != nil {
		return nil, err
	}
	h.faults = newFaults(cfg.FaultInjection)
	bucket, err := storage.Bucket(ctx, "settings")
	if err != nil {
		return nil, fmt.Errorf("core: open the settings: %w", err)
	}
	fixed, err := loadSettings(ctx, bucket, cfg)
	if err != nil {
		return nil, fmt.Errorf("core: read the settings: %w", err)
	}
	if cfg.Partitions != 0 && cfg.Partitions != fixed.Partitions {
		return nil, fmt.Errorf("core: Config.Partitions is %d but the storage was created with %d, and the number cannot change",
			cfg.Partitions, fixed.Partitions)
	}
	if h.policies, err = holdPolicies(fixed.Policies); err != nil {
		return nil, err
	}
	retention := cfg.Retention
	if cfg.Gateway != nil {
		retention = 0
	}
	if h.builtin, err = h.openEventHub(ctx, storage, EventHubConfig{
		Name: cfg.EventHubName, Partitions: fixed.Partitions, Retention: retention, RetentionBytes: cfg.RetentionBytes,
		ConsumerGroups: cfg.ConsumerGroups,
	}, ""); err != nil {
		return nil, err
	}
	h.builtin.created = fixed.Created
	if h.devices, err = storage.Bucket(ctx, "devices"); err != nil {
		return nil, fmt.Errorf("core: open the registry: %w", err)
	}
	h.twins = newTwinStore(h)
	h.configs.init(h)
	h.mail, h.feedback = newMail(h), newFeedback(h)
	if h.stopWatch, err = h.devices.Watch(ctx, h.registryChanged); err != nil {
		return nil, fmt.Errorf("core: read the registry: %w", err)
	}
	if err := h.twins.open(ctx, storage); err != nil {
		return nil, err
	}
	if err := h.feedback.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the feedback: %w", err)
	}
	if err := h.mail.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the messages to devices: %w", err)
	}
	if err := h.configs.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the configurations: %w", err)
	}
	h.uploads.init(h.policies)
	h.files.hub = h
	if err := h.files.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the notifications of uploads: %w", err)
	}
	h.jobs.init(h)
	if err := h.jobs.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the scheduled jobs: %w", err)
	}
	h.registryJobs.hub, h.registryJobs.jobs = h, make(map[string]*registryJob)
	if err := h.registryJobs.open(ctx, storage); err != nil {
		return nil, fmt.Errorf("core: read the jobs: %w", err)
	}
	h.builtin.start()
	if err := h.openRouting(ctx, storage); err != nil {
		h.builtin.shut()
		h.shutCustom()
		h.wg.Wait()
		return nil, fmt.Errorf("core: the routing: %w", err)
	}
	h.wg.Go(h.twins.run)
	h.wg.Go(h.jobs.run)
	h.wg.Go(h.configs.run)
	return h, nil
}

// HostName is the hub's primary name.
func (h *Hub) HostName() string { return h.cfg.HostName }

// Partitions is the number of partitions of the built-in event hub.
func (h *Hub) Partitions() int { return h.builtin.Partitions() }

// AnswersTo reports whether the hub has that name; case and port do not matter.
func (h *Hub) AnswersTo(host string) bool { return h.names[sas.NormalizeHost(host)] }

// Now is the hub's time, by [Config.Clock].
func (h *Hub) Now() time.Time { return h.now() }

// Close refuses further events, commits those already accepted (their done
// functions run), ends the readers and stops the committers. Live connections
// are kicked. When ctx ends first, Close returns its error and what is left is
// still committed in the background. Further calls wait for the same end.
func (h *Hub) Close(ctx context.Context) error {
	h.closeOnce.Do(func() {
		// Before methods are refused: a job that met the refusal first would store
		// it as what has become of its devices.
		h.jobs.cancel()
		close(h.closing)
		h.stopWatch()
		h.mail.close()
		h.configs.stop()
		h.registryJobs.close()
		h.mu.RLock()
		attached := make([]*Attachment, 0, len(h.live))
		for _, a := range h.live {
			attached = append(attached, a)
		}
		h.mu.RUnlock()
		h.builtin.shut()
		h.twins.shut()
		h.shutCustom()
		h.wg.Go(func() { h.deliverTo(nil) })
		for _, a := range attached {
			a.kickOnce(errClosed())
		}
	})
	stopped := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ticksOfUnixEpoch is 1970 in 100 ns ticks since the year 1, the unit that
// generation ids look like.
const ticksOfUnixEpoch = 621355968000000000

// newTicks returns the time as ticks, larger than whatever it returned before,
// so that generation ids and first etags never repeat for an id.
func (h *Hub) newTicks() int64 {
	ticks := h.now().UnixNano()/100 + ticksOfUnixEpoch
	for {
		last := h.lastTicks.Load()
		next := max(ticks, last+1)
		if h.lastTicks.CompareAndSwap(last, next) {
			return next
		}
	}
}
