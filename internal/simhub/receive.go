package simhub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/internal/wire/mqtt"
	"github.com/iothub-go/iothub/internal/wire/topic"
)

func (h *Hub) subscribe(n int, frame, out []byte) ([]byte, bool) {
	id, subs, err := mqtt.DecodeSubscribe(frame)
	if err != nil {
		return out, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[int]map[string]byte{}
	}
	if h.subs[n] == nil {
		h.subs[n] = map[string]byte{}
	}
	var codes []byte
	for _, s := range subs {
		h.subs[n][s.Filter] = min(s.QoS, 1)
		codes = append(codes, min(s.QoS, 1))
	}
	return mqtt.AppendSuback(out, id, codes), true
}

func (h *Hub) unsubscribe(n int, frame, out []byte) ([]byte, bool) {
	id, filters, err := mqtt.DecodeUnsubscribe(frame)
	if err != nil {
		return out, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range filters {
		delete(h.subs[n], f)
	}
	return mqtt.AppendAck(out, mqtt.TypeUnsuback, id), true
}

// Publish sends a message to every live connection that subscribed to filter.
// An id makes it QoS 1. It reports how many there were.
func (h *Hub) Publish(filter, topicName, payload string, id uint16, dup bool) int {
	p := mqtt.PublishPacket{Topic: []byte(topicName), Payload: []byte(payload), PacketID: id, Dup: dup}
	if id != 0 {
		p.QoS = 1
	}
	frame, err := mqtt.AppendPublish(nil, &p)
	if err != nil {
		panic(err) // the test's own fault
	}
	conns := h.subscribed(filter)
	for _, c := range conns {
		c.Write(frame)
	}
	return len(conns)
}

func (h *Hub) subscribed(filter string) []interface{ Write([]byte) (int, error) } {
	h.mu.Lock()
	defer h.mu.Unlock()
	var conns []interface{ Write([]byte) (int, error) }
	for n, c := range h.live {
		if _, ok := h.subs[n][filter]; ok {
			conns = append(conns, c)
		}
	}
	return conns
}

// Acks returns the ids of the PUBACKs that came from clients, in order.
func (h *Hub) Acks() []uint16 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]uint16(nil), h.acks...)
}

// twin is the one twin of the hub.
type twin struct {
	desired, reported map[string]any
	dv, rv            int64
	skip              bool // notifications are lost
}

// Deaf makes the hub lose notifications of desired properties, or not.
func (h *Hub) Deaf(deaf bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twin.skip = deaf
}

// PatchDesired merges patch, flat or nested, into the desired properties and
// notifies.
func (h *Hub) PatchDesired(patch map[string]any) {
	h.mu.Lock()
	h.twin.init()
	mergeInto(h.twin.desired, patch)
	h.twin.dv++
	body := map[string]any{"$version": h.twin.dv}
	for k, v := range patch {
		body[k] = v
	}
	t := fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", h.twin.dv)
	skip := h.twin.skip
	h.mu.Unlock()
	text, _ := json.Marshal(body)
	if !skip {
		h.Publish(topic.DesiredFilter, t, string(text), 0, false)
	}
}

// Desired returns the desired properties as JSON and their version.
func (h *Hub) Desired() (string, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twin.init()
	text, _ := json.Marshal(h.twin.desired)
	return string(text), h.twin.dv
}

// Reported returns the reported properties as JSON and their version.
func (h *Hub) Reported() (string, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twin.init()
	text, _ := json.Marshal(h.twin.reported)
	return string(text), h.twin.rv
}

func (t *twin) init() {
	if t.desired == nil {
		t.desired, t.reported, t.dv, t.rv = map[string]any{}, map[string]any{}, 1, 1
	}
}

func mergeInto(doc, patch map[string]any) {
	for k, v := range patch {
		sub, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(doc, k)
		case ok:
			old, ok := doc[k].(map[string]any)
			if !ok {
				old = map[string]any{}
				doc[k] = old
			}
			mergeInto(old, sub)
		default:
			doc[k] = v
		}
	}
}

// answerTwin answers a twin request, or returns nil when it is none.
func (h *Hub) answerTwin(n int, name, payload []byte) []byte {
	kind, rest := topic.Classify(name, nil)
	if kind != topic.TwinGet && kind != topic.TwinPatchReported {
		return nil
	}
	rid, _ := topic.RequestID(rest)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.twin.init()
	status, version, body := 200, "", []byte(nil)
	if kind == topic.TwinGet {
		body, _ = json.Marshal(map[string]any{"desired": h.twin.desired, "reported": h.twin.reported})
		body = bytes.Replace(body, []byte(`"desired":{`), []byte(`"desired":{"$version":`+strconv.FormatInt(h.twin.dv, 10)+`,`), 1)
		body = bytes.Replace(body, []byte(`"reported":{`), []byte(`"reported":{"$version":`+strconv.FormatInt(h.twin.rv, 10)+`,`), 1)
		body = bytes.ReplaceAll(body, []byte(",}"), []byte("}"))
	} else {
		var patch map[string]any
		if json.Unmarshal(payload, &patch) != nil || strings.Contains(string(payload), "refuse") {
			status, body = 400, []byte(`{"errorCode":400004,"message":"refused","trackingId":"t"}`)
		} else {
			mergeInto(h.twin.reported, patch)
			h.twin.rv++
			status, version = 204, fmt.Sprintf("&$version=%d", h.twin.rv)
		}
	}
	if _, ok := h.subs[n][topic.TwinResponsesFilter]; !ok {
		return []byte{}
	}
	t := fmt.Sprintf("$iothub/twin/res/%d/?$rid=%s%s", status, rid, version)
	frame, _ := mqtt.AppendPublish(nil, &mqtt.PublishPacket{Topic: []byte(t), Payload: body})
	return frame
}
