package core

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// DefaultConsumerGroup is the consumer group that every event hub has.
const DefaultConsumerGroup = "$Default"

// maxConsumerGroups is how many more there may be (wire-service E2).
const maxConsumerGroups = 20

// EventHubConfig says what an event hub is like.
type EventHubConfig struct {
	// Name is what Event Hubs clients call it: letters, digits, '-', '_' and '.',
	// at most 50; it begins with a letter or digit. Case does not matter.
	Name string
	// Partitions is 1 to 32; zero is 4. It is fixed when the event hub is made.
	Partitions int
	// Retention is how long events are kept; zero is that of the hub.
	Retention time.Duration
	// RetentionBytes bounds what each partition keeps; zero is no bound.
	RetentionBytes int64
	// ConsumerGroups are those beside $Default, at most 20.
	ConsumerGroups []string
}

// EventHub is a stream of events in partitions: the built-in one, where telemetry
// goes, or a further one that routes fill. Its methods are safe for use by many
// goroutines.
type EventHub struct {
	hub        *Hub
	number     int // in the order in which event hubs are locked
	cfg        EventHubConfig
	created    time.Time
	events     EventLog
	partitions []*partition // read-only
}

// openEventHub opens the log of an event hub, by the name under which the storage
// has it. Nothing is committed before start.
func (h *Hub) openEventHub(ctx context.Context, storage Storage, cfg EventHubConfig, logName string) (*EventHub, error) {
	e := &EventHub{hub: h, cfg: cfg, created: h.now().UTC()}
	var err error
	e.events, err = storage.EventLog(ctx, EventLogConfig{
		Name: logName, Partitions: cfg.Partitions, MaxAge: cfg.Retention, MaxBytes: cfg.RetentionBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("core: open the events of %s: %w", cfg.Name, err)
	}
	e.partitions = make([]*partition, cfg.Partitions)
	for i := range e.partitions {
		p := newPartition(h, e.events, i)
		if err := p.recover(ctx); err != nil {
			return nil, fmt.Errorf("core: read the end of partition %d of %s: %w", i, cfg.Name, err)
		}
		if _, err := p.measure(ctx); err != nil {
			return nil, err
		}
		e.partitions[i] = p
	}
	return e, nil
}

// start begins to commit.
func (e *EventHub) start() {
	for _, p := range e.partitions {
		e.hub.wg.Go(p.run)
	}
}

// shut refuses further events and lets the committers end.
func (e *EventHub) shut() {
	for _, p := range e.partitions {
		p.shut()
	}
}

func (e *EventHub) partitionOf(deviceID string) *partition {
	return e.partitions[PartitionOf(deviceID, len(e.partitions))]
}

// Name is what Event Hubs clients call it.
func (e *EventHub) Name() string { return e.cfg.Name }

// Created is when it was made.
func (e *EventHub) Created() time.Time { return e.created }

// Partitions is the number of partitions.
func (e *EventHub) Partitions() int { return len(e.partitions) }

// ConsumerGroups are the names of the consumer groups, $Default first.
func (e *EventHub) ConsumerGroups() []string {
	return append([]string{DefaultConsumerGroup}, e.cfg.ConsumerGroups...)
}

// HasConsumerGroup reports whether there is a consumer group of that name; case
// does not matter.
func (e *EventHub) HasConsumerGroup(name string) bool {
	return slices.ContainsFunc(e.ConsumerGroups(), func(g string) bool { return strings.EqualFold(g, name) })
}

// BuiltIn is the built-in event hub.
func (h *Hub) BuiltIn() *EventHub { return h.builtin }

// EventHub returns the event hub of that name, whatever its case; 404000 when
// there is none. The name of the built-in endpoint, "events", is that of the
// built-in event hub, too.
func (h *Hub) EventHub(name string) (*EventHub, error) {
	if strings.EqualFold(name, h.builtin.cfg.Name) || strings.EqualFold(name, builtinEndpoint) {
		return h.builtin, nil
	}
	if r := h.router.Load(); r != nil {
		if e := r.eventHub(name); e != nil {
			return e, nil
		}
	}
	return nil, NewError(CodeGenericNotFound, "there is no event hub %q", name)
}

// EventHubs are all event hubs that clients may read, the built-in one first.
func (h *Hub) EventHubs() []*EventHub {
	list := []*EventHub{h.builtin}
	if r := h.router.Load(); r != nil {
		for _, name := range slices.Sorted(maps.Keys(r.endpoints)) {
			if e := r.endpoints[name]; !e.hidden && e.hub != h.builtin {
				list = append(list, e.hub)
			}
		}
	}
	return list
}

// hubName makes a name of a host's.
func hubName(host string) string {
	label, _, _ := strings.Cut(host, ".")
	if net.ParseIP(host) != nil || validEventHubName(label) != nil {
		return "iothub"
	}
	return label
}

func validEventHubName(name string) error {
	valid := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}
	if name == "" || len(name) > 50 || strings.ContainsFunc(name, func(r rune) bool { return !valid(r) }) || strings.ContainsRune("-_.", rune(name[0])) {
		return NewError(CodeArgumentInvalid, "%q is no name for an event hub: 1 to 50 letters, digits, '-', '_' and '.', the first a letter or digit", name)
	}
	return nil
}

// withDefaults fills in and checks a configuration.
func (c EventHubConfig) withDefaults(cfg *Config) (EventHubConfig, error) {
	if c.Partitions == 0 {
		c.Partitions = defaultPartitions
	}
	if c.Retention == 0 {
		c.Retention = cfg.Retention
	}
	if err := validEventHubName(c.Name); err != nil {
		return c, err
	}
	fail := func(format string, args ...any) (EventHubConfig, error) {
		return c, NewError(CodeArgumentInvalid, "event hub "+c.Name+": "+format, args...)
	}
	switch {
	case c.Partitions < 1 || c.Partitions > maxPartitions:
		return fail("it has %d partitions, allowed are 1 to %d", c.Partitions, maxPartitions)
	case c.Retention < time.Minute || c.Retention > maxRetention:
		return fail("the retention is %s, allowed are 1 minute to 7 days", c.Retention)
	case c.RetentionBytes < 0:
		return fail("the retention is %d bytes, allowed are 0 or more", c.RetentionBytes)
	case len(c.ConsumerGroups) > maxConsumerGroups:
		return fail("it has %d consumer groups, the limit is %d", len(c.ConsumerGroups), maxConsumerGroups)
	}
	for i, g := range c.ConsumerGroups {
		if err := validEventHubName(g); err != nil {
			return fail("the consumer group %q is no valid name", g)
		}
		if strings.EqualFold(g, DefaultConsumerGroup) || slices.ContainsFunc(c.ConsumerGroups[:i], func(o string) bool { return strings.EqualFold(o, g) }) {
			return fail("the consumer group %q is named twice", g)
		}
	}
	return c, nil
}
