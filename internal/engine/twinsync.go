package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

// twinSyncTimeout is how long a read of the twin may take before it is tried
// again.
const twinSyncTimeout = 60 * time.Second

// twinRetry is the wait after a read of the twin that failed.
const twinRetry = 5 * time.Second

// TwinState is what a twin follower knows: enough to tell, on a later
// connection or in a later process, what changed meanwhile.
type TwinState struct {
	Known   bool           `json:"known"`
	Version int64          `json:"version"`
	Desired map[string]any `json:"desired"`
}

// follower turns notifications and reads of the twin into changes that are
// each delivered once, in order, none missed: on every new link, and whenever
// a version was skipped, it reads the twin and delivers the difference.
type follower struct {
	on      bool
	state   TwinState
	reading *Request
	held    []notification // came while a read was under way
	retryAt time.Duration  // when to read again after a read that failed; 0 when not
}

type notification struct {
	version int64
	patch   map[string]any
}

// Follow starts delivering changes of desired properties, beginning with what
// changed since state.
func (m *MQTT) Follow(now time.Time, state TwinState) {
	if state.Desired == nil {
		state.Desired = map[string]any{}
	}
	m.follow.on, m.follow.state = true, state
	m.Subscribe(now, FeatureTwinResponses|FeatureDesired)
	m.readTwin(now)
}

// Unfollow stops it.
func (m *MQTT) Unfollow() {
	if m.follow.reading != nil {
		m.Cancel(m.follow.reading)
	}
	m.follow = follower{}
	m.Unsubscribe(FeatureDesired)
}

// readTwin asks for the twin, unless that is already under way. It is sent
// when the subscriptions are granted, so nothing falls between.
func (m *MQTT) readTwin(now time.Time) {
	f := &m.follow
	if f.reading != nil {
		return
	}
	f.retryAt = 0
	f.reading = m.Request(now, nil, twinSyncTimeout, true, nil)
	f.reading.follow = true
}

// readLater reads the twin again after a while.
func (m *MQTT) readLater() {
	m.follow.retryAt = m.lastNow.Add(twinRetry).Sub(m.epoch)
	m.due(m.follow.retryAt)
}

func (m *MQTT) expireFollow(now time.Time, at time.Duration) {
	switch f := &m.follow; {
	case f.retryAt == 0:
	case f.retryAt <= at:
		m.readTwin(now)
	default:
		m.due(f.retryAt)
	}
}

// followed takes the answer to readTwin.
func (m *MQTT) followed(resp Response) {
	f := &m.follow
	f.reading = nil
	if resp.Err != nil {
		m.readLater()
		return
	}
	var body struct {
		Desired map[string]any `json:"desired"`
	}
	if err := DecodeJSON(resp.Body, &body); err != nil || body.Desired == nil {
		m.readLater()
		return
	}
	version, _ := number(body.Desired["$version"])
	delete(body.Desired, "$version")
	switch {
	case !f.state.Known:
		m.change(version, body.Desired, true)
	default:
		// Also when the version is lower, or the same: the identity was made anew,
		// or is one of another hub now.
		if patch := Difference(f.state.Desired, body.Desired); len(patch) > 0 {
			m.change(version, patch, false)
		}
	}
	f.state = TwinState{Known: true, Version: version, Desired: body.Desired}
	held := f.held
	f.held = nil
	for _, n := range held {
		m.apply(n)
	}
}

// desired takes a notification.
func (m *MQTT) desired(in *topic.Inbound, payload []byte) {
	f := &m.follow
	if !f.on {
		return
	}
	n := notification{}
	if DecodeJSON(payload, &n.patch) != nil || n.patch == nil {
		m.readTwin(m.lastNow) // unreadable: reading tells
		return
	}
	var ok bool
	if n.version, ok = topic.Version(in.Query); !ok {
		n.version, _ = number(n.patch["$version"])
	}
	delete(n.patch, "$version")
	if f.reading != nil {
		f.held = append(f.held, n)
		return
	}
	m.apply(n)
}

// apply takes a notification when no read is under way.
func (m *MQTT) apply(n notification) {
	f := &m.follow
	switch {
	case f.reading != nil:
		f.held = append(f.held, n)
	case !f.state.Known || n.version > f.state.Version+1:
		m.readTwin(m.lastNow) // something was skipped
	case n.version <= f.state.Version:
		// Known already.
	default:
		m.change(n.version, n.patch, false)
		f.state.Version = n.version
		MergePatch(f.state.Desired, n.patch)
	}
}

func (m *MQTT) change(version int64, patch map[string]any, complete bool) {
	text, err := json.Marshal(patch)
	if err != nil {
		return // cannot be: it was decoded from JSON
	}
	m.events = append(m.events, Event{Kind: EventInbound, In: &Inbound{Kind: InboundDesired,
		Change: &iothub.DesiredChange{Version: version, Patch: text, Complete: complete}}})
}

// MergePatch applies a merge patch (RFC 7396) to doc.
func MergePatch(doc, patch map[string]any) {
	for k, v := range patch {
		sub, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(doc, k)
		case isObject:
			old, ok := doc[k].(map[string]any)
			if !ok {
				old = map[string]any{}
				doc[k] = old
			}
			MergePatch(old, sub)
		default:
			doc[k] = v
		}
	}
}

// Difference returns the merge patch that makes now of old.
func Difference(old, now map[string]any) map[string]any {
	patch := map[string]any{}
	for k := range old {
		if _, still := now[k]; !still {
			patch[k] = nil
		}
	}
	for k, v := range now {
		before, was := old[k]
		if was && reflect.DeepEqual(before, v) {
			continue
		}
		a, aok := before.(map[string]any)
		b, bok := v.(map[string]any)
		if aok && bok {
			patch[k] = Difference(a, b)
			continue
		}
		patch[k] = v
	}
	return patch
}

// DecodeJSON keeps numbers as they are written.
func DecodeJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

func number(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v is not a number", v)
	}
	return n.Int64()
}
