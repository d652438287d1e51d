package core

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Operation is a kind of operation that a tier limits the rate of.
type Operation uint8

// The operations.
const (
	// OpConnect is a device or module that connects.
	OpConnect Operation = iota
	// OpSend is an event from a device or module.
	OpSend
	// OpSendToDevice is a cloud-to-device message.
	OpSendToDevice
	// OpMethod is the call of a direct method; its rate is one of bytes.
	OpMethod
	// OpTwinRead and OpTwinUpdate are about the twin of a device or module,
	// from either side.
	OpTwinRead
	OpTwinUpdate
	// OpQuery is a query of the back end.
	OpQuery
	// OpRegistry is an operation on the identity registry.
	OpRegistry

	numOperations
)

// methodMeter is the step in which the bytes of methods are counted.
const methodMeter = 4 << 10

// operations says how each operation is metered.
var operations = [numOperations]struct {
	name   string
	bytes  bool // the rate is of bytes, in steps of methodMeter
	billed bool // it counts towards the daily quota
}{
	OpConnect:      {name: "DeviceConnect"},
	OpSend:         {name: "DeviceToCloudSend", billed: true},
	OpSendToDevice: {name: "CloudToDeviceSend", billed: true},
	OpMethod:       {name: "DirectMethod", bytes: true, billed: true},
	OpTwinRead:     {name: "TwinRead", billed: true},
	OpTwinUpdate:   {name: "TwinUpdate", billed: true},
	OpQuery:        {name: "Query", billed: true},
	OpRegistry:     {name: "IdentityRegistry"},
}

// String gives IoT Hub's way to call the operation.
func (op Operation) String() string {
	if op < numOperations {
		return operations[op].name
	}
	return fmt.Sprintf("Operation(%d)", uint8(op))
}

// limit is a rate per minute: perUnit for each unit, but not below atLeast.
type limit struct{ perUnit, atLeast int64 }

func (l limit) of(units int) int64 { return max(l.perUnit*int64(units), l.atLeast) }

// The limits of the three sizes; basic and standard tiers have the same (H.3).
var (
	limits1 = [numOperations]limit{
		OpConnect: {12 * 60, 100 * 60}, OpSend: {12 * 60, 100 * 60},
		OpSendToDevice: {100, 0}, OpMethod: {(160 << 10) * 60, 0},
		OpTwinRead: {0, 100 * 60}, OpTwinUpdate: {0, 50 * 60},
		OpQuery: {20, 0}, OpRegistry: {100, 0},
	}
	limits2 = [numOperations]limit{
		OpConnect: {120 * 60, 0}, OpSend: {120 * 60, 0},
		OpSendToDevice: {100, 0}, OpMethod: {(480 << 10) * 60, 0},
		OpTwinRead: {10 * 60, 100 * 60}, OpTwinUpdate: {5 * 60, 50 * 60},
		OpQuery: {20, 0}, OpRegistry: {100, 0},
	}
	limits3 = [numOperations]limit{
		OpConnect: {6000 * 60, 0}, OpSend: {6000 * 60, 0},
		OpSendToDevice: {5000, 0}, OpMethod: {(24 << 20) * 60, 0},
		OpTwinRead: {500 * 60, 0}, OpTwinUpdate: {250 * 60, 0},
		OpQuery: {1000, 0}, OpRegistry: {5000, 0},
	}
)

// tier is what IoT Hub sells.
type tier struct {
	name     string
	maxUnits int
	quota    int64 // messages a day, for each unit
	meter    int   // bytes that count as one message
	limits   *[numOperations]limit
}

var tiers = []tier{
	{"F1", 1, 8_000, 512, &limits1},
	{"B1", 200, 400_000, 4096, &limits1},
	{"B2", 200, 6_000_000, 4096, &limits2},
	{"B3", 10, 300_000_000, 4096, &limits3},
	{"S1", 200, 400_000, 4096, &limits1},
	{"S2", 200, 6_000_000, 4096, &limits2},
	{"S3", 10, 300_000_000, 4096, &limits3},
}

// Tiers are the names of the tiers, for [Config.Tier].
func Tiers() []string {
	names := make([]string, len(tiers))
	for i := range tiers {
		names[i] = tiers[i].name
	}
	return names
}

// checkTier finds a tier; it is nil for none.
func checkTier(name string, units int) (*tier, int, error) {
	if name == "" {
		if units != 0 {
			return nil, 0, fmt.Errorf("core: Config.Units is %d, but without Config.Tier there is no throttle", units)
		}
		return nil, 0, nil
	}
	for i := range tiers {
		t := &tiers[i]
		if !strings.EqualFold(t.name, name) {
			continue
		}
		if units == 0 {
			units = 1
		}
		if units < 1 || units > t.maxUnits {
			return nil, 0, fmt.Errorf("core: Config.Units must be 1 to %d for tier %s", t.maxUnits, t.name)
		}
		return t, units, nil
	}
	return nil, 0, fmt.Errorf("core: Config.Tier is %q, which is none of %s", name, strings.Join(Tiers(), ", "))
}

const (
	// burst is how much of its rate an operation may use up at once. IoT Hub
	// applies its limits "in minute ranges".
	burst = time.Minute
	// backlog is how long an operation may wait until its rate has room for
	// it. One that would wait longer is refused.
	backlog = 10 * time.Second
)

// throttle limits the rates of operations and the messages of a day. It shapes
// traffic as IoT Hub does: a minute's worth goes through at once, what comes on
// top waits for its turn, and when the queue is ten seconds long the next is
// refused.
type throttle struct {
	tier  *tier
	units int
	base  time.Time // what bucket.full counts from

	mu      sync.Mutex // guards what follows
	day     time.Time  // midnight UTC
	used    int64      // messages of that day
	buckets [numOperations]bucket
}

// bucket is a token bucket, kept as the time at which it is full again.
type bucket struct {
	full      time.Duration // after throttle.base
	perMinute int64

	accepted, delayed, rejected int64
}

// newThrottle returns nil when no tier was asked for.
func newThrottle(name string, units int, now time.Time) (*throttle, error) {
	found, units, err := checkTier(name, units)
	if err != nil || found == nil {
		return nil, err
	}
	t := &throttle{tier: found, units: units, base: now, day: utcDay(now)}
	for op := range t.buckets {
		t.buckets[op].perMinute = found.limits[op].of(units)
	}
	return t, nil
}

func utcDay(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }

func (t *throttle) quota() int64 { return t.tier.quota * int64(t.units) }

// messages says as how many messages of the quota so many bytes count.
func (t *throttle) messages(bytes int) int64 {
	meter := int64(t.tier.meter)
	return max(1, (int64(bytes)+meter-1)/meter)
}

// reserve takes cost from the bucket of an operation and messages from the
// quota, or neither.
func (t *throttle) reserve(now time.Time, op Operation, cost, messages int64) (time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := &t.buckets[op]
	billed := operations[op].billed
	if day := utcDay(now); day.After(t.day) {
		t.day, t.used = day, 0
	}
	if billed && t.used >= t.quota() {
		b.rejected++
		e := NewError(CodeQuotaExceeded, "the %d messages a day of %s are used up; the quota starts over at %s",
			t.quota(), t.String(), t.day.AddDate(0, 0, 1).Format(time.RFC3339))
		e.RetryAfter = t.day.AddDate(0, 0, 1).Sub(now)
		return 0, e
	}
	at := now.Sub(t.base)
	// No single operation counts for more than there can ever be.
	full := max(b.full, at) + time.Duration(min(cost, b.perMinute)*int64(time.Minute)/b.perMinute)
	wait := max(0, full-at-burst)
	if wait > backlog {
		b.rejected++
		code := CodeThrottling
		if op == OpSend {
			code = CodeThrottleBacklog // devices wait in the backlog
		}
		e := NewError(code, "the request has been throttled: %s allows %s of %v", t.String(), b.rate(op), op)
		e.RetryAfter = wait - backlog
		return 0, e
	}
	b.full = full
	b.accepted++
	if wait > 0 {
		b.delayed++
	}
	if billed {
		t.used += messages
	}
	return wait, nil
}

func (t *throttle) String() string {
	if t.units == 1 {
		return "1 unit of " + t.tier.name
	}
	return fmt.Sprintf("%d units of %s", t.units, t.tier.name)
}

func (b *bucket) rate(op Operation) string {
	if operations[op].bytes {
		return fmt.Sprintf("%d bytes a minute", b.perMinute)
	}
	return fmt.Sprintf("%d a minute", b.perMinute)
}

// Throttled reports whether the hub limits the rate of operations at all.
func (h *Hub) Throttled() bool { return h.throttle != nil }

// Reserve asks whether an operation with so many bytes of payload may happen. It
// does not block: what it returns is how long the operation has to wait first,
// ten seconds at most. Having waited or not, it is counted.
//
// It fails, and counts nothing, with 429001 when the rate has been exceeded for
// too long (429002 for events), and with 403002 when the day's messages are used
// up. The error's RetryAfter says when to try again.
func (h *Hub) Reserve(op Operation, bytes int) (time.Duration, error) {
	t := h.throttle
	if t == nil {
		return 0, nil
	}
	cost := int64(1)
	if operations[op].bytes {
		cost = max(1, (int64(bytes)+methodMeter-1)/methodMeter) * methodMeter
	}
	return t.reserve(h.now(), op, cost, t.messages(bytes))
}

// Admit is Reserve followed by the wait. When ctx ends first it returns the
// error of ctx.
func (h *Hub) Admit(ctx context.Context, op Operation, bytes int) error {
	wait, err := h.Reserve(op, bytes)
	if err != nil || wait == 0 {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.closing:
		return errClosed()
	}
}

// Reserve is [Hub.Reserve] for events that Ingest is going to take in. Heads
// call it with few events at a time, since they are let in or refused together.
func (a *Attachment) Reserve(events []Event) (time.Duration, error) {
	t := a.hub.throttle
	if t == nil {
		return 0, nil
	}
	var messages int64
	for i := range events {
		size := len(events[i].Bag) + len(events[i].Payload)
		if size > t.tier.meter { // otherwise it is one message, however it is counted
			size = eventSize(&events[i])
		}
		messages += t.messages(size)
	}
	return t.reserve(a.hub.now(), OpSend, int64(len(events)), messages)
}

// Usage is what the throttle has counted.
type Usage struct {
	Tier  string
	Units int
	// Day is the day of Messages, which began at midnight UTC, Quota how many
	// messages it may have. One over the meter of the tier, 4 KB or 0.5 KB,
	// counts as several.
	Day             time.Time
	Messages, Quota int64
	Operations      []OperationUsage
}

// OperationUsage is what the throttle has counted of one operation since the
// hub began.
type OperationUsage struct {
	Operation Operation
	// PerMinute is the limit, in bytes for methods.
	PerMinute int64
	// Accepted were let through, Delayed of them after a wait. Rejected were
	// refused with 429 or 403002.
	Accepted, Delayed, Rejected int64
}

// Usage reads the counters. Without a tier nothing is counted, and all of it is
// zero.
func (h *Hub) Usage() Usage {
	t := h.throttle
	if t == nil {
		return Usage{}
	}
	today := utcDay(h.now())
	t.mu.Lock()
	defer t.mu.Unlock()
	u := Usage{Tier: t.tier.name, Units: t.units, Day: t.day, Messages: t.used, Quota: t.quota()}
	if today.After(u.Day) {
		u.Day, u.Messages = today, 0
	}
	for op := range t.buckets {
		b := &t.buckets[op]
		u.Operations = append(u.Operations, OperationUsage{
			Operation: Operation(op), PerMinute: b.perMinute,
			Accepted: b.accepted, Delayed: b.delayed, Rejected: b.rejected,
		})
	}
	return u
}
