package core

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/iothub-go/iothub/internal/wire/topic"
)

// The hub tells of more than what devices send: of changes of twins, of identities
// that come and go, of connections, of digital twins, and of devices in jobs
// (wire-service F3). Such
// an event goes where routes lead it and nowhere else. It follows a change that
// is durable already, so a crash between the two loses the event.

// hubEvent is one that the hub makes itself.
type hubEvent struct {
	source      EventSource
	key         identityKey
	gen         string
	operation   string
	contentType string // application/json unless given
	body        []byte
}

// wants reports whether any route takes events of that source.
func (h *Hub) wants(source EventSource) bool {
	r := h.router.Load()
	return r != nil && len(r.routes[source]) > 0
}

// emit sends an event where routes lead it.
func (h *Hub) emit(e hubEvent) {
	r := h.router.Load()
	if r == nil {
		return
	}
	now := h.now()
	var bag []byte
	add := func(name, value string) {
		if value != "" {
			bag = topic.AppendProperty(bag, 0, name, value, true)
		}
	}
	kind := e.contentType
	if kind == "" {
		kind = "application/json"
	}
	name := hubName(h.cfg.HostName)
	add(topic.ContentType, kind)
	add(topic.ContentEncoding, "utf-8")
	add(topic.CorrelationID, strconv.FormatInt(h.newTicks(), 16))
	add(topic.UserID, name)
	add("hubName", name)
	add("deviceId", e.key.device)
	add("moduleId", e.key.module)
	add("opType", e.operation)
	add("iothub-message-schema", sources[e.source].schema)
	add("operationTimestamp", now.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	p := &Principal{DeviceID: e.key.device, ModuleID: e.key.module, GenerationID: e.gen}
	o := &origin{key: e.key, gen: e.gen, entry: appendConnection(nil, p, "")}
	event := Event{Bag: bag, Payload: e.body, Source: e.source}
	err := r.ingest(h, o, []Event{event}, now.UnixMilli(), func(err error) {
		if err != nil {
			h.log.Error("an event of the hub was not stored", "source", e.source.String(), "identity", e.key.String(), "error", err)
		}
	})
	if err != nil && !h.isClosing() {
		h.log.Error("an event of the hub was not taken in", "source", e.source.String(), "identity", e.key.String(), "error", err)
	}
}

// connectionEvent tells that an identity has connected or is gone. The number,
// taken while the state changed, says which of two came later.
func (h *Hub) connectionEvent(a *Attachment, operation string, number int64) {
	if !h.wants(SourceConnectionState) {
		return
	}
	h.emit(hubEvent{
		source: SourceConnectionState, key: a.key, gen: a.principal.GenerationID, operation: operation,
		body: fmt.Appendf(nil, `{"sequenceNumber":"%064X"}`, number),
	})
}

// lifecycleEvents tells of the identities that a change of a device's document has
// made or removed.
func (h *Hub) lifecycleEvents(old, doc *deviceDoc) {
	if !h.wants(SourceDeviceLifecycle) {
		return
	}
	tell := func(key identityKey, gen, operation string) {
		h.emit(hubEvent{
			source: SourceDeviceLifecycle, key: key, gen: gen, operation: operation,
			body: h.twins.get(key, gen).eventView(key),
		})
	}
	before, after := identitiesOf(old), identitiesOf(doc)
	for _, i := range before {
		if !i.in(after) {
			tell(i.key, i.gen, "deleteDeviceIdentity")
		}
	}
	for _, i := range after {
		if !i.in(before) {
			tell(i.key, i.gen, "createDeviceIdentity")
		}
	}
}

// knownIdentity is an identity with the generation that tells it from others of
// the same name.
type knownIdentity struct {
	key identityKey
	gen string
}

func (i knownIdentity) in(list []knownIdentity) bool {
	for _, other := range list {
		if i == other {
			return true
		}
	}
	return false
}

func identitiesOf(d *deviceDoc) []knownIdentity {
	if d == nil {
		return nil
	}
	list := []knownIdentity{{identityKey{device: d.ID}, d.GenerationID}}
	for i := range d.Modules {
		list = append(list, knownIdentity{identityKey{d.ID, d.Modules[i].ID}, d.Modules[i].GenerationID})
	}
	return list
}

// eventView is the twin as events have it.
func (d *twinDoc) eventView(key identityKey) []byte {
	dst := appendJSONString([]byte(`{"deviceId":`), key.device)
	if key.module != "" {
		dst = appendJSONString(append(dst, `,"moduleId":`...), key.module)
	}
	dst = appendJSONString(append(dst, `,"etag":`...), etagOf(d.etag))
	dst = strconv.AppendUint(append(dst, `,"version":`...), d.version, 10)
	if len(d.tags.root.members) > 0 {
		dst = d.tags.root.appendValue(append(dst, `,"tags":`...))
	}
	dst = d.desired.root.appendFull(append(dst, `,"properties":{"desired":`...), d.desired.version)
	dst = d.reported.root.appendFull(append(dst, `,"reported":`...), d.reported.version)
	return append(dst, "}}"...)
}

// twinChange is what an operation has changed, for the events about it.
type twinChange struct {
	update   *twinUpdate // by the back end
	reported *twinNode   // by the device
	before   *twinDoc
}

// twinEvents tells of a change of a twin that has become durable.
func (h *Hub) twinEvents(key identityKey, c *twinChange, doc *twinDoc) {
	if h.wants(SourceTwinChange) {
		e := hubEvent{source: SourceTwinChange, key: key, gen: doc.gen, operation: "updateTwin"}
		if c.update != nil && c.update.whole() {
			e.operation, e.body = "replaceTwin", doc.eventView(key)
		} else {
			e.body = c.patchView(doc)
		}
		h.emit(e)
	}
	if c.reported != nil && doc.model != "" && h.wants(SourceDigitalTwinChange) {
		if patch := jsonPatch(c.before.reported.root, c.reported); len(patch) > 0 {
			h.emit(hubEvent{
				source: SourceDigitalTwinChange, key: key, gen: doc.gen, operation: "updateDigitalTwin",
				contentType: "application/json-patch+json", body: patch,
			})
		}
	}
}

func (u *twinUpdate) whole() bool {
	return u.tags != nil && u.tags.whole || u.desired != nil && u.desired.whole
}

// patchView is the sections that have changed, with what was said to change them.
func (c *twinChange) patchView(doc *twinDoc) []byte {
	dst := strconv.AppendUint([]byte(`{"version":`), doc.version, 10)
	if c.update != nil && c.update.tags != nil {
		dst = c.update.tags.patch.appendValue(append(dst, `,"tags":`...))
	}
	section := func(name string, patch *twinNode, s twinSection, version uint64) {
		dst = patch.appendMembers(append(append(dst, `,"properties":{"`...), name+`":{`...))
		if len(patch.members) > 0 {
			dst = append(dst, ',')
		}
		dst = mergeTwin(nil, patch, s.root.stamp, version).appendMetadata(append(dst, `"$metadata":`...))
		dst = strconv.AppendUint(append(dst, `,"$version":`...), s.version, 10)
		dst = append(dst, "}}"...)
	}
	if c.update != nil && c.update.desired != nil {
		section("desired", c.update.desired.patch, doc.desired, doc.desired.version)
	}
	if c.reported != nil {
		section("reported", c.reported, doc.reported, 0)
	}
	return append(dst, '}')
}

// jsonPatch is a merge patch of the reported properties as a JSON patch (RFC 6902).
// Components are one level, properties the next.
func jsonPatch(old, patch *twinNode) []byte {
	dst := []byte{'['}
	var walk func(old, patch *twinNode, path string, depth int)
	walk = func(old, patch *twinNode, path string, depth int) {
		for _, m := range patch.members {
			was := old.member(m.name)
			at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(m.name)
			if depth == 0 && was.isObject() && m.node.isObject() && (isComponent(was) || isComponent(m.node)) {
				walk(was, m.node, at, depth+1)
				continue
			}
			operation := "add"
			switch {
			case m.node.leaf == nullLeaf && was == nil:
				continue // nothing that was not there has gone
			case m.node.leaf == nullLeaf:
				operation = "remove"
			case was != nil:
				operation = "replace"
			}
			if len(dst) > 1 {
				dst = append(dst, ',')
			}
			dst = appendJSONString(append(append(dst, `{"op":"`...), operation+`","path":`...), at)
			if operation != "remove" {
				dst = mergeTwin(was, m.node, 0, 0).appendValue(append(dst, `,"value":`...))
			}
			dst = append(dst, '}')
		}
	}
	walk(old, patch, "", 0)
	if len(dst) == 1 {
		return nil
	}
	return append(dst, ']')
}

const updateDeviceJob = "updateDeviceJob"

// events tells of devices that a job has taken on, has begun with or has ended with,
// by what there is of them in devices.jobs. Azure has no documentation of the
// operation and the body of these events.
func (s *scheduledJobs) events(rows []*jobRow, operation string) {
	if !s.hub.wants(SourceJobLifecycle) {
		return
	}
	for _, r := range rows {
		s.mu.Lock()
		body, err := json.Marshal(r)
		s.mu.Unlock()
		if err != nil {
			s.hub.log.Error("an event about a job was not made", "job", r.JobID, "device", r.DeviceID, "error", err)
			continue
		}
		key := identityKey{device: r.DeviceID}
		gen, _ := s.hub.generationFor(key) // a device that is gone has none
		s.hub.emit(hubEvent{source: SourceJobLifecycle, key: key, gen: gen, operation: operation, body: body})
	}
}
